// Communicators: making them, asking them, ending them.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "include/weft/nccl.h"
#include "src/api/border.h"
#include "src/api/export.h"
#include "src/base/log.h"
#include "src/comm/communicator.h"
#include "src/comm/config.h"
#include "src/comm/lifecycle.h"

namespace weft {

namespace {

Error argument_error(std::string what) {
    return make_error(Code::invalid_argument, Scope::call, std::move(what));
}

Result<UniqueIdBytes> id_check(const char* function, const ncclUniqueId& id) {
    UniqueIdBytes bytes;
    static_assert(sizeof bytes == sizeof id);
    std::memcpy(bytes.data(), &id, sizeof id);
    if (settings().comm_id.empty()) {
        if (const std::string foreign = unique_id_foreign(bytes); !foreign.empty()) {
            return argument_error(
                format("%s : commId is %s, not one of this library; all ranks "
                       "must use the library that made it",
                       function, foreign.c_str()));
        }
    }
    return bytes;
}

Result<InitRequest> init_check(const char* function, ncclComm_t* comm, int rank_count,
                               const ncclUniqueId& id, int rank, const ncclConfig_t* config) {
    if (comm == nullptr) {
        return null_error(function, "comm");
    }
    __atomic_store_n(comm, nullptr, __ATOMIC_RELEASE);
    if (rank_count < 1 || rank < 0 || rank >= rank_count) {
        return argument_error(
            format("%s : Invalid rank requested : %d/%d", function, rank, rank_count));
    }
    InitRequest request;
    request.id = TRY(id_check(function, id));
    request.rank_count = rank_count;
    request.rank = rank;
    request.config = TRY(config_parse(config, settings()));
    return request;
}

// Once per process, by the first rank 0 in it.
void version_log(int rank) {
    static std::once_flag once;
    if (rank == 0) {
        std::call_once(once, [] {
            log_write(LogLevel::version, Subsys::all,
                      format("NCCL version %d.%d.%d+weft%s", NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH,
                             WEFT_VERSION));
        });
    }
}

ncclResult_t init(const char* function, ncclComm_t* comm, int rank_count, const ncclUniqueId& id,
                  int rank, const ncclConfig_t* config) {
    return at_border_grouped([&]() -> Result<void> {
        LOG(trace, call, "%s(%p,%d,commId,%d,%p)", function, static_cast<void*>(comm), rank_count,
            rank, static_cast<const void*>(config));
        InitRequest request = TRY(init_check(function, comm, rank_count, id, rank, config));
        version_log(rank);
        return comm_init(comm, std::move(request));
    });
}

Result<void> devices_check(int count, const int* devices) {
    std::vector<int> sorted(devices, devices + count);
    std::sort(sorted.begin(), sorted.end());
    if (sorted.front() < 0) {
        return argument_error(
            format("ncclCommInitAll : invalid device %d in devlist", sorted.front()));
    }
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) {
        return make_error(Code::invalid_usage, Scope::call,
                          format("ncclCommInitAll : device %d is in devlist twice", *twice));
    }
    return {};
}

// Inside a group of its own, so that one thread can make all ranks.
Result<void> init_all(ncclComm_t* comms, int count, const int* devices) {
    if (comms == nullptr) {
        return null_error("ncclCommInitAll", "comm");
    }
    if (count < 0) {
        return argument_error(format("ncclCommInitAll : invalid ndev %d", count));
    }
    if (count == 0) {
        return {};
    }
    if (devices != nullptr) {
        TRY(devices_check(count, devices));
    }
    InitRequest request;
    request.rank_count = count;
    request.config = TRY(config_parse(nullptr, settings()));
    request.config.blocking = true;
    request.id = TRY(Process::get().control().unique_id_make());
    version_log(0);
    group_start();
    for (int rank = 0; rank < count; rank++) {
        request.rank = rank;
        request.device = devices != nullptr ? devices[rank] : -1;
        if (const Result<void> made = comm_init(&comms[rank], request); !made.ok()) {
            group_remember(made.error());
        }
    }
    return group_end();
}

// A query: allowed on everything but a communicator with something under way.
template <class Read>
ncclResult_t query(const char* function, ncclComm_t handle, int* into, const char* argument,
                   Read read) {
    return at_border([&]() -> Result<void> {
        const CommRef comm = TRY(CommRef::enter(handle, function));
        if (into == nullptr) {
            return null_error(function, argument);
        }
        TRY(comm->settled());
        *into = read(*comm);
        return {};
    });
}

// NULL configurations inherit, which the callee does.
Result<std::optional<CommConfig>> child_config(const ncclConfig_t* config) {
    if (config == nullptr) {
        return std::optional<CommConfig>();
    }
    return std::optional<CommConfig>(TRY(config_parse(config, settings())));
}

}  // namespace

}  // namespace weft

