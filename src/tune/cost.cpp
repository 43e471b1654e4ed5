// Closed forms. Throughout: n ranks, p = n-1 peers, b bytes of one put. A hop is post + latency +
// bytes + completion; messages of one sender follow each other by their spacing, the largest of
// post, gap and bytes. Granted, a put waits for its grant, and the sender hears of the delivery one
// latency after the arrival.
#include "src/tune/cost.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/base/log.h"

namespace weft::tune {

namespace {

class Forms {
  public:
    Forms(const Level& level, const Ask& ask)
        : level_(level), ask_(ask), n_(ask.ranks), p_(ask.ranks - 1) {}

    double direct() const;
    double mesh() const;
    double loads() const;
    double ring() const;
    double halving_doubling() const;
    double binomial() const;
    double double_tree() const;

  private:
    double bytes_ns(double b) const {
        return (b + (ask_.eager ? level_.header_bytes : 0)) * level_.ns_per_byte;
    }
    // From the post to the arrival, and to the reader.
    double flight(double b) const { return level_.post_ns + level_.latency_ns + bytes_ns(b); }
    double hop(double b) const { return flight(b) + level_.completion_ns; }
    double control() const {
        return level_.post_ns + level_.latency_ns + level_.control_bytes * level_.ns_per_byte +
               level_.completion_ns;
    }
    double spacing(double b) const {
        return std::max({level_.post_ns, level_.gap_ns, bytes_ns(b)});
    }
    // `grants` are posted one after the other before the first put.
    double start(double grants) const {
        return ask_.eager ? 0 : std::max(grants * level_.post_ns, control());
    }
    double tail() const { return ask_.eager ? 0 : level_.latency_ns; }
    double reduce(double b) const { return b * level_.reduce_ns_per_byte; }
    double slot_copy(double b) const { return ask_.eager ? b * level_.copy_ns_per_byte : 0; }
    // Posts of grants between the steps of one ring phase; the first two went ahead.
    double ring_grants() const { return ask_.eager ? 0 : std::max(0.0, n_ - 3) * level_.post_ns; }

    double exchange(double b, bool reducing) const;
    double rooted_in(double b, bool reducing) const;
    double ring_gather(double b) const;
    double ring_reduce(double b) const;
    double chain(double b, bool reducing) const;
    double doubling(double b) const;
    double halving(double b) const;

