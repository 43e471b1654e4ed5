// weft-gpu-check: one test of the library on one device, started by the suite's runner.
#include <cstdio>
#include <cstring>

#include "include/weft/weft.h"
#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/job.h"
#include "tools/gpu_suite/check/outcome.h"

using namespace weft;
using namespace weft::suite;

namespace {

struct Command {
    const char* name;
    void (*run)(const Device&, const Options&);
};

constexpr Command commands[] = {
    {"facts", facts},     {"health", health},   {"litmus", litmus},       {"copy", copy_rates},
    {"correct", correct}, {"graph", graph},     {"abort", abort_waiting}, {"memory", memory},
    {"rates", rates},     {"latency", latency}, {"windows", windows},     {"crossed", crossed}};

int version_print() {
    int version = 0;
    ok(weftGetVersion(&version), "weftGetVersion");
    std::printf("%s\n", weftGetBuildInfo());
    return version > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    const Result<Options> options = options_of(argc, argv);
    if (!options.ok()) {
        std::fprintf(stderr, "weft-gpu-check: %s\n%s", options.error().what.c_str(), usage);
        return 2;
    }
    if (options.value().command == "version") {
        return version_print();
    }
    for (const Command& command : commands) {
        if (options.value().command == command.name) {
            deadline_set(options.value().deadline_s + 12, [] {});
            const Device device(options.value().device);
            command.run(device, options.value());
            finish(Verdict::pass);
        }
    }
    std::fprintf(stderr, "weft-gpu-check: '%s' is not a command\n%s",
                 options.value().command.c_str(), usage);
    return 2;
}