using weft::argument_error;
using weft::at_border;
using weft::at_border_grouped;
using weft::child_config;
using weft::code_to_result;
using weft::comm_abort;
using weft::comm_destroy;
using weft::comm_finalize;
using weft::comm_shrink;
using weft::comm_split;
using weft::CommConfig;
using weft::CommRef;
using weft::Communicator;
using weft::format;
using weft::init;
using weft::init_all;
using weft::null_error;
using weft::Process;
using weft::query;
using weft::Result;
using weft::UniqueIdBytes;

NCCL_ENTRY(ncclResult_t, GetUniqueId, ncclUniqueId* uniqueId) {
    return at_border([&]() -> Result<void> {
        if (uniqueId == nullptr) {
            return null_error("ncclGetUniqueId", "uniqueId");
        }
        const UniqueIdBytes bytes = TRY(Process::get().control().unique_id_make());
        std::memcpy(uniqueId, bytes.data(), sizeof *uniqueId);
        LOG(trace, call, "ncclGetUniqueId(%p)", static_cast<void*>(uniqueId));
        return {};
    });
}

NCCL_ENTRY(ncclResult_t, CommInitRank, ncclComm_t* comm, int nranks, ncclUniqueId commId,
           int rank) {
    return init("ncclCommInitRank", comm, nranks, commId, rank, nullptr);
}

NCCL_ENTRY(ncclResult_t, CommInitRankConfig, ncclComm_t* comm, int nranks, ncclUniqueId commId,
           int rank, ncclConfig_t* config) {
    return init("ncclCommInitRankConfig", comm, nranks, commId, rank, config);
}

NCCL_ENTRY(ncclResult_t, CommInitRankScalable, ncclComm_t* newcomm, int nranks, int myrank, int nId,
           ncclUniqueId* commIds, ncclConfig_t* config) {
    constexpr const char* function = "ncclCommInitRankScalable";
    if (nId < 1 || nId > nranks || commIds == nullptr) {
        return at_border_grouped([&]() -> Result<void> {
            if (commIds == nullptr) {
                return null_error(function, "commIds");
            }
            return argument_error(
                format("%s : improper number of ids %d for %d ranks", function, nId, nranks));
        });
    }
    return init(function, newcomm, nranks, commIds[0], myrank, config);
}

NCCL_ENTRY(ncclResult_t, CommInitAll, ncclComm_t* comm, int ndev, const int* devlist) {
    return at_border_grouped([&] {
        LOG(trace, call, "ncclCommInitAll(%p,%d,%p)", static_cast<void*>(comm), ndev,
            static_cast<const void*>(devlist));
        return init_all(comm, ndev, devlist);
    });
}

NCCL_ENTRY(ncclResult_t, CommSplit, ncclComm_t comm, int color, int key, ncclComm_t* newcomm,
           ncclConfig_t* config) {
    return at_border_grouped([&]() -> Result<void> {
        LOG(trace, call, "ncclCommSplit(%p,%d,%d,%p,%p)", static_cast<void*>(comm), color, key,
            static_cast<void*>(newcomm), static_cast<void*>(config));
        const std::optional<CommConfig> child = TRY(child_config(config));
        return comm_split(comm, color, key, child ? &*child : nullptr, newcomm);
    });
}

