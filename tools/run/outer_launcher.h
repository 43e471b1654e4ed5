// weft-run under mpirun, srun or torchrun: the ranks exist already, so it only gives the program of
// each its WEFT_* names and steps aside.
// Thread rule: single-threaded. Failure rule: Result, one line.
#pragma once

#include <optional>

#include "perf/launch_env.h"
#include "src/base/result.h"
#include "tools/run/options.h"

namespace weft::run {

// Who started us and as which rank, if that launcher is the one that counts: it started several
// ranks, or the user asked for nothing else. Asking for other numbers than it gave is an error.
Result<std::optional<LaunchEnv>> outer_launcher(const Options& options);

// Becomes the program; returns only if that fails. Ranks that all live on this machine also agree
// on NCCL_COMM_ID and WEFT_SECRET first, unless the user set NCCL_COMM_ID.
Error outer_launcher_exec(const Options& options, const LaunchEnv& env);

}  // namespace weft::run
