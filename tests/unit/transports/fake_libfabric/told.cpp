#include "tests/unit/transports/fake_libfabric/told.h"

#include <rdma/fabric.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace weft::test {

namespace {

uint32_t version_of(const std::string& text) {
    const size_t point = text.find('.');
    return FI_VERSION(std::stoi(text), std::stoi(text.substr(point + 1)));
}

std::vector<std::string> parts_of(const std::string& text, char between) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, between);) {
        parts.push_back(part);
    }
    return parts;
}

// "provider/fabric/domain", and after them "/rx", where writes use up receives, or "/gpu", where it
// reaches memory of GPUs.
FakeInfo info_told(const std::string& text) {
    FakeInfo info;
    const std::vector<std::string> parts = parts_of(text, '/');
    std::string* const fields[] = {&info.provider, &info.fabric, &info.domain};
    for (size_t i = 0; i < std::min(parts.size(), std::size(fields)); i++) {
        *fields[i] = parts[i];
    }
    info.mode = std::ranges::find(parts, "rx") != parts.end() ? FI_RX_CQ_DATA : 0;
    info.caps = std::ranges::find(parts, "gpu") != parts.end() ? FI_HMEM : 0;
    return info;
}

void word_told(FakeLibfabric& told, const std::string& name, const std::string& value) {
    if (name == "version") {
        told.version = version_of(value);
    } else if (name == "providers") {
        told.providers = parts_of(value, ',');
    } else if (name == "info") {
        told.infos.push_back(info_told(value));
    } else if (name == "moves") {
        told.moves = true;
    } else if (name == "emulated") {
        told.emulated_write = true;
    } else if (name == "open_error") {
        told.open_error = std::stoi(value);
    } else if (name == "register_error") {
        told.register_error = std::stoi(value);
    } else if (name == "linger") {
        told.linger_ms = std::stoi(value);
    } else {
        std::abort();  // a test's mistake
    }
}

}  // namespace

FakeLibfabric fake_told() {
    FakeLibfabric told;
    const char* text = std::getenv("FAKE_LIBFABRIC");
    for (const std::string& word : parts_of(text != nullptr ? text : "", ' ')) {
        const size_t sign = std::min(word.find('='), word.size());
        word_told(told, word.substr(0, sign), word.substr(std::min(sign + 1, word.size())));
    }
    return told;
}

}  // namespace weft::test