NCCL_ENTRY(ncclResult_t, CommShrink, ncclComm_t comm, int* excludeRanksList, int excludeRanksCount,
           ncclComm_t* newcomm, ncclConfig_t* config, int shrinkFlags) {
    return at_border_grouped([&]() -> Result<void> {
        constexpr const char* function = "ncclCommShrink";
        LOG(trace, call, "%s(%p,%p,%d,%p,%p,%d)", function, static_cast<void*>(comm),
            static_cast<void*>(excludeRanksList), excludeRanksCount, static_cast<void*>(newcomm),
            static_cast<void*>(config), shrinkFlags);
        TRY(CommRef::enter(comm, function));
        if (excludeRanksCount <= 0) {
            return argument_error(format("%s : invalid excludeRanksCount %d: it must be at least 1",
                                         function, excludeRanksCount));
        }
        if (excludeRanksList == nullptr) {
            return null_error(function, "excludeRanksList");
        }
        if (shrinkFlags != NCCL_SHRINK_DEFAULT && shrinkFlags != NCCL_SHRINK_ABORT) {
            return argument_error(format("%s : invalid shrinkFlags 0x%x", function, shrinkFlags));
        }
        const std::optional<CommConfig> child = TRY(child_config(config));
        std::sort(excludeRanksList, excludeRanksList + excludeRanksCount);
        return comm_shrink(comm, {excludeRanksList, excludeRanksList + excludeRanksCount},
                           child ? &*child : nullptr, shrinkFlags == NCCL_SHRINK_ABORT, newcomm);
    });
}

NCCL_ENTRY(ncclResult_t, CommFinalize, ncclComm_t comm) {
    if (comm == nullptr) {
        return ncclSuccess;
    }
    return at_border_grouped([&] {
        LOG(trace, call, "ncclCommFinalize(%p)", static_cast<void*>(comm));
        return comm_finalize(comm);
    });
}

NCCL_ENTRY(ncclResult_t, CommDestroy, ncclComm_t comm) {
    if (comm == nullptr) {
        return ncclSuccess;
    }
    return at_border_grouped([&] {
        LOG(trace, call, "ncclCommDestroy(%p)", static_cast<void*>(comm));
        return comm_destroy(comm);
    });
}

NCCL_ENTRY(ncclResult_t, CommAbort, ncclComm_t comm) {
    if (comm == nullptr) {
        return ncclSuccess;
    }
    return at_border_grouped([&] {
        LOG(trace, call, "ncclCommAbort(%p)", static_cast<void*>(comm));
        return comm_abort(comm);
    });
}

NCCL_ENTRY(ncclResult_t, CommGetAsyncError, ncclComm_t comm, ncclResult_t* asyncError) {
    return at_border([&]() -> Result<void> {
        const CommRef held = TRY(CommRef::enter(comm, "ncclCommGetAsyncError"));
        if (asyncError == nullptr) {
            return null_error("ncclCommGetAsyncError", "asyncError");
        }
        const Result<void> status = held->async_status();
        *asyncError = status.ok() ? ncclSuccess : code_to_result(status.error().code);
        return {};
    });
}

NCCL_ENTRY(ncclResult_t, CommCount, const ncclComm_t comm, int* count) {
    return query("ncclCommCount", comm, count, "count",
                 [](const Communicator& held) { return held.rank_count(); });
}

NCCL_ENTRY(ncclResult_t, CommCuDevice, const ncclComm_t comm, int* device) {
    return query("ncclCommCuDevice", comm, device, "device",
                 [](const Communicator& held) { return held.device(); });
}

NCCL_ENTRY(ncclResult_t, CommUserRank, const ncclComm_t comm, int* rank) {
    return query("ncclCommUserRank", comm, rank, "rank",
                 [](const Communicator& held) { return held.rank(); });
}
