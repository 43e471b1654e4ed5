// Two providers by default, tcp;ofi_rxm with one rail and with four;
// TEST_FABRIC=PROVIDER,PROVIDER... takes others; efa is meant for the software EFA device.
#include <cstdlib>

#include "tests/conformance/wires.h"

namespace weft::test {

namespace {

struct FabricCase {
    std::string provider;
    size_t rails = 1;
};

bool on_efa(const FabricCase& wanted) {
    return wanted.provider.rfind("efa", 0) == 0;
}

FabricOptions options_of(const FabricCase& wanted) {
    FabricOptions options;
    options.provider = wanted.provider;
    const bool by_address = wanted.provider != "shm" && !on_efa(wanted);
    for (size_t i = 1; by_address && i <= wanted.rails; i++) {
        options.rails.push_back("127.0.0." + std::to_string(i));
    }
    return options;
}

WireCase fabric_case(const FabricCase& wanted) {
    WireCase made;
    made.name =
        "fabric(" + wanted.provider + "), two processes, rails: " + std::to_string(wanted.rails);
    made.two_processes = true;
    made.network = true;
    made.both_fork = on_efa(wanted);
    made.hub = [wanted](const std::shared_ptr<Reactor>& reactor, int side) {
        if (on_efa(wanted)) {
            ::setenv("WEFT_EFA_DEVICE_HOST", std::to_string(side).c_str(), 1);
        }
        return std::shared_ptr<WireHub>(fabric_hub_make(*reactor, options_of(wanted)).value());
    };
    return made;
}

std::vector<FabricCase> wanted_cases() {
    const char* named = std::getenv("TEST_FABRIC");
    if (named == nullptr) {
        return {{"tcp;ofi_rxm", 1}, {"tcp;ofi_rxm", 4}, {"shm", 1}};
    }
    std::vector<FabricCase> cases;
    for (std::string_view rest = named; !rest.empty();) {
        const size_t comma = rest.find(',');
        cases.push_back({std::string(rest.substr(0, comma))});
        rest = comma == std::string_view::npos ? "" : rest.substr(comma + 1);
    }
    return cases;
}

}  // namespace

std::vector<WireCase> fabric_cases(std::vector<std::string>* missing) {
    std::vector<WireCase> cases;
    for (const FabricCase& wanted : wanted_cases()) {
        if (on_efa(wanted)) {
            cases.push_back(fabric_case(wanted));  // asking would open the device in this process
            continue;
        }
        const auto reactor = reactor_make();
        const auto hub = fabric_hub_make(*reactor, options_of(wanted));
        if (hub.ok()) {
            cases.push_back(fabric_case(wanted));
        } else {
            missing->push_back(wanted.provider + ": " + hub.error().what);
        }
    }
    return cases;
}

}  // namespace weft::test
