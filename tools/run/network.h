// The rails of virtual hosts: what to tell ip(8) and tc(8), and telling them.
// Thread rule: reentrant. Failure rule: the tool's own first line of complaint.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/result.h"

namespace weft::run {

struct RailPlan {
    int host_count = 1;
    int rail_count = 1;
    int64_t rate_bps = 0;  // 0: unshaped
};

std::string rail_address(int rail, int host);  // "10.77.<rail>.<host + 1>"

// Batch texts. The switch has a bridge per rail, so that nothing (not even ARP) crosses rails.
std::string switch_links(const RailPlan& plan, const std::vector<pid_t>& host_pids);
std::string host_links(const RailPlan& plan, int host);
std::string switch_queues(const RailPlan& plan);
std::string host_queues(const RailPlan& plan);
std::string network_text(const RailPlan& plan);  // the parameters, for people

// Where `tool` ("ip", "tc") is, also where a user's PATH has no sbin; or the fix.
Result<std::string> tool_find(const std::string& tool);

// Feeds `batch` to `tool` inside namespaces (CLONE_NEW* flags) of the process behind `pidfd`.
Result<void> tool_batch(const std::string& tool, const std::string& batch, int pidfd, int join);

}  // namespace weft::run
