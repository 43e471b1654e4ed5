#include "tools/net_check/usage.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace weft::netcheck {

Result<Usage> usage_now() {
    Usage usage;
    std::error_code failed;
    const std::filesystem::directory_iterator open("/proc/self/fd", failed);
    std::ifstream status("/proc/self/status");
    if (failed || !status) {
        return make_error(Code::system, Scope::process, "cannot read /proc/self");
    }
    // One of them is the iterator's own, always.
    usage.descriptors = static_cast<uint64_t>(std::distance(begin(open), end(open))) - 1;
    for (std::string line; std::getline(status, line);) {
        std::istringstream words(line);
        std::string name;
        uint64_t kib = 0;
        words >> name >> kib;
        if (name == "VmRSS:") {
            usage.resident_kib = kib;
        } else if (name == "VmPin:" || name == "VmLck:") {
            usage.pinned_kib += kib;
        }
    }
    return usage;
}

std::string usage_pack(const Usage& usage) {
    std::ostringstream text;
    text << usage.resident_kib << ' ' << usage.pinned_kib << ' ' << usage.descriptors;
    return text.str();
}

Result<Usage> usage_unpack(const std::string& text) {
    std::istringstream words(text);
    Usage usage;
    words >> usage.resident_kib >> usage.pinned_kib >> usage.descriptors;
    if (words.fail()) {
        return make_error(Code::internal, Scope::process, "not what a process holds: " + text);
    }
    return usage;
}

}  // namespace weft::netcheck
