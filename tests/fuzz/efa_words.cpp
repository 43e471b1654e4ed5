// Any text as the software EFA device's words and as a fault script: refused with one printable
// line, or a device that can be made and a plan that answers. Files are not opened.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "tools/efa_device/core/spec.h"

using namespace weft;
using namespace weft::efa;

namespace {

void line_check(const Error& error) {
    const auto plain = [](char c) { return c >= ' ' && c != 127; };
    if (error.what.empty() || !std::all_of(error.what.begin(), error.what.end(), plain)) {
        std::abort();
    }
}

void plan_ask(const Faults& faults) {
    for (const uint32_t host : {0U, 1U}) {
        const FaultPlan plan(faults, host, 0);
        for (const Nanos age : {Nanos{0}, nanos_per_s}) {
            const FaultPlan::Moment now{age, static_cast<uint64_t>(age)};
            const bool known = plan.loss_ppm(0, 1, now) <= 1'000'000 && plan.rate(0, 5, now) >= 0 &&
                               plan.limit(FaultKind::qp_max, 0, 256) <= 256;
            const auto next = plan.next(age);
            if (!known || (next && *next <= age)) {
                std::abort();
            }
            (void)plan.rail_down(0, now);
            (void)plan.dies(now);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const Result<Faults> faults = faults_parse(text);
    if (faults.ok()) {
        plan_ask(faults.value());
    } else {
        line_check(faults.error());
    }
    if (text.find("xml") != std::string_view::npos) {
        return 0;
    }
    const Result<Spec> spec = spec_parse(text);
    if (!spec.ok()) {
        line_check(spec.error());
    } else if (spec.value().nics.empty() || spec.value().nics.size() > nic_max) {
        std::abort();
    }
    return 0;
}
