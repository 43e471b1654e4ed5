// How the ranks of one communicator plan their collectives: by plans given in files, by price on a
// table of costs they agreed on, else by rule. Thread rule: immutable once the communicator is
// ready; plan() is reentrant. Failure rule: one line that names the file or the setting.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"
#include "src/base/settings.h"
#include "src/base/sha256.h"
#include "src/comm/peer_info.h"
#include "src/plan/planner.h"
#include "src/tune/table.h"
#include "topology/cluster.h"

namespace weft {

// One file of WEFT_PLAN.
struct GivenPlan {
    std::string file;
    plan::Plan plan;
};
// The files' plans for this many ranks; the others are passed over. Checks form and what the
// executor can run, proves nothing.
Result<std::vector<GivenPlan>> given_plans_read(std::string_view files, int32_t rank_count);
Result<void> given_plans_prove(const std::vector<GivenPlan>& plans);
// Empty without plans.
std::string given_plans_digest(const std::vector<GivenPlan>& plans);

struct Planning {
    plan::Limits limits;
    tune::Table table = tune::table_defaults(tune::Defaults::host_memory);
    std::vector<GivenPlan> given;
    int32_t rank = 0;
    bool explain = false;
    std::string label;  // "rank 2 of comm 0x1234"

    Result<plan::Planned> plan(const plan::Request& request) const;
};

// Which of the NICs with these PCI addresses (WireHub::nics) each local rank rides: the nearest to
// it, where the machine or the file that describes it knows them, else in blocks by order. Empty
// when there are no addresses: every rank rides all.
std::vector<std::vector<uint32_t>> rank_rails(const Settings& settings, int32_t ranks,
                                              const std::vector<std::string>& nics);

// What one host tells the others about itself. `rails`: NICs the fabric transport uses here, by
// local rank in `own`, or all of them by every rank where that is empty. Looks at the machine only
// where nothing else describes it.
Result<topology::Host> host_describe(const Settings& settings, int32_t ranks, int32_t rails,
                                     const std::vector<std::vector<uint32_t>>& own = {});

// The costs of a cluster of these hosts, blobs by host (host_encode); the ranks of each host.
Result<tune::Table> table_make(const Settings& settings, const std::vector<std::string>& hosts,
                               const std::vector<std::vector<int32_t>>& host_ranks, int32_t turns);

// What the ranks compare before they are ready, and the first difference from rank 0 in one line.
std::string agreement_encode(const Planning& planning);
Result<void> agreements_check(const std::vector<std::string>& blobs,
                              const std::vector<PeerInfo>& infos);

}  // namespace weft
