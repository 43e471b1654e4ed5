// Whether a plan looks the same from every host: the part of local rank l of host h is then that of
// local rank l of host 0 with every peer h hosts further, every block h hosts further, and chunks
// and scratch slots renamed one to one. Nothing is assumed of the algorithm: every part is made and
// compared, one at a time. Hosts are those of the shape's cluster if they are equal in size;
// without a cluster every rank is a host of its own.
//
// Three things may differ between images, because no run can tell them apart. Scratch is private to
// its lane, so slots may have other numbers. Chunks are renamed by the rotation itself: one mapping
// for all ranks of a host, applied h times for host h. And the sources of a reduce may stand in
// another order (sums in the order of ranks do); then `reordered` says so, because the bits of such
// sums differ between hosts. Thread rule: values, reentrant. Failure rule: an error only if a part
// cannot be made; a plan that does not rotate is an answer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/plan/ir.h"

namespace weft::plan {

// One rank's part, made when it is needed and dropped when it was read.
using PartOf = std::function<Result<RankPlan>(int32_t rank)>;
// Told now and then how far long work has come.
using Progress = std::function<void(const std::string& text)>;

// Ranks as (host, local), and what turning by some hosts makes of ranks, chunks and operands. Turns
// are numbers of hosts in [0, hosts()).
class Rotation {
  public:
    // All ranks on one host: nothing turns.
    explicit Rotation(const Shape& shape);
    // By the hosts of the cluster, or every rank a host; the chunks not renamed yet.
    static Rotation of_hosts(const Shape& shape);

    int32_t hosts() const { return hosts_; }
    int32_t ranks_per_host() const { return ranks_per_host_; }
    int32_t host_of(int32_t rank) const {
        return cluster_ != nullptr ? cluster_->host_of(rank) : rank / ranks_per_host_;
    }
    int32_t local_of(int32_t rank) const {
        return cluster_ != nullptr ? cluster_->local_of(rank) : rank % ranks_per_host_;
    }
    int32_t rank_at(int32_t host, int32_t local) const {
        return cluster_ != nullptr ? cluster_->rank_at(host, local)
                                   : host * ranks_per_host_ + local;
    }
    int32_t sum(int32_t turn, int32_t more) const {
        const int32_t both = turn + more;
        return both < hosts_ ? both : both - hosts_;
    }
    int32_t back(int32_t turn) const { return turn == 0 ? 0 : hosts_ - turn; }

    int32_t rank(int32_t rank, int32_t turn) const {
        return turn == 0 ? rank : rank_at(sum(host_of(rank), turn), local_of(rank));
    }
    uint32_t chunk(uint32_t chunk, int32_t turn) const;
    // Operand chunk `id` (block and chunk) of a buffer of one block, or of one block per rank.
    uint32_t id(uint32_t id, bool many, int32_t turn) const;

    // Chunks in the order in which turning by one host renames them: where in its cycle a chunk is,
    // and how long that is. A cycle may be shorter than the hosts.
    uint32_t cycle_of(uint32_t chunk) const { return cycles_.empty() ? chunk : cycle_[chunk]; }
    int32_t place_in_cycle(uint32_t chunk) const { return cycles_.empty() ? 0 : place_[chunk]; }
    int32_t cycle_length(uint32_t chunk) const {
        return cycles_.empty() ? 1 : static_cast<int32_t>(cycles_[cycle_[chunk]].size());
    }
    // What one turn makes of each chunk. False: not one to one, or not back where it was after a
    // turn by all hosts.
    bool rename_chunks(const std::vector<uint32_t>& image);

    bool reordered = false;  // some sums stand in another order on other hosts

  private:
    int32_t hosts_ = 1, ranks_per_host_ = 1;
    uint32_t chunks_ = 1;
    const Cluster* cluster_ = nullptr;           // of the shape, which outlives this
    std::vector<std::vector<uint32_t>> cycles_;  // empty: no chunk is renamed
    std::vector<uint32_t> cycle_;
    std::vector<int32_t> place_;
};

struct Turned {
    bool yes = false;
    std::string why;              // it does, or does not
    Rotation rotation;            // of one host, if it does not
    std::vector<RankPlan> first;  // the parts of host 0, by local rank, if it does
};

Result<Turned> rotation_find(const Shape& shape, const PartOf& part_of,
                             const Progress& progress = nullptr);

}  // namespace weft::plan
