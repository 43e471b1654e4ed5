// The ring of a channel is that of gen_ring.cpp with its positions renamed to the ranks of the
// channel's order. The trees are those of gen_tree.cpp with nodes of our own.
#include "src/base/log.h"
#include "src/plan/gen.h"
#include "src/plan/nccl_plan.h"
#include "src/plan/planner.h"

namespace weft::plan {

namespace {

constexpr uint32_t slots_nccl = 8;  // NCCL_STEPS

Shape ring_shape(const NcclPlan& plan) {
    Shape shape;
    shape.coll = plan.coll;
    shape.algo = Algo::ring;
    shape.rank_count = plan.hosts * plan.ranks_per_host;
    shape_fit(shape, 1);
    return shape;
}

uint32_t channels(const NcclPlan& plan) {
    const auto each = static_cast<uint32_t>(plan.ranks_per_host);
    return plan.algo == NcclAlgo::pat ? 1 : plan.algo == NcclAlgo::tree ? 2 * each : each;
}

// One channel's ring: positions to ranks, and the part of a lone ring to that of all channels.
class Channel {
  public:
    Channel(const NcclPlan& plan, uint32_t number)
        : each_(plan.ranks_per_host),
          channels_(channels(plan)),
          number_(number),
          blocks_in_(plan.coll == Coll::reduce_scatter),
          blocks_out_(plan.coll == Coll::all_gather) {}

    int32_t rank_at(int32_t position) const {
        const int32_t local = (position + static_cast<int32_t>(number_)) % each_;
        return position / each_ * each_ + local;
    }
    int32_t position_of(int32_t rank) const {
        const int32_t offset = rank - static_cast<int32_t>(number_) + each_;
        return rank / each_ * each_ + offset % each_;
    }
    void rename(Step& step) const {
        step.peer = step.peer < 0 ? step.peer : rank_at(step.peer);
        step.chunk = step.chunk * channels_ + number_;
        rename(step.dst);
        for (Operand& operand : step.src) {
            rename(operand);
        }
    }

  private:
    // Of a lone ring: a block is one chunk, or each position's slice is one.
    void rename(Operand& operand) const {
        if (operand.space == Space::scratch || operand.space == Space::none) {
            return;
        }
        const bool by_rank = operand.space == Space::input ? blocks_in_ : blocks_out_;
        const auto at = static_cast<int32_t>(operand.chunk);
        const auto block = static_cast<uint32_t>(by_rank ? rank_at(at) : at);
        operand.chunk = block * channels_ + number_;
    }

    int32_t each_;
    uint32_t channels_, number_;
    bool blocks_in_, blocks_out_;
};

Result<RankPlan> ring_part(const NcclPlan& plan, int32_t rank) {
    const Shape lone = ring_shape(plan);
    RankPlan made;
    made.rank = rank;
    for (uint32_t c = 0; c < channels(plan); c++) {
        const Channel channel(plan, c);
        RankPlan part = TRY(generate(lone, 1, channel.position_of(rank)));
        for (Step& step : part.lanes[0].steps) {
            channel.rename(step);
        }
        made.lanes.push_back(std::move(part.lanes[0]));
    }
    return made;
}

// Two trees over the hosts for each local rank that may be a head.
TreeNode tree_node(const NcclPlan& plan, uint32_t strand, int32_t rank) {
    const int32_t each = plan.ranks_per_host;
    const auto first = static_cast<int32_t>(strand / 2) % each;
    const int32_t host = rank / each;
    const int32_t depth = (rank - first + each) % each;  // of `rank` in its host's chain
    const auto in_chain = [&](int32_t at) { return host * each + (first + at) % each; };
    const auto head_of = [&](int32_t of) { return of * each + first; };
    TreeNode node;
    if (depth == 0) {
        Stage hosts;
        hosts.size = plan.hosts;
        hosts.self = host;
        hosts.strand = strand;
        const TreeNode above = double_node(hosts, false);
        node.parent = above.parent < 0 ? -1 : head_of(above.parent);
        for (const int32_t child : above.children) {
            node.children.push_back(head_of(child));
        }
    } else {
        node.parent = in_chain(depth - 1);
    }
    if (depth + 1 < each) {
        node.children.push_back(in_chain(depth + 1));
    }
    return node;
}

RankPlan tree_part(const NcclPlan& plan, int32_t rank) {
    RankPlan made;
    made.rank = rank;
    const uint32_t strands = channels(plan);
    for (uint32_t strand = 0; strand < strands; strand++) {
        Stage stage;
        stage.coll = Coll::all_reduce;
        stage.size = plan.hosts * plan.ranks_per_host;
        stage.self = rank;
        stage.strand = strand;
        stage.input = {Space::input, strand, strands, 0};
        stage.output = {Space::output, strand, strands, 0};
        Writer up(2 * strand, strands);
        Writer down = up.next();
        tree_both(up, down, stage, tree_node(plan, strand, rank));
        made.lanes.push_back(up.take());
        made.lanes.push_back(down.take());
    }
    return made;
}

bool has_algorithm(const NcclPlan& plan) {
    const bool blocks = plan.coll == Coll::all_gather || plan.coll == Coll::reduce_scatter;
    switch (plan.algo) {
        case NcclAlgo::ring:
            return blocks || plan.coll == Coll::all_reduce;
        case NcclAlgo::tree:
            return plan.coll == Coll::all_reduce;
        case NcclAlgo::pat:
            return blocks && plan.ranks_per_host == 1;
    }
    return false;
}

}  // namespace

const char* to_string(NcclAlgo algo) {
    switch (algo) {
        case NcclAlgo::ring:
            return "ring";
        case NcclAlgo::tree:
            return "tree";
        case NcclAlgo::pat:
            return "pat";
    }
    return "?";
}

Result<Shape> nccl_shape(const NcclPlan& plan) {
    if (plan.hosts < 1 || plan.ranks_per_host < 1 || plan.hosts * plan.ranks_per_host < 2 ||
        !has_algorithm(plan)) {
        return make_error(
            Code::unsupported, Scope::call,
            format("NCCL has no %s by %s on %d hosts of %d ranks", weft::to_string(plan.coll),
                   to_string(plan.algo), plan.hosts, plan.ranks_per_host));
    }
    Shape shape = ring_shape(plan);
    shape.algo = plan.algo == NcclAlgo::ring   ? Algo::ring
                 : plan.algo == NcclAlgo::tree ? Algo::tree
                                               : Algo::halving;
    if (plan.algo == NcclAlgo::tree) {
        shape.chunks = 1;
    }
    shape.chunks *= channels(plan);
    shape.slots_min = slots_nccl;
    return shape;
}

Result<RankPlan> nccl_part(const NcclPlan& plan, int32_t rank) {
    Shape shape = TRY(nccl_shape(plan));
    if (rank < 0 || rank >= shape.rank_count) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("rank %d of %d: no such rank", rank, shape.rank_count));
    }
    if (plan.algo == NcclAlgo::ring) {
        return ring_part(plan, rank);
    }
    if (plan.algo == NcclAlgo::tree) {
        return tree_part(plan, rank);
    }
    shape_fit(shape, 1);
    return generate(shape, 1, rank);
}

}  // namespace weft::plan
