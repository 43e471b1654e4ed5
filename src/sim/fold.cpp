// Whether one host may stand for all. Compared are the parts themselves, not the algorithm's name:
// rank (h, l) must do what rank (0, l) does with every peer h hosts further, on chunks of the same
// sizes, and name its memory by the same pattern.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <vector>

#include "src/base/log.h"
#include "src/sim/parts.h"

namespace weft::sim {

using plan::Operand;
using plan::RankPlan;
using plan::Space;
using plan::Step;
using plan::StepKind;

namespace {

class Images {
  public:
    Images(const Network& network, const std::vector<uint64_t>& sizes, int32_t host)
        : network_(network), sizes_(sizes), host_(host) {}

    bool same(const RankPlan& first, const RankPlan& other) {
        if (first.lanes.size() != other.lanes.size()) {
            return false;
        }
        for (size_t lane = 0; lane < first.lanes.size(); lane++) {
            const auto& a = first.lanes[lane].steps;
            const auto& b = other.lanes[lane].steps;
            lane_ = static_cast<uint32_t>(lane);
            if (!std::equal(a.begin(), a.end(), b.begin(), b.end(),
                            [&](const Step& x, const Step& y) { return same(x, y); })) {
                return false;
            }
        }
        return true;
    }

  private:
    bool same(const Step& a, const Step& b) {
        return a.kind == b.kind && a.after == b.after && sizes_at(a.chunk) == sizes_at(b.chunk) &&
               image(a.peer) == b.peer && a.src.size() == b.src.size() &&
               (a.kind == StepKind::reduce ? same_loads(a, b) : same_memory(a, b));
    }
    bool same_memory(const Step& a, const Step& b) {
        return same(a.dst, b.dst) &&
               std::equal(a.src.begin(), a.src.end(), b.src.begin(),
                          [&](const Operand& x, const Operand& y) { return same(x, y); });
    }
    // Sources stand in the order of ranks, which a rotation changes: what is near costs the same.
    bool same_loads(const Step& a, const Step& b) const {
        std::vector<int32_t> first, other;
        for (const Operand& source : a.src) {
            if (source.peer >= 0) {
                first.push_back(image(source.peer));
            }
        }
        for (const Operand& source : b.src) {
            if (source.peer >= 0) {
                other.push_back(source.peer);
            }
        }
        return first == other;
    }
    bool same(const Operand& a, const Operand& b) {
        if (a.space != b.space || image(a.peer) != b.peer) {
            return false;
        }
        const auto [to, made] = names_.try_emplace(name(a), b.chunk);
        const auto [back, back_made] = back_.try_emplace(name(b), a.chunk);
        return to->second == b.chunk && back->second == a.chunk;
    }
    uint64_t sizes_at(uint32_t chunk) const { return chunk < sizes_.size() ? sizes_[chunk] : 0; }
    int32_t image(int32_t peer) const {
        return peer < 0 ? peer : (peer + host_ * network_.ranks_per_host) % network_.rank_count();
    }
    // Loads are told apart by their steps; of own memory, pattern is all that matters.
    uint64_t name(const Operand& operand) const {
        const bool scratch = operand.space == Space::scratch;
        return (static_cast<uint64_t>(operand.peer + 1) << 44) |
               (static_cast<uint64_t>(scratch ? lane_ : 0) << 34) |
               (static_cast<uint64_t>(operand.space) << 32) | operand.chunk;
    }

    const Network& network_;
    const std::vector<uint64_t>& sizes_;
    int32_t host_;
    uint32_t lane_ = 0;
    std::unordered_map<uint64_t, uint32_t> names_, back_;
};

std::set<int32_t> hosts_to_check(int32_t hosts, uint32_t wanted) {
    std::set<int32_t> chosen;
    if (wanted == 0 || wanted >= static_cast<uint32_t>(hosts) - 1) {
        for (int32_t host = 1; host < hosts; host++) {
            chosen.insert(host);
        }
        return chosen;
    }
    // 1, the last, and the rest spread between.
    for (uint32_t i = 0; i < wanted; i++) {
        const auto spread = static_cast<int64_t>(hosts - 2) * i / std::max(1u, wanted - 1);
        chosen.insert(static_cast<int32_t>(1 + spread));
    }
    return chosen;
}

}  // namespace

Result<Folding> folding_choose(const Network& network, const Job& job, const PartOf& part_of,
                               const Options& options) {
    if (options.fold == Fold::never) {
        return Folding{false, "nothing folded: not wanted"};
    }
    if (network.hosts == 1) {
        return Folding{false, "nothing folded: one host"};
    }
    if (!network.faults.empty() || options.jitter_ns > 0) {
        return Folding{false, "nothing folded: hosts differ by faults or jitter"};
    }
    const std::vector<uint64_t> sizes = chunk_sizes(job);
    const std::set<int32_t> hosts = hosts_to_check(network.hosts, options.fold_hosts_checked);
    for (int32_t local = 0; local < network.ranks_per_host; local++) {
        const RankPlan first = TRY(part_of(local));
        for (const int32_t host : hosts) {
            const RankPlan other = TRY(part_of(host * network.ranks_per_host + local));
            if (!Images(network, sizes, host).same(first, other)) {
                return Folding{false, format("nothing folded: rank %d is no image of rank %d",
                                             host * network.ranks_per_host + local, local)};
            }
        }
    }
    return Folding{
        true, format("folded: %d of %d ranks simulated, host 0 stands for %d hosts, "
                     "compared with %zu of them",
                     network.ranks_per_host, network.rank_count(), network.hosts, hosts.size())};
}

}  // namespace weft::sim
