#include <sstream>

#include "transports/fabric_options.h"

namespace weft {

namespace {

std::vector<std::string> words_split(const std::string& list) {
    std::vector<std::string> words;
    std::istringstream in(list);
    for (std::string word; std::getline(in, word, ',');) {
        if (!word.empty()) {
            words.push_back(word);
        }
    }
    return words;
}

}  // namespace

FabricOptions fabric_options(const Settings& settings) {
    FabricOptions options;
    options.library = settings.libfabric;
    options.provider = settings.provider;
    options.rails = words_split(settings.rails);
    options.allow_tcp = settings.allow_tcp;
    options.memory_bytes = static_cast<uint64_t>(settings.memory_budget_mb) << 20;
    options.registered_bytes = static_cast<uint64_t>(settings.registered_mb) << 20;
    options.stage_bytes = settings.stage_bytes;
    options.reach_limit = settings.init_timeout_s * nanos_per_s;
    return options;
}

}  // namespace weft
