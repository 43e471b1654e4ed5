// Small facts about this process and machine. Thread-safe. Failure rule: what cannot be read gives
// a usable fallback, never an exception; reading a named file reports why it failed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"

namespace weft {

void random_bytes(std::span<uint8_t> out);  // from the kernel; aborts if it has none
uint64_t random_u64();

uint64_t process_nonce();  // random, fixed for the life of this process image
// Of this process and no other: what runs (boot id), its number there, when it began, and the
// nonce. A child made by fork() has another.
std::string process_identity();
std::string host_name();  // as uname says it, domain included

// How many threads of this process can really run at once: affinity, then the cgroup's CPU quota
// (v2 and v1, every ancestor), at least 1. Read anew on every call.
int cores_usable();
// The same in its parts: one bit per CPU the calling thread may run on, and the quota in cores,
// rounded up, 0 for none.
std::vector<uint64_t> cpus_allowed();
uint32_t cpu_quota();
std::string boot_id();  // equal on everything that shares a kernel; empty if it has none

// The quota in cores of a cgroup v2 `cpu.max` text ("200000 100000" is 2), 0 for none or nonsense.
double cpu_quota_parse(std::string_view cpu_max);

// At most `limit` bytes; a longer file is an error, not a cut.
Result<std::string> file_read(const std::string& path, size_t limit = 1 << 20);

// Of sysfs and the like; empty where there is nothing to read.
std::vector<std::string> folder_entries(const std::string& folder);  // sorted, none that are hidden
std::string file_line(const std::string& path);                      // trimmed
std::string link_name(const std::string& path);  // the last part of what the link points to

std::string trimmed(std::string_view text);  // without white space at both ends

}  // namespace weft
