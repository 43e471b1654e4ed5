// Reads the ranks' parts one after the other and matches their steps.
//
// 1. Every step becomes one SimStep. Steps that meet a counterpart leave an *end*: a key made of
//    (sender, receiver, lane, class), with senders counted from their own host when folded.
// 2. Both lists of ends are sorted. Equal keys stand opposite each other in the order of the lists,
//    which is the matching rule of ir.h; where the lists differ, the plan is wrong.
#include "src/sim/parts.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "src/base/log.h"
#include "src/plan/text.h"

namespace weft::sim {

using plan::Operand;
using plan::Space;
using plan::Step;
using plan::StepKind;

namespace {

constexpr uint64_t steps_max = 1u << 28;
constexpr uint32_t lanes_max = 1u << 10;

enum class Class : uint8_t { message, grant, expose };

struct End {
    uint64_t stream_key;  // sender, receiver, lane
    Class what;
    uint32_t step;
    bool same_meeting(const End& other) const {
        return stream_key == other.stream_key && what == other.what;
    }
    bool operator<(const End& other) const {
        return std::tie(stream_key, what, step) <
               std::tie(other.stream_key, other.what, other.step);
    }
};

class Builder {
  public:
    Builder(const Network& network, const Job& job, bool folded)
        : network_(network), job_(job), folded_(folded) {}
    Result<Parts> run(const PartOf& part_of);

  private:
    uint64_t key(int32_t sender, int32_t receiver, uint32_t lane) const;
    Result<void> rank_add(const plan::RankPlan& part, uint32_t rank);
    Result<void> step_add(const Step& step, uint32_t rank, uint32_t lane);
    Result<void> step_check(const Step& step, int32_t rank) const;
    void ends_add(const Step& step, int32_t rank, uint32_t lane);
    void memory_add(const Step& step, SimStep& out, uint32_t lane);
    Result<void> compute_add(const Step& step, SimStep& out, int32_t rank);
    Result<void> afters_mark(const plan::RankPlan& part, uint32_t rank);
    Result<void> match();
    Result<void> pair(const End& giver, const End& taker);
    Error unmatched(const End& end, const char* lacks) const;
    void streams_number();

