#include "transports/fabric/lock_limit.h"

#include <sys/resource.h>

#include <cstdlib>

#include "src/base/log.h"
#include "src/base/machine.h"

namespace weft::fabric {

namespace {

// 640 message buffers of 8 KiB and a slab of them more, rounded up; the provider's own pools of an
// `efa` endpoint are reported at 110 MB. The device's queues do not count.
constexpr uint64_t buffers_bytes = 6 << 20;
constexpr uint64_t more_receives_bytes = 8 << 20;  // 1,024 receives in place of 128
constexpr uint64_t pools_bytes = 110 << 20;
constexpr int cap_ipc_lock = 14;  // linux/capability.h

unsigned long long mib(uint64_t bytes) {
    return (bytes + (1 << 20) - 1) >> 20;
}

bool may_lock_all() {
    const auto status = file_read("/proc/self/status");
    const size_t at = status.ok() ? status.value().find("CapEff:") : std::string::npos;
    if (at == std::string::npos) {
        return false;
    }
    return (std::strtoull(status.value().c_str() + at + 7, nullptr, 16) >> cap_ipc_lock & 1) != 0;
}

}  // namespace

LockLimit lock_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        may_lock_all()) {
        return {};
    }
    return {false, limit.rlim_cur};
}

uint64_t lock_need(size_t rails, bool direct, bool receive_per_write) {
    return rails * (buffers_bytes + (direct ? 0 : pools_bytes) +
                    (receive_per_write ? more_receives_bytes : 0));
}

Result<void> lock_check(const LockLimit& limit, uint64_t need, uint64_t budget) {
    constexpr const char* raise =
        "run with `ulimit -l unlimited` (memlock in /etc/security/limits.conf, LimitMEMLOCK of the "
        "service, --ulimit memlock=-1 of the container)";
    if (limit.unlimited || limit.bytes >= need + budget) {
        return {};
    }
    if (limit.bytes < need) {
        return make_error(
            Code::system, Scope::process,
            format("the locked-memory limit is %llu KiB, EFA's endpoints register at "
                   "least %llu MiB here: %s",
                   static_cast<unsigned long long>(limit.bytes >> 10), mib(need), raise));
    }
    log_warn(
        format("the locked-memory limit is %llu MiB, less than EFA may come to register here "
               "(%llu MiB and WEFT_MEMORY_BUDGET=%llu): %s",
               mib(limit.bytes), mib(need), mib(budget), raise));
    return {};
}

}  // namespace weft::fabric