    const Level& level_;
    const Ask& ask_;
    double n_, p_;
};

// Everybody to everybody, one put each; at step i all receive from i ranks back, so no port is
// shared. When reducing, all n inputs are added in one step at the end.
double Forms::exchange(double b, bool reducing) const {
    const double arrived = start(p_) + flight(b) + (p_ - 1) * spacing(b) + level_.completion_ns;
    const double after = reducing ? p_ * reduce(b) : slot_copy(b);
    return arrived + std::max(after, tail());
}

// All to the root: its receiving port is the bottleneck.
double Forms::rooted_in(double b, bool reducing) const {
    const double arrived = start(1) + flight(b) + (p_ - 1) * spacing(b) + level_.completion_ns;
    return arrived + std::max(p_ * (reducing ? reduce(b) : slot_copy(b)), tail());
}

double Forms::direct() const {
    const double b = ask_.block_bytes;
    switch (ask_.coll) {
        case Coll::all_reduce:
        case Coll::reduce_scatter:
            return exchange(b, true);
        case Coll::reduce:
            return rooted_in(b, true);
        case Coll::gather:
            return rooted_in(b, false);
        case Coll::broadcast:
        case Coll::scatter:
            return start(1) + hop(b) + (p_ - 1) * spacing(b) + std::max(slot_copy(b), tail());
        case Coll::all_gather:
        case Coll::all_to_all:
        case Coll::send_recv:
            break;
    }
    return exchange(b, false);
}

// Two shots. The grants of the second travel while the own slice is reduced: they wait for the
// inputs, whose memory may be the output's.
double Forms::mesh() const {
    if (ask_.coll != Coll::all_reduce) {
        return direct();
    }
    const double b = ask_.block_bytes / n_;
    const double shot = flight(b) + (p_ - 1) * spacing(b) + level_.completion_ns;
    return start(p_) + shot + std::max(p_ * reduce(b), start(p_)) + shot +
           std::max(slot_copy(b), tail());
}

// Exposes go to all; then the own port fills, two latencies after the first request. Gathering,
// one peer is read after the other, each ended by a signal.
double Forms::loads() const {
    const double o = level_.post_ns;
    const double load = 2 * level_.latency_ns;
    const double signal =
        o + level_.latency_ns + level_.header_bytes * level_.ns_per_byte + level_.completion_ns;
    const bool slices = ask_.coll == Coll::all_reduce;
    const double b = slices ? ask_.block_bytes / n_ : ask_.block_bytes;
    const double bytes = b * level_.ns_per_byte;
    const double exposed = control() + (p_ - 1) * o;
    const double own = slices ? 0 : p_ * o + b * level_.copy_ns_per_byte;
    const double gathered = std::max(exposed, own) + p_ * (load + bytes) + (p_ - 1) * o + signal;
    const double reduced = exposed + std::max(load + p_ * bytes, p_ * reduce(b));
    switch (ask_.coll) {
        case Coll::all_gather:
            return gathered;
        case Coll::reduce_scatter:
            return reduced + signal + (p_ - 1) * o;
        case Coll::broadcast:
            return control() + load + std::max((p_ - 1) * o + bytes, p_ * bytes) + signal;
        case Coll::all_reduce:
            return reduced + p_ * o + gathered;
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;
    }
    return 0;
}

double Forms::ring_gather(double b) const {
    return p_ * (hop(b) + slot_copy(b)) + ring_grants();
}

double Forms::ring_reduce(double b) const {
    return p_ * (hop(b) + reduce(b)) + ring_grants();
}

// A tile is granted when the one before has been handed on: its period is a round trip. Eager, the
// slots of the link bound what is under way.
double Forms::chain(double b, bool reducing) const {
    const double tile = b / ask_.tiles;
    const double work = reducing ? reduce(tile) : slot_copy(tile);
    const double onward = n_ > 2 ? level_.post_ns : 0;
    const double granted = control() + hop(tile) + work + onward;
    const double path = start(1) + p_ * (hop(tile) + work) - work + std::max(work, tail());
    const double more = ask_.tiles - 1;
    if (!ask_.eager) {
        return path + more * granted;
    }
    const double pace = std::max({spacing(tile), level_.completion_ns + work + onward});
    const double stalls = std::floor(more / std::max(1u, ask_.slots));
    const double credit = stalls * (hop(tile) + work + level_.latency_ns);
    const double rest = more - stalls * std::max(1u, ask_.slots);
    return path + std::max(more * pace, credit + rest * pace);
}

double Forms::ring() const {
    const double b = ask_.block_bytes;
    const double slice = b / n_;
    switch (ask_.coll) {
        case Coll::all_gather:
            return start(2) + ring_gather(b) + tail();
        case Coll::reduce_scatter:
            return start(2) + ring_reduce(b) - reduce(b) + std::max(reduce(b), tail());
        case Coll::all_reduce:
            return start(2) + ring_reduce(slice) + ring_gather(slice) + tail() +
                   (ask_.eager || n_ == 2 ? 0 : level_.post_ns);
        case Coll::broadcast:
            return chain(b, false);
        case Coll::reduce:
            return chain(b, true);
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;
    }
    return 0;
}

// Round i sends the 2^i blocks held so far, one put each.
double Forms::doubling(double b) const {
    double time = 0;
    for (double blocks = 1; blocks < n_; blocks *= 2) {
        time += hop(b) + (blocks - 1) * spacing(b) + slot_copy(b);
    }
    return time;
}

// The other way round; blocks are added as they come.
double Forms::halving(double b) const {
    double time = 0;
    for (double blocks = n_ / 2; blocks >= 1; blocks /= 2) {
        time += hop(b) + (blocks - 1) * std::max(spacing(b), reduce(b)) + reduce(b);
    }
    return time;
}

double Forms::halving_doubling() const {
    const double b = ask_.block_bytes;
    const double slice = b / n_;
    switch (ask_.coll) {
        case Coll::all_gather:
            return start(p_) + doubling(b) + tail();
        case Coll::reduce_scatter:
            return start(p_) + halving(b) - reduce(b) + std::max(reduce(b), tail());
        case Coll::all_reduce:
            // The second half's grants wait until the first half's inputs are out.
            return start(p_) + halving(slice) + start(p_) + doubling(slice) + tail();
        case Coll::broadcast:
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;
    }
    return 0;
}

// A rank is reached from the rank without its lowest bit, which serves its largest subtree first.
double Forms::binomial() const {
    const double b = ask_.block_bytes;
    const auto ranks = static_cast<uint32_t>(n_);
    double last = 0;
    for (uint32_t rank = 1; rank < ranks; rank++) {
        double time = 0;
        for (uint32_t at = rank; at != 0; at &= at - 1) {
            const uint32_t bit = at & (~at + 1);
            const uint32_t parent = at & (at - 1);
            const uint32_t below = parent == 0 ? std::bit_ceil(ranks) : parent & (~parent + 1);
            double before = 0;
            for (uint32_t other = below / 2; other > bit; other /= 2) {
                before += parent + other < ranks ? 1 : 0;
            }
            time += hop(b) + before * spacing(b) + slot_copy(b);
        }
        last = std::max(last, time);
    }
    return start(1) + last + tail();
}

// Up and down two trees at once. An inner rank hears two children on one port and serves two; over
// both trees every port carries four half tiles a pass.
double Forms::double_tree() const {
    const double tile = ask_.block_bytes / 2 / ask_.tiles;
    const double depth = std::floor(std::log2(n_));
    const double level = hop(tile) + 2 * bytes_ns(tile);
    const double up = depth * (level + 2 * reduce(tile));
    const double down = depth * level;
    const bool both = ask_.coll == Coll::all_reduce;
    const double path = both ? up + down : ask_.coll == Coll::broadcast ? down : up;
    const double pass = (both ? 4 : 2) * spacing(tile);
    return start(2) + path + (ask_.tiles - 1) * pass + tail();
}

Error no_form(const Ask& ask) {
    return make_error(Code::unsupported, Scope::call,
                      format("no closed form for %s by %s of %d ranks", to_string(ask.coll),
                             to_string(ask.method), ask.ranks));
}

bool has_form(const Ask& ask) {
    const bool trio = ask.coll == Coll::all_reduce || ask.coll == Coll::reduce_scatter ||
                      ask.coll == Coll::all_gather;
    switch (ask.method) {
        case Method::direct:
            return ask.coll != Coll::send_recv;
        case Method::mesh:
            return trio || ask.coll == Coll::all_to_all;
        case Method::loads:
            return (trio || ask.coll == Coll::broadcast) && !ask.eager;
        case Method::ring:
            return trio || ask.coll == Coll::broadcast || ask.coll == Coll::reduce;
        case Method::halving_doubling:
            return trio && std::has_single_bit(static_cast<uint32_t>(ask.ranks));
        case Method::binomial:
            return ask.coll == Coll::broadcast;
        case Method::double_tree:
            return ask.coll == Coll::all_reduce || ask.coll == Coll::broadcast ||
                   ask.coll == Coll::reduce;
    }
    return false;
}

}  // namespace

const char* to_string(Method method) {
    switch (method) {
        case Method::direct:
            return "direct";
        case Method::loads:
            return "loads";
        case Method::mesh:
            return "mesh";
        case Method::ring:
            return "ring";
        case Method::halving_doubling:
            return "halving_doubling";
        case Method::binomial:
            return "binomial";
        case Method::double_tree:
            return "double_tree";
    }
    return "?";
}

Result<double> cost_ns(const Level& level, const Ask& ask) {
    if (ask.ranks < 1 || ask.tiles == 0 || !(ask.block_bytes >= 0) || !has_form(ask)) {
        return no_form(ask);
    }
    if (ask.ranks == 1) {
        return ask.block_bytes * level.copy_ns_per_byte;
    }
    const Forms forms(level, ask);
    switch (ask.method) {
        case Method::direct:
            return forms.direct();
        case Method::loads:
            return forms.loads();
        case Method::mesh:
            return forms.mesh();
        case Method::ring:
            return forms.ring();
        case Method::halving_doubling:
            return forms.halving_doubling();
        case Method::binomial:
            return forms.binomial();
        case Method::double_tree:
            return forms.double_tree();
    }
    return no_form(ask);
}

}  // namespace weft::tune
