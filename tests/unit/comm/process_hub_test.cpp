// Whether the network of a process is asked for memory of GPUs: by the order of what a program
// makes, each in a process of its own, on the stand-in driver and the libfabric of tests.
#include "src/base/log_sink.h"
#include "src/comm/process.h"
#include "tests/other_process.h"
#include "tests/unit/transports/fake_gpu.h"

using namespace weft;
using weft::test::Variable;

namespace {

std::atomic<int> lines_late{0};  // of the log, that say it was too late

void late_line_count(LogLevel, Subsys, const char*, int, std::string_view text) {
    lines_late += text.find("no NIC reaches GPU memory in this process") != text.npos ? 1 : 0;
}

bool driver_loaded() {
    return dlopen(FAKE_CUDA, RTLD_NOW | RTLD_NOLOAD) != nullptr;
}

// 'd': the driver is loaded, 'n': the network is asked for. What came of it, in words.
std::string outcome_of(const std::string& steps) {
    test::FakeFabric fake;
    fake.world.infos = {test::gpu_nic(0)};
    log_sink_set(late_line_count);
    for (const char step : steps) {
        if (step == 'd') {
            REQUIRE(Process::get().cuda().ok());
        } else {
            REQUIRE(Process::get().hub(WireKind::fabric).ok());
        }
    }
    WireHub& hub = *Process::get().hub(WireKind::fabric).value();
    return format("GPU memory %d, driver %d, too late %d", hub.rails_info().at(0).device_memory,
                  driver_loaded(), lines_late.load());
}

std::string outcome_elsewhere(const std::string& steps) {
    const Variable driver("WEFT_LIBCUDA", FAKE_CUDA),
        network("WEFT_LIBFABRIC", FAKE_LIBFABRIC_PATH), lines("NCCL_DEBUG", "INFO");
    test::OtherProcess other("takes steps and tells");
    test::letter_send(other.socket(), steps);
    std::string told = test::letter_receive(other.socket()).text;
    CHECK(other.end() == 0);
    return told;
}

}  // namespace

TEST_CASE("a network opened after the CUDA driver is asked for memory of GPUs") {
    CHECK(outcome_elsewhere("dnn") == "GPU memory 1, driver 1, too late 0");
}

TEST_CASE("a network opened before the CUDA driver is not, which is said once") {
    CHECK(outcome_elsewhere("ndnn") == "GPU memory 0, driver 1, too late 1");
}

TEST_CASE("a process without device communicators loads no driver for its network") {
    CHECK(outcome_elsewhere("nn") == "GPU memory 0, driver 0, too late 0");
}

TEST_CASE("a setting keeps the network from memory of GPUs") {
    const Variable off("WEFT_GPUDIRECT", "0");
    CHECK(outcome_elsewhere("dnn") == "GPU memory 0, driver 1, too late 0");
    CHECK(outcome_elsewhere("ndnn") == "GPU memory 0, driver 1, too late 0");
}

TEST_CASE("takes steps and tells", "[.other]") {
    const Fd socket = test::OtherProcess::own_socket();
    test::letter_send(socket.get(), outcome_of(test::letter_receive(socket.get()).text));
}
