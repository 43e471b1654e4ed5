#include "tests/conformance/wires.h"

namespace weft::test {

namespace {

WireCase fabric_case(const std::string& provider) {
    WireCase made;
    made.name = "fabric(" + provider + "), two processes";
    made.two_processes = true;
    made.network = true;
    made.hub = [provider](const std::shared_ptr<Reactor>& reactor, int) {
        FabricOptions options;
        options.provider = provider;
        options.rails = {"127.0.0.1"};
        return std::shared_ptr<WireHub>(fabric_hub_make(*reactor, options).value());
    };
    return made;
}

}  // namespace

std::vector<WireCase> fabric_cases(std::vector<std::string>* missing) {
    std::vector<WireCase> cases;
    for (const char* provider : {"tcp;ofi_rxm"}) {
        const auto reactor = reactor_make();
        FabricOptions options;
        options.provider = provider;
        options.rails = {"127.0.0.1"};
        const auto hub = fabric_hub_make(*reactor, options);
        if (hub.ok()) {
            cases.push_back(fabric_case(provider));
        } else {
            missing->push_back(std::string(provider) + ": " + hub.error().what);
        }
    }
    return cases;
}

}  // namespace weft::test
