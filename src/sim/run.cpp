// The clockwork: lanes, time and the end of the op. What single steps do is in run_steps.cpp, what
// messages do in run_messages.cpp.
#include "src/sim/run.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft::sim {

using plan::StepKind;

Run::Run(const Network& network, const Job& job, const Options& options, const Parts& parts)
    : network_(network),
      job_(job),
      options_(options),
      parts_(parts),
      slots_(options.slots > 0 ? options.slots : std::max(1u, job.shape.slots_min)),
      wires_(network, parts.folded, queue_),
      random_(options.seed),
      chains_(parts.chains.size()),
      ranks_(parts.rank_count()),
      facts_(parts.steps.size()),
      streams_(parts.stream_senders.size()),
      under_way_(parts.operand_count),
      bound_(parts.operand_count),
      ranks_left_(parts.rank_count()) {
    step_chain_.resize(parts.steps.size());
    for (uint32_t c = 0; c < chains_.size(); c++) {
        const SimChain& chain = parts_.chains[c];
        chains_[c].step = chain.begin;
        std::fill(step_chain_.begin() + chain.begin, step_chain_.begin() + chain.end, c);
        ranks_[chain.rank].lanes_left++;
    }
    streams_measure();
}

// What a credit takes on its way back.
void Run::streams_measure() {
    for (uint32_t s = 0; s < parts_.steps.size(); s++) {
        const SimStep& step = parts_.steps[s];
        if (step.stream == none || step.kind == StepKind::wait) {
            continue;
        }
        const uint32_t rank = parts_.chains[step_chain_[s]].rank;
        const auto local = network_.local_of(static_cast<int32_t>(rank));
        const uint32_t port = inter(rank, step.peer)
                                  ? wires_.nic_port(rank, network_.own_rails(local).first)
                                  : wires_.intra_port(rank);
        streams_[step.stream].latency = wires_.latency(port);
    }
}

Picoseconds Run::thread_use(uint32_t rank, Picoseconds cost) {
    Rank& at = ranks_[rank];
    if (cost == 0) {
        return now_;
    }
    at.thread_free = std::max(now_, at.thread_free) + cost;
    return at.thread_free;
}

Picoseconds Run::compute_use(uint32_t chain, Picoseconds cost) {
    const uint32_t rank = parts_.chains[chain].rank;
    if (network_.compute.workers == Workers::thread) {
        return thread_use(rank, cost);
    }
    Picoseconds& free = network_.compute.workers == Workers::lane ? chains_[chain].compute_free
                                                                  : ranks_[rank].compute_free;
    if (cost == 0) {
        return now_;
    }
    free = std::max(now_, free) + cost;
    return free;
}

Picoseconds Run::block(uint32_t chain, Blocked why, uint32_t on) {
    chains_[chain].blocked = why;
    chains_[chain].blocked_on = on;
    return never;
}

void Run::wake(uint32_t chain, Blocked why, uint32_t cause) {
    Chain& at = chains_[chain];
    if (at.blocked == why) {
        at.blocked = Blocked::no;
        at.cause = cause;
        queue_.push(now_, EventKind::chain, chain);
    }
}

bool Run::after_met(uint32_t chain, const SimStep& step) {
    const Chain& at = chains_[chain];
    for (uint32_t a = step.after_begin; a < step.after_end; a++) {
        const SimAfter& after = parts_.afters[a];
        if (after.tiles_back > at.tile) {
            continue;
        }
        const Chain& other = chains_[after.chain];
        const uint32_t wanted = at.tile - after.tiles_back;
        if (!other.ended &&
            (other.tile < wanted || (other.tile == wanted && other.step <= after.step))) {
            block(chain, Blocked::after, after.chain);
            return false;
        }
    }
    return true;
}

// A step is done, or passed over because its tile is empty.
void Run::pass(uint32_t chain, const SimStep& step) {
    Chain& at = chains_[chain];
    at.step++;
    if (step.marked) {
        const uint32_t rank = parts_.chains[chain].rank;
        for (uint32_t c = parts_.rank_chains[rank]; c < parts_.rank_chains[rank + 1]; c++) {
            wake(c, Blocked::after, at.last_span);
        }
    }
}

// One step further; false if the lane has to wait for an event.
bool Run::chain_step(uint32_t chain) {
    Chain& at = chains_[chain];
    const SimChain& part = parts_.chains[chain];
    if (at.step == part.end) {
        at.step = part.begin;
        at.tile++;
    }
    if (at.tile >= parts_.tiles || part.begin == part.end) {
        chain_end(chain);
        return false;
    }
    const SimStep& step = parts_.steps[at.step];
    if (parts_.bytes(step.chunk, at.tile) == 0) {
        pass(chain, step);
        return true;
    }
    if (!at.started) {
        if (at.reached < 0) {
            at.reached = now_;
        }
        const Picoseconds end = after_met(chain, step) ? step_begin(chain, step) : never;
        if (end == never) {
            return false;
        }
        at.began = now_;
        at.started = true;
        if (at.loads_left > 0) {
            at.compute_end = end;
            return false;
        }
        if (end > now_) {
            // Where nothing else happens before, the queue need not be asked.
            if (!queue_.empty() && queue_.next_at() <= end) {
                queue_.push(end, EventKind::chain, chain);
                return false;
            }
            events_++;
            now_ = end;
        }
    }
    at.started = false;
    record(chain, step);
    step_end(chain, step);
    at.reached = -1;
    at.cause = 0;
    pass(chain, step);
    return true;
}

void Run::chain_run(uint32_t chain) {
    while (chain_step(chain)) {
    }
}

void Run::chain_end(uint32_t chain) {
    chains_[chain].ended = true;
    const uint32_t rank = parts_.chains[chain].rank;
    ranks_[rank].lanes_left--;
    rank_end_check(rank);
}