    const Network& network_;
    const Job& job_;
    bool folded_;
    Parts parts_;
    std::vector<End> givers_, takers_;
    std::unordered_map<uint64_t, uint32_t> operands_;  // of the rank being read
};

// A sender on host 0 stands for its images on all hosts.
uint64_t Builder::key(int32_t sender, int32_t receiver, uint32_t lane) const {
    if (folded_) {
        const int32_t hosts = network_.hosts;
        const int32_t apart =
            (network_.host_of(receiver) - network_.host_of(sender) + hosts) % hosts;
        sender = network_.local_of(sender);
        receiver = apart * network_.ranks_per_host + network_.local_of(receiver);
    }
    return (static_cast<uint64_t>(sender) << 40) | (static_cast<uint64_t>(receiver) << 16) | lane;
}

Result<void> Builder::step_check(const Step& step, int32_t rank) const {
    const plan::Shape& shape = job_.shape;
    const bool meets = step.kind == StepKind::grant || step.kind == StepKind::put ||
                       step.kind == StepKind::wait || step.kind == StepKind::expose;
    const bool peer_ok = step.peer >= 0 && step.peer < shape.rank_count && step.peer != rank;
    if (step.chunk >= shape.chunks || (meets && !peer_ok) || step.src.size() > UINT16_MAX) {
        return refuse(
            format("rank %d: %s: no such chunk or peer", rank, plan::step_text(step).c_str()));
    }
    return {};
}

void Builder::ends_add(const Step& step, int32_t rank, uint32_t lane) {
    const auto index = static_cast<uint32_t>(parts_.steps.size());
    const uint64_t out = key(rank, step.peer, lane);
    const uint64_t in = key(step.peer, rank, lane);
    switch (step.kind) {
        case StepKind::grant:
            givers_.push_back({in, Class::grant, index});
            break;
        case StepKind::put:
            givers_.push_back({out, Class::message, index});
            if (!step.src.empty()) {
                takers_.push_back({out, Class::grant, index});
            }
            break;
        case StepKind::wait:
            takers_.push_back({in, step.dst.peer >= 0 ? Class::expose : Class::message, index});
            break;
        case StepKind::expose:
            givers_.push_back({out, Class::expose, index});
            break;
        case StepKind::copy:
        case StepKind::reduce:
        case StepKind::release:
            break;
    }
}

// Memory that is put from, filled by a wait, or released; scratch is private to its lane.
void Builder::memory_add(const Step& step, SimStep& out, uint32_t lane) {
    const Operand& operand = step.kind == StepKind::put ? step.src[0] : step.dst;
    const bool scratch = operand.space == Space::scratch;
    const uint64_t id = (static_cast<uint64_t>(scratch ? lane + 1 : 0) << 40) |
                        (static_cast<uint64_t>(operand.space) << 32) | operand.chunk;
    const auto [at, made] = operands_.try_emplace(id, parts_.operand_count);
    parts_.operand_count += made ? 1 : 0;
    out.operand = at->second;
    out.scratch = scratch;
    out.skip_release = operand.space == Space::input && !job_.in_place;
}

Result<void> Builder::compute_add(const Step& step, SimStep& out, int32_t rank) {
    out.sources = static_cast<uint16_t>(step.src.size());
    out.load_begin = static_cast<uint32_t>(parts_.loads.size());
    for (const Operand& source : step.src) {
        if (source.peer < 0) {
            continue;
        }
        if (source.peer >= job_.shape.rank_count || source.peer == rank ||
            network_.host_of(source.peer) != network_.host_of(rank)) {
            return refuse(
                format("rank %d: %s: rank %d is not another rank of this host, so its "
                       "memory cannot be loaded",
                       rank, plan::step_text(step).c_str(), source.peer));
        }
        parts_.loads.push_back(source.peer);
    }
    out.load_end = static_cast<uint32_t>(parts_.loads.size());
    out.copies_input = step.kind == StepKind::copy && step.src.size() == 1 &&
                       step.src[0].space == Space::input && step.src[0].peer < 0 &&
                       step.dst.space == Space::output;
    return {};
}

Result<void> Builder::step_add(const Step& step, uint32_t rank, uint32_t lane) {
    const auto signed_rank = static_cast<int32_t>(rank);
    TRY(step_check(step, signed_rank));
    if (step.kind != StepKind::copy && step.kind != StepKind::reduce &&
        step.kind != StepKind::release) {
        ends_add(step, signed_rank, lane);
    }
    SimStep out;
    out.kind = step.kind;
    out.peer = step.peer;
    out.chunk = step.chunk;
    out.expose = step.kind == StepKind::wait && step.dst.peer >= 0;
    out.data = step.kind == StepKind::put    ? !step.src.empty()
               : step.kind == StepKind::wait ? step.dst.space != Space::none && !out.expose
                                             : false;
    if (out.data || step.kind == StepKind::release) {
        memory_add(step, out, lane);
    }
    if (step.kind == StepKind::copy || step.kind == StepKind::reduce) {
        TRY(compute_add(step, out, signed_rank));
    }
    out.after_begin = static_cast<uint32_t>(parts_.afters.size());
    const uint32_t first_chain = parts_.rank_chains.back();
    for (const plan::After& after : step.after) {
        // The step is put in once all lanes of the rank are numbered.
        parts_.afters.push_back({first_chain + after.lane, after.step, after.tiles_back});
    }
    out.after_end = static_cast<uint32_t>(parts_.afters.size());
    parts_.steps.push_back(out);
    if (parts_.steps.size() > steps_max) {
        return refuse("it has more than 2^28 steps: simulate fewer ranks or fold");
    }
    return {};
}

Result<void> Builder::afters_mark(const plan::RankPlan& part, uint32_t rank) {
    const uint32_t first = parts_.rank_chains[rank];
    for (uint32_t s = parts_.chains[first].begin; s < parts_.steps.size(); s++) {
        for (uint32_t a = parts_.steps[s].after_begin; a < parts_.steps[s].after_end; a++) {
            SimAfter& after = parts_.afters[a];
            if (after.chain - first >= part.lanes.size() ||
                after.step >= part.lanes[after.chain - first].steps.size()) {
                return refuse(step_place(parts_, s) + format(" comes after step %u of lane %u: no "
                                                             "such step",
                                                             after.step, after.chain - first));
            }
            after.step += parts_.chains[after.chain].begin;
            parts_.steps[after.step].marked = true;
        }
    }
    return {};
}

Result<void> Builder::rank_add(const plan::RankPlan& part, uint32_t rank) {
    operands_.clear();
    if (part.lanes.empty() || part.lanes.size() > lanes_max) {
        return refuse(
            format("rank %u has %zu lanes: expected 1 to %u", rank, part.lanes.size(), lanes_max));
    }
    for (uint32_t lane = 0; lane < part.lanes.size(); lane++) {
        const auto begin = static_cast<uint32_t>(parts_.steps.size());
        for (const Step& step : part.lanes[lane].steps) {
            TRY(step_add(step, rank, lane));
        }
        parts_.chains.push_back({rank, lane, begin, static_cast<uint32_t>(parts_.steps.size())});
    }
    TRY(afters_mark(part, rank));
    parts_.rank_chains.push_back(static_cast<uint32_t>(parts_.chains.size()));
    return {};
}

Error Builder::unmatched(const End& end, const char* lacks) const {
    return refuse(step_place(parts_, end.step) + " has no counterpart: " + lacks);
}

const char* lack_of(Class what, bool giver) {
    switch (what) {
        case Class::message:
            return giver ? "its peer waits for fewer puts" : "its peer puts less often";
        case Class::grant:
            return giver ? "its peer puts less often" : "its peer grants less often";
        case Class::expose:
            return giver ? "its peer waits for fewer exposes" : "its peer exposes less often";
    }
    return "";
}

Result<void> Builder::pair(const End& giver, const End& taker) {
    SimStep& from = parts_.steps[giver.step];
    SimStep& to = parts_.steps[taker.step];
    const bool sizes_differ = parts_.chunk_bytes[from.chunk] != parts_.chunk_bytes[to.chunk];
    const bool kinds_differ = giver.what == Class::message && from.data != to.data;
    if (sizes_differ || kinds_differ) {
        return refuse(step_place(parts_, giver.step) + " and its counterpart " +
                      step_place(parts_, taker.step) +
                      (sizes_differ ? " move chunks of different sizes"
                                    : ": one is a signal, the other moves memory"));
    }
    from.partner = taker.step;
    return {};
}

Result<void> Builder::match() {
    std::sort(givers_.begin(), givers_.end());
    std::sort(takers_.begin(), takers_.end());
    size_t g = 0, t = 0;
    for (; g < givers_.size() && t < takers_.size(); g++, t++) {
        const End& giver = givers_[g];
        const End& taker = takers_[t];
        if (!giver.same_meeting(taker)) {
            const bool giver_alone =
                std::tie(giver.stream_key, giver.what) < std::tie(taker.stream_key, taker.what);
            return unmatched(giver_alone ? giver : taker,
                             lack_of(giver_alone ? giver.what : taker.what, giver_alone));
        }
        TRY(pair(giver, taker));
    }
    if (g < givers_.size()) {
        return unmatched(givers_[g], lack_of(givers_[g].what, true));
    }
    if (t < takers_.size()) {
        return unmatched(takers_[t], lack_of(takers_[t].what, false));
    }
    return {};
}

// A grant travels on the stream of its own rank to the putter, against the put's key.
void Builder::streams_number() {
    std::vector<std::pair<uint64_t, uint32_t>> senders;  // key, chain
    for (uint32_t c = 0; c < parts_.chains.size(); c++) {
        const SimChain& chain = parts_.chains[c];
        for (uint32_t s = chain.begin; s < chain.end; s++) {
            const StepKind kind = parts_.steps[s].kind;
            if (kind == StepKind::put || kind == StepKind::grant || kind == StepKind::expose) {
                senders.emplace_back(
                    key(static_cast<int32_t>(chain.rank), parts_.steps[s].peer, chain.lane), c);
            }
        }
    }
    std::sort(senders.begin(), senders.end());
    senders.erase(std::unique(senders.begin(), senders.end()), senders.end());
    for (const auto& [stream_key, chain] : senders) {
        parts_.stream_senders.push_back(chain);
    }
    for (const SimChain& chain : parts_.chains) {
        for (uint32_t s = chain.begin; s < chain.end; s++) {
            SimStep& step = parts_.steps[s];
            if (step.peer < 0) {
                continue;
            }
            const auto rank = static_cast<int32_t>(chain.rank);
            const uint64_t wanted = step.kind == StepKind::wait ? key(step.peer, rank, chain.lane)
                                                                : key(rank, step.peer, chain.lane);
            const auto at = std::lower_bound(senders.begin(), senders.end(), std::pair{wanted, 0u});
            step.stream = static_cast<uint32_t>(at - senders.begin());
        }
    }
}

Result<Parts> Builder::run(const PartOf& part_of) {
    parts_.folded = folded_;
    parts_.chunk_bytes = chunk_sizes(job_);
    const uint64_t largest =
        *std::max_element(parts_.chunk_bytes.begin(), parts_.chunk_bytes.end());
    parts_.tile_bytes = std::max<uint64_t>(1, job_.tile_bytes > 0 ? job_.tile_bytes : largest);
    parts_.tiles = static_cast<uint32_t>(
        std::max<uint64_t>(1, (largest + parts_.tile_bytes - 1) / parts_.tile_bytes));
    const int32_t ranks = folded_ ? network_.ranks_per_host : network_.rank_count();
    parts_.rank_chains.push_back(0);
    for (int32_t rank = 0; rank < ranks; rank++) {
        TRY(rank_add(TRY(part_of(rank)), static_cast<uint32_t>(rank)));
    }
    TRY(match());
    streams_number();
    return std::move(parts_);
}

}  // namespace

Error refuse(const std::string& what) {
    return make_error(Code::invalid_argument, Scope::operation,
                      "the plan cannot be simulated: " + what);
}

uint32_t Parts::chain_of(uint32_t step) const {
    const auto at = std::upper_bound(chains.begin(), chains.end(), step,
                                     [](uint32_t s, const SimChain& c) { return s < c.end; });
    return static_cast<uint32_t>(at - chains.begin());
}

std::string step_place(const Parts& parts, uint32_t step) {
    const uint32_t at = parts.chain_of(step);
    const SimStep& what = parts.steps[step];
    // While a rank is being read, its last lane is not in the table.
    const SimChain& chain = parts.chains[std::min<size_t>(at, parts.chains.size() - 1)];
    std::string text = format("rank %u lane %u step %u (%s", chain.rank, chain.lane,
                              step - chain.begin, plan::to_string(what.kind));
    if (what.peer >= 0) {
        const bool inward = what.kind == StepKind::wait;
        text += format(" %s rank %d", inward ? "from" : "to", what.peer);
    }
    return text + ")";
}

std::vector<uint64_t> chunk_sizes(const Job& job) {
    std::vector<uint64_t> sizes;
    sizes.reserve(job.shape.chunks);
    for (uint32_t c = 0; c < job.shape.chunks; c++) {
        sizes.push_back(plan::chunk_extent(job.count, job.elem_bytes, job.shape.chunks, c).bytes());
    }
    return sizes;
}

Result<Parts> parts_build(const Network& network, const Job& job, const PartOf& part_of,
                          bool folded) {
    return Builder(network, job, folded).run(part_of);
}

}  // namespace weft::sim
