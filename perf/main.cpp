// weft-perf: times and checks the collectives of any libnccl, on host memory (where it can)
// or device memory.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <weft/nccl.h>

#include "perf/bench.h"
#include "perf/launch_env.h"
#include "perf/options.h"
#include "perf/table.h"

namespace weft::perf {
namespace {

constexpr int exit_wrong = 1;
constexpr int exit_usage = 2;

std::string world_refused(const Options& options, const LaunchEnv& env) {
    if (!env.error.empty()) {
        return env.error;
    }
    if (env.rank_count > 1 && !std::getenv("NCCL_COMM_ID")) {
        return "started by " + env.launcher + " as one of " + std::to_string(env.rank_count) +
               " ranks, but NCCL_COMM_ID does not say where they meet: use weft-run -n " +
               std::to_string(env.rank_count) +
               " -- weft-perf ..., or mpirun -x NCCL_COMM_ID=HOST:PORT (host of rank 0)";
    }
    if (!env.launcher.empty() && options.threads > 1) {
        return "-t " + std::to_string(options.threads) + ", but " + env.launcher +
               " starts the ranks: leave -t out";
    }
    const int ranks = env.rank_count * options.threads;
    if (options.root >= ranks) {
        return "root " + std::to_string(options.root) + " but only " + std::to_string(ranks) +
               " ranks";
    }
    return {};
}

int host_count(const LaunchEnv& env) {
    if (env.host_count > 0) {
        return env.host_count;
    }
    return (env.rank_count + env.local_rank_count - 1) / env.local_rank_count;
}

bool json_write(const std::string& file, const std::string& json) {
    std::FILE* out = std::fopen(file.c_str(), "w");
    const bool written = out && std::fputs(json.c_str(), out) >= 0;
    const bool closed = out && std::fclose(out) == 0;
    if (!written || !closed) {
        std::fprintf(stderr, "weft-perf: cannot write '%s'\n", file.c_str());
    }
    return written && closed;
}

void device_failed(const Error& error) {
    std::fprintf(stderr, "weft-perf: --mem device: %s\n", error.what.c_str());
    std::_Exit(1);
}

void rank_run(const Options& options, const ncclUniqueId& id, RankPlace place, int local_rank,
              std::vector<Row>* rows) {
    std::optional<Device> device;  // current before the communicator is made
    if (options.memory == Memory::device) {
        // Of those there are, the one at this rank's place among its host's.
        device.emplace(
            device_failed,
            [local_rank](const gpu::Driver&, int count) { return local_rank % count; },
            DeviceWords{.take = "cuMemAlloc (lower -e or --rotate)"});
    }
    ncclComm_t comm = nullptr;
    call_check(ncclCommInitRank(&comm, place.rank_count, id, place.rank), "ncclCommInitRank",
               place.rank);
    *rows = bench_run(options, comm, place, device ? &*device : nullptr);
    call_check(ncclCommDestroy(comm), "ncclCommDestroy", place.rank);
}

int world_run(const Options& options, const LaunchEnv& env) {
    const int rank_count = env.rank_count * options.threads;
    const int rank_first = env.rank * options.threads;
    ncclUniqueId id;
    call_check(ncclGetUniqueId(&id), "ncclGetUniqueId", rank_first);
    const auto threads_size = static_cast<size_t>(options.threads);
    std::vector<std::vector<Row>> rows(threads_size);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < threads_size; ++i) {
        const RankPlace place{rank_first + static_cast<int>(i), rank_count};
        const int local_rank = env.local_rank * options.threads + static_cast<int>(i);
        threads.emplace_back(rank_run, std::cref(options), std::cref(id), place, local_rank,
                             &rows[i]);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    bool ok = wrong_total(rows[0]) == 0;
    if (rank_first == 0) {
        std::fputs(table_footer(options.collective, rank_count, rows[0]).c_str(), stdout);
        if (!options.json_file.empty()) {
            const int hosts = host_count(env);
            ok &= json_write(options.json_file,
                             rows_json(options.collective, rank_count, hosts, rows[0]));
        }
    }
    return ok ? 0 : exit_wrong;
}

int run(int argc, const char* const* argv) {
    const LaunchEnv env = launch_env_find();
    const Options options = options_parse(argc, argv);
    if (options.help) {
        if (env.rank == 0) {
            std::fputs(options_usage().c_str(), stdout);
        }
        return 0;
    }
    const std::string refused = options.error.empty() ? world_refused(options, env) : options.error;
    if (!refused.empty()) {
        if (env.rank == 0) {
            std::fprintf(stderr, "weft-perf: %s\n", refused.c_str());
        }
        return exit_usage;
    }
    return world_run(options, env);
}

}  // namespace
}  // namespace weft::perf

int main(int argc, char** argv) {
    return weft::perf::run(argc, argv);
}
