#include "tests/conformance/wires.h"

namespace weft::test {

namespace {

std::shared_ptr<WireHub> shm_hub(const std::shared_ptr<Reactor>& reactor, bool cma) {
    ShmOptions options;
    options.cma = cma;
    return shm_hub_make(*reactor, options).value();
}

std::vector<WireCase> memory_cases() {
    const auto loopback = [](std::shared_ptr<Reactor>, int) {
        return std::shared_ptr<WireHub>(loopback_hub_make());
    };
    const auto shm = [](const std::shared_ptr<Reactor>& reactor, int) {
        return shm_hub(reactor, true);
    };
    const auto staged = [](const std::shared_ptr<Reactor>& reactor, int) {
        return shm_hub(reactor, false);
    };
    std::vector<WireCase> cases(5);
    cases[0] = {"loopback", false, loopback, true};
    cases[1] = {"shm, two hubs in a process", false, shm, false};
    cases[2] = {"shm, one hub", false, shm, true};
    cases[3] = {"shm, two processes", true, shm, false};
    cases[4] = {"shm, two processes, staged", true, staged, false};
    return cases;
}

constexpr const char* faults[] = {
    "seed=1,delay=0.1,delay_us=200,dup=0.1,stale=0.05",
    "seed=2,reorder=0.3,again=0.2,dup=0.05",
    "seed=3,delay=0.05,reorder=0.1,dup=0.2,again=0.1,stale=0.2",
};

}  // namespace

std::vector<WireCase> wire_cases(std::vector<std::string>* missing) {
    std::vector<WireCase> plain = memory_cases();
    const std::vector<WireCase> fabric = fabric_cases(missing);
    plain.insert(plain.end(), fabric.begin(), fabric.end());
    std::vector<WireCase> all = plain;
    for (const WireCase& wire_case : plain) {
        for (const char* fault : faults) {
            all.push_back(wire_case);
            all.back().name += std::string(" with faults ") + fault;
            all.back().fault = fault;
        }
    }
    return all;
}

}  // namespace weft::test
