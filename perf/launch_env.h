// Which rank of how many am I? Answers from the names that weft-run, mpirun (Open MPI, MPICH, Intel
// MPI), srun and torchrun leave in the environment. Include-only, needs nothing of Weft: shared by
// weft-run and weft-perf, and fit to be copied into a program.
// Thread rule: reentrant as long as nobody changes the environment. Failure rule: names that are
// there but make no sense give `error`, one line; no names at all give a world of one.
#pragma once

#include <cstdlib>
#include <functional>
#include <string>

namespace weft {

struct LaunchEnv {
    std::string launcher;  // "weft-run", "Open MPI", ..., empty if there is none
    int rank = 0;
    int rank_count = 1;
    int local_rank = 0;
    int local_rank_count = 1;
    int host_index = -1;  // -1: the launcher does not say
    int host_count = -1;
    std::string error;
};

namespace launch_env_detail {

using Lookup = std::function<const char*(const char*)>;

// The names of one launcher; nullptr where it has none.
struct Names {
    const char* launcher;
    const char* rank;
    const char* rank_count;
    const char* local_rank;
    const char* local_rank_count;
    const char* host_index;
    const char* host_count;
};

// Ours first: a program that weft-run starts inside a batch job sees the job's names too. The
// generic names of torchrun last, because other tools set them as well. Of srun's names the
// *step's* task count is asked for: a batch script sees the job's, and is not a task of a step.
inline constexpr Names names[] = {
    {"weft-run", "WEFT_RANK", "WEFT_RANK_COUNT", "WEFT_LOCAL_RANK", "WEFT_LOCAL_RANK_COUNT",
     "WEFT_HOST_INDEX", "WEFT_HOST_COUNT"},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE", nullptr, nullptr},
    {"MPI (PMI)", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", nullptr, nullptr},
    {"srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", nullptr, "SLURM_NODEID",
     "SLURM_STEP_NUM_NODES"},
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK",
     "GROUP_WORLD_SIZE"},
};

inline bool read_number(const char* text, int* value) {
    char* end = nullptr;
    const long number = std::strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < 0 || number > 1 << 24) {
        return false;
    }
    *value = static_cast<int>(number);
    return true;
}

// Reads `name` into `value` if the launcher has such a name and it is set.
inline void read_optional(const Lookup& lookup, const char* name, int* value, LaunchEnv* env) {
    const char* text = name ? lookup(name) : nullptr;
    if (text && !read_number(text, value)) {
        env->error = std::string(name) + "='" + text + "' is not a number";
    }
}

// The entry of this host in srun's list of task counts, "4(x2),3": hosts 0 and 1 have 4, host 2
// has 3.
inline int slurm_local_count(const char* text, int host) {
    while (text && *text) {
        char* end = nullptr;
        const long tasks = std::strtol(text, &end, 10);
        if (end == text) {
            break;
        }
        long repeat = 1;
        if (end[0] == '(' && end[1] == 'x') {
            repeat = std::strtol(end + 2, &end, 10);
            end += *end == ')';
        }
        if (host < repeat) {
            return static_cast<int>(tasks);
        }
        host -= static_cast<int>(repeat);
        text = *end == ',' ? end + 1 : nullptr;
    }
    return 1;
}

inline void check(const Names& from, LaunchEnv* env) {
    if (env->error.empty() && env->rank >= env->rank_count) {
        env->error = std::string(from.rank) + "=" + std::to_string(env->rank) + " but " +
                     from.rank_count + "=" + std::to_string(env->rank_count);
    }
    if (env->error.empty() && env->local_rank >= env->local_rank_count) {
        env->error = std::string(from.local_rank) + "=" + std::to_string(env->local_rank) +
                     " but only " + std::to_string(env->local_rank_count) + " ranks on this host";
    }
}

inline LaunchEnv read_from(const Names& from, const Lookup& lookup) {
    LaunchEnv env;
    env.launcher = from.launcher;
    read_optional(lookup, from.rank, &env.rank, &env);
    read_optional(lookup, from.rank_count, &env.rank_count, &env);
    env.local_rank = env.rank;
    env.local_rank_count = env.rank_count;
    read_optional(lookup, from.local_rank, &env.local_rank, &env);
    read_optional(lookup, from.local_rank_count, &env.local_rank_count, &env);
    read_optional(lookup, from.host_index, &env.host_index, &env);
    read_optional(lookup, from.host_count, &env.host_count, &env);
    if (const char* tasks = lookup("SLURM_STEP_TASKS_PER_NODE");
        tasks && from.launcher == std::string("srun")) {
        env.local_rank_count = slurm_local_count(tasks, env.host_index < 0 ? 0 : env.host_index);
    }
    check(from, &env);
    return env;
}

}  // namespace launch_env_detail

// `skip_own` leaves weft-run's names out: weft-run itself asks who started *it*. The generic names
// count then only with torchrun's own beside them, for weft-run sets RANK and WORLD_SIZE too.
inline LaunchEnv launch_env_find(
    bool skip_own = false,
    const launch_env_detail::Lookup& lookup = [](const char* name) { return std::getenv(name); }) {
    for (const launch_env_detail::Names& from : launch_env_detail::names) {
        const bool own = &from == &launch_env_detail::names[0];
        const bool generic = from.rank == std::string("RANK");
        if ((skip_own && own) || (skip_own && generic && !lookup("TORCHELASTIC_RUN_ID"))) {
            continue;
        }
        if (lookup(from.rank) && lookup(from.rank_count)) {
            return launch_env_detail::read_from(from, lookup);
        }
    }
    return {};
}

}  // namespace weft
