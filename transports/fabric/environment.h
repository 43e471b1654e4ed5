// The variables of libfabric that decide whether EFA can be used: those that make its provider end
// the process are found before the first call that reads them. They are libfabric's and no settings
// of ours; only this file reads them. Thread rule: reentrant, but for fork_prepare(), which may set
// a variable and belongs before threads that read the environment. Failure rule: one line that
// names the variable, why, and what to do.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "src/base/result.h"

namespace weft::fabric {

// Null where a variable is not set; getenv, or a test's.
using Environment = std::function<const char*(const char*)>;
Environment environment_own();

// Whether a NIC can be read from; asked only where the answer decides.
enum class NicReads : uint8_t { yes, no, unknown };

// An error for what would end the process in this libfabric (version as fi_version() gives it).
Result<void> environment_check(const Environment& environment, uint32_t library_version,
                               const std::function<NicReads()>& nic_reads);

// What in the environment keeps libfabric from offering efa, as "FI_PROVIDER=tcp leaves efa out";
// empty if nothing does.
std::string efa_excluded(const Environment& environment);

// Forking with registered memory: safe without doing anything on kernels that copy what is pinned
// (rdma-core says so, in general from 5.13 on). Elsewhere the provider ends a process that forks,
// unless a variable asks for marking the pages, which gives up huge pages.
enum class Fork : uint8_t { safe, asked, must_ask };
enum class ForkStatus : uint8_t { disabled, enabled, unneeded, unknown };  // rdma-core's answer
Fork fork_policy(const Environment& environment, ForkStatus status, std::string_view kernel);

// Asks for fork safety where it is needed and nobody has, and says so. Before the first
// fi_getinfo.
void fork_prepare(const Environment& environment);

}  // namespace weft::fabric
