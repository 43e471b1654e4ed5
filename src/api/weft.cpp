// Weft's own calls (weft.h).
#include "include/weft/weft.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "src/api/border.h"
#include "src/api/export.h"
#include "src/base/log.h"
#include "src/comm/communicator.h"

using weft::at_border;
using weft::Code;
using weft::CommRef;
using weft::format;
using weft::make_error;
using weft::null_error;
using weft::Process;
using weft::RankStats;
using weft::Result;
using weft::Scope;
using weft::StreamPtr;

namespace {

constexpr int version_part(const char* text, int part) {
    int value = 0;
    for (; *text != '\0'; text++) {
        if (*text == '.') {
            if (part-- == 0) {
                return value;
            }
            value = 0;
        } else {
            value = value * 10 + (*text - '0');
        }
    }
    return value;
}

constexpr int version_code = version_part(WEFT_VERSION, 0) * 10000 +
                             version_part(WEFT_VERSION, 1) * 100 + version_part(WEFT_VERSION, 2);

}  // namespace

WEFT_EXPORT ncclResult_t weftGetVersion(int* version) {
    return at_border([&]() -> Result<void> {
        if (version == nullptr) {
            return null_error("weftGetVersion", "version");
        }
        *version = version_code;
        return {};
    });
}

WEFT_EXPORT const char* weftGetBuildInfo(void) {
    return "Weft " WEFT_VERSION ", NCCL API 2.28.9, compiler " __VERSION__
           ", host memory, transports loopback shm fabric";
}

WEFT_EXPORT ncclResult_t weftStreamCreate(cudaStream_t* stream) {
    return at_border([&]() -> Result<void> {
        if (stream == nullptr) {
            return null_error("weftStreamCreate", "stream");
        }
        *stream = static_cast<cudaStream_t>(Process::get().streams().create());
        return {};
    });
}

WEFT_EXPORT ncclResult_t weftStreamDestroy(cudaStream_t stream) {
    return at_border([&]() -> Result<void> {
        const StreamPtr taken = TRY(Process::get().streams().take(stream, "weftStreamDestroy"));
        return taken->synchronize();
    });
}

WEFT_EXPORT ncclResult_t weftStreamSynchronize(cudaStream_t stream) {
    return at_border([&]() -> Result<void> {
        const StreamPtr found = TRY(Process::get().streams().find(stream, "weftStreamSynchronize"));
        return found->synchronize();
    });
}

WEFT_EXPORT ncclResult_t weftStreamQuery(cudaStream_t stream) {
    return at_border([&]() -> Result<void> {
        const StreamPtr found = TRY(Process::get().streams().find(stream, "weftStreamQuery"));
        return found->query();
    });
}

WEFT_EXPORT ncclResult_t weftCommStats(ncclComm_t comm, weftStats_t* stats) {
    return at_border([&]() -> Result<void> {
        constexpr const char* function = "weftCommStats";
        const CommRef held = TRY(CommRef::enter(comm, function));
        if (stats == nullptr) {
            return null_error(function, "stats");
        }
        size_t size = 0;
        std::memcpy(&size, stats, sizeof size);
        if (size < sizeof size) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("%s : stats->size is %zu: set it by WEFT_STATS_INITIALIZER",
                                     function, size));
        }
        const RankStats stats_now = held->stats();
        const auto& now = stats_now.counters;
        weftStats_t own = WEFT_STATS_INITIALIZER;
        own.size = size;
        own.ops = now.ops.ops;
        own.putBytes = now.ops.put_bytes;
        own.copiedBytes = now.ops.copied_bytes;
        own.eagerBytes = now.ops.eager_bytes;
        own.messages = now.ops.messages;
        own.grants = now.ops.grants;
        own.retries = now.ops.again;
        own.duplicatesDropped = now.ops.duplicates_dropped;
        own.staleDropped = now.ops.stale_dropped;
        own.lateReports = now.ops.late_reports;
        for (const auto& [name, wire] : now.wires) {
            const bool nics = name.starts_with("fabric");
            own.registrations += nics ? wire.registrations : 0;
            own.deregistrations += nics ? wire.deregistrations : 0;
            own.registrationHits += nics ? wire.registration_hits : 0;
            own.copiedBytes += wire.copied_bytes;
            own.retries += wire.again;
        }
        own.strangersDropped = Process::get().control().counters().strangers_dropped;
        std::memcpy(static_cast<void*>(stats), &own, std::min(size, sizeof own));
        return {};
    });
}