void Run::rank_end_check(uint32_t rank) {
    Rank& at = ranks_[rank];
    if (at.lanes_left == 0 && at.puts_open == 0) {
        at.end = now_;
        ranks_left_--;
    }
}

void Run::record(uint32_t chain, const SimStep& step) {
    if (!options_.record) {
        return;
    }
    Chain& at = chains_[chain];
    const SimChain& part = parts_.chains[chain];
    Span span;
    span.rank = static_cast<int32_t>(part.rank);
    span.lane = part.lane;
    span.step = at.step - part.begin;
    span.tile = at.tile;
    span.peer = step.peer;
    span.kind = step.kind;
    const bool moves = step.data || step.kind == StepKind::copy || step.kind == StepKind::reduce;
    span.bytes = moves ? parts_.bytes(step.chunk, at.tile) : 0;
    span.reached = static_cast<double>(at.reached) / 1000;
    span.began = static_cast<double>(at.began) / 1000;
    span.ended = static_cast<double>(now_) / 1000;
    span.before = at.last_span;
    span.cause = at.cause;
    spans_.push_back(span);
    at.last_span = static_cast<uint32_t>(spans_.size());
}

void Run::dispatch(const Event& event) {
    switch (event.kind()) {
        case EventKind::chain:
            chain_run(event.who());
            break;
        case EventKind::sent:
            wires_.on_sent(event.who(), now_);
            break;
        case EventKind::head:
            wires_.on_head(event.who(), now_);
            break;
        case EventKind::arrived:
            on_arrived(wires_.on_arrived(event.who()));
            break;
        case EventKind::noticed:
            on_noticed(event.who());
            break;
        case EventKind::delivered:
            on_delivered(event.who());
            break;
        case EventKind::known:
            on_known(event.who());
            break;
        case EventKind::credit:
            on_credit(event.who());
            break;
    }
}

std::string Run::waits_for(uint32_t chain) const {
    const Chain& at = chains_[chain];
    const char* what = "";
    switch (at.blocked) {
        case Blocked::no:
            return " goes on";
        case Blocked::grant:
            what = "the grant";
            break;
        case Blocked::put:
            what = "the put";
            break;
        case Blocked::expose:
            what = "the expose";
            break;
        case Blocked::slot:
            what = "a free slot of the link";
            break;
        case Blocked::after:
            what = "a step it comes after";
            break;
        case Blocked::delivery:
            what = "the delivery of its own put";
            break;
    }
    return format(" (tile %u, %s) waits for %s of ", at.tile, job_.eager ? "eager" : "granted",
                  what);
}

// Nobody can move. Following who waits for whom leads round the cycle, or to a rank that has ended.
Error Run::deadlock() const {
    constexpr int shown_max = 6;
    uint32_t chain = 0;
    while (chains_[chain].ended) {
        chain++;
    }
    std::string text = parts_.folded ? "deadlock, the same on every host: " : "deadlock: ";
    for (int shown = 0; shown < shown_max && !chains_[chain].ended; shown++) {
        text += step_place(parts_, chains_[chain].step) + waits_for(chain);
        chain = chains_[chain].blocked_on;
    }
    return refuse(text + (chains_[chain].ended
                              ? format("rank %u lane %u, which has ended",
                                       parts_.chains[chain].rank, parts_.chains[chain].lane)
                              : step_place(parts_, chains_[chain].step)));
}

// Images of the simulated host.
void Run::folded_fill(Report& report) const {
    const size_t nics = report.nics.size();
    const size_t ranks = report.rank_ns.size();
    for (int32_t host = 1; host < network_.hosts; host++) {
        for (size_t i = 0; i < nics; i++) {
            report.nics.push_back(report.nics[i]);
        }
        for (size_t i = 0; i < ranks; i++) {
            report.rank_ns.push_back(report.rank_ns[i]);
            report.intra.push_back(report.intra[i]);
            report.inter_sent.push_back(report.inter_sent[i]);
            report.intra_sent.push_back(report.intra_sent[i]);
        }
    }
}

Report Run::report() const {
    Report report;
    report.events = events_;
    report.ranks_simulated = parts_.rank_count();
    for (uint32_t rank = 0; rank < ranks_.size(); rank++) {
        report.rank_ns.push_back(static_cast<double>(ranks_[rank].end) / 1000);
        report.time_ns = std::max(report.time_ns, report.rank_ns.back());
        report.intra.push_back(wires_.report(wires_.intra_port(rank)));
        report.inter_sent.push_back(ranks_[rank].inter_sent);
        report.intra_sent.push_back(ranks_[rank].intra_sent);
    }
    for (uint32_t nic = 0; nic < wires_.nic_count(); nic++) {
        report.nics.push_back(wires_.report(nic));
    }
    if (parts_.folded) {
        folded_fill(report);
    }
    return report;
}

Result<Report> Run::run() {
    for (uint32_t chain = 0; chain < chains_.size(); chain++) {
        chains_[chain].reached = -1;
        queue_.push(0, EventKind::chain, chain);
    }
    while (!queue_.empty() && fault_.empty()) {
        const Event event = queue_.pop();
        now_ = event.at;
        if (++events_ > options_.events_max) {
            return refuse(
                format("more than %llu events: simulate fewer ranks or tiles, larger "
                       "quanta, or fold",
                       static_cast<unsigned long long>(options_.events_max)));
        }
        dispatch(event);
    }
    if (!fault_.empty()) {
        return refuse(fault_);
    }
    if (ranks_left_ > 0) {
        return deadlock();
    }
    Report done = report();
    done.spans = std::move(spans_);
    return done;
}

}  // namespace weft::sim
