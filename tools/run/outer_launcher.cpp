#include "tools/run/outer_launcher.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "src/base/log.h"
#include "tools/run/meeting.h"
#include "tools/run/process.h"

namespace weft::run {

namespace {

Error wrong(std::string what) {
    return make_error(Code::invalid_argument, Scope::call, std::move(what));
}

void set(const char* name, int value) {
    ::setenv(name, std::to_string(value).c_str(), 1);
}

// The hosts of a job with equal numbers of ranks in blocks, which is what launchers do unless told
// otherwise; the launcher's own word goes first.
void set_hosts(const LaunchEnv& env) {
    const int count = (env.rank_count + env.local_rank_count - 1) / env.local_rank_count;
    set("WEFT_HOST_COUNT", env.host_count > 0 ? env.host_count : count);
    set("WEFT_HOST_INDEX", env.host_index >= 0 ? env.host_index : env.rank / env.local_rank_count);
}

// A name that all ranks of the job on this machine share and other jobs do not have. Launchers that
// tell none are the parent of all their ranks here.
std::string job_name() {
    for (const char* name : {"PMIX_NAMESPACE", "TORCHELASTIC_RUN_ID"}) {
        if (const char* value = std::getenv(name)) {
            const char* port = std::getenv("MASTER_PORT");
            return std::string(name) + value + (port ? port : "");
        }
    }
    const char* job = std::getenv("SLURM_JOB_ID");
    const char* step = std::getenv("SLURM_STEP_ID");
    if (job && step) {
        return std::string("slurm") + job + "." + step;
    }
    return "parent" + std::to_string(::getppid());
}

Result<void> meet(const LaunchEnv& env) {
    if (std::getenv("NCCL_COMM_ID")) {
        return {};
    }
    if (env.local_rank_count != env.rank_count) {
        if (env.rank == 0) {
            std::fprintf(stderr,
                         "weft-run: %s runs this job on several hosts: programs that do not pass "
                         "the unique id themselves need NCCL_COMM_ID=<rank 0's address>:<port>\n",
                         env.launcher.c_str());
        }
        return {};
    }
    const Appointment made = TRY(env.rank == 0 ? appointment_give(job_name(), env.rank_count)
                                               : appointment_get(job_name()));
    ::setenv("NCCL_COMM_ID", ("127.0.0.1:" + made.port).c_str(), 1);
    if (!std::getenv("WEFT_SECRET_FILE")) {
        ::setenv("WEFT_SECRET", made.secret.c_str(), 0);
    }
    return {};
}

}  // namespace

Result<std::optional<LaunchEnv>> outer_launcher(const Options& options) {
    LaunchEnv env = launch_env_find(true);
    const bool asked = options.rank_count != 0 || options.host_count != 0;
    if (env.launcher.empty() || (env.rank_count == 1 && asked)) {
        return std::optional<LaunchEnv>();
    }
    if (!env.error.empty()) {
        return wrong("under " + env.launcher + ": " + env.error);
    }
    if (options.host_count != 0) {
        return wrong("--hosts under " + env.launcher +
                     ": it has started the ranks already; start weft-run without it");
    }
    if (options.rank_count != 0 && options.rank_count != env.rank_count) {
        return wrong(format("-n %d under %s, which has started %d ranks already; leave -n out",
                            options.rank_count, env.launcher.c_str(), env.rank_count));
    }
    return std::optional<LaunchEnv>(std::move(env));
}

Error outer_launcher_exec(const Options& options, const LaunchEnv& env) {
    for (const auto& [key, value] : options.env) {
        ::setenv(key.c_str(), value.c_str(), 1);
    }
    set("WEFT_RANK", env.rank);
    set("WEFT_RANK_COUNT", env.rank_count);
    set("WEFT_LOCAL_RANK", env.local_rank);
    set("WEFT_LOCAL_RANK_COUNT", env.local_rank_count);
    set_hosts(env);
    if (Result<void> met = meet(env); !met.ok()) {
        return std::move(met).error();
    }
    std::vector<char*> arguments;
    for (const std::string& argument : options.program) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    return make_error(Code::system, Scope::process,
                      sys_text("cannot run '" + options.program[0] + "'", errno), errno);
}

}  // namespace weft::run
