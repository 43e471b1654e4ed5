// One hop: every contribution goes straight from the rank that has it to the rank that needs it.
// Any rank count, lowest latency.
//
// Peers are taken in groups, the next rank first, so that n ranks do not all begin with rank 0.
// 1. Grant the senders of the first few groups one place each: their block of the output, or, when
//    reducing, a scratch slot.
// 2. Group by group: put to its receivers; wait for the senders of the group whose turn was a few
//    groups ago, add what they gave, and grant as many groups ahead.
// 3. Copy the own block while the last group travels. When reducing, the last step finishes.
//
// direct: one group of all peers, and one step over all inputs in rank order, so that every rank
// that computes the same result gets the same bits. mesh: groups of a few, so that what is under
// way, the slots and the tokens stay bounded at any size; a group is added in rank order to what
// the groups before it made. Its all_reduce is reduce_scatter over n slices, then all_gather of the
// finished slices; direct all_reduce sends everything everywhere, once.
//
// Bytes each rank sends and receives, blocks of B bytes, n ranks: all_gather, reduce_scatter and
// all_to_all (n-1)B; all_reduce direct (n-1)B, mesh 2B(n-1)/n; the rooted ones (n-1)B at the root
// and B elsewhere. direct all_reduce is thus the choice for small B only; the others are as good as
// any other algorithm in bytes and lose only where paths are shared.
// Reference: Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in
// MPICH", IJHPCA 19(1), 2005 (pairwise exchange).
#include <algorithm>

#include "src/plan/gen.h"

namespace weft::plan {

namespace {

using Place = Part::Place;

constexpr int32_t mesh_group = 8;
// In groups: how early receivers grant, and how late senders wait for what comes. A grant and the
// put it allows take two latencies, 40 us between hosts, in which a thread posts about a hundred
// messages: with fewer under way it waits. A slot is granted again when its group was added; that
// grant must be there before the sender's turn.
struct Window {
    int32_t granted, waited;
};
constexpr Window window_whole = {1, 2};
constexpr Window window_gather = {5, 10};
constexpr Window window_reduce = {8, 5};
// Puts of sums, before the first slot is written again: until then it must have been delivered.
constexpr int32_t sums_min = 4, sums_max = mesh_group * window_reduce.waited;

bool per_peer_input(Coll coll) {
    return coll == Coll::reduce_scatter || coll == Coll::all_to_all || coll == Coll::scatter;
}

bool per_peer_output(Coll coll) {
    return coll == Coll::all_gather || coll == Coll::all_to_all || coll == Coll::gather;
}

// Who contributes to whose result.
bool sends(const Stage& stage, int32_t from, int32_t to) {
    switch (stage.coll) {
        case Coll::all_reduce:
        case Coll::reduce_scatter:
        case Coll::all_gather:
        case Coll::all_to_all:
            return true;
        case Coll::reduce:
        case Coll::gather:
            return to == stage.root;
        case Coll::broadcast:
        case Coll::scatter:
            return from == stage.root;
        case Coll::send_recv:
            return false;
    }
    return false;
}

// One exchange among all members. all_reduce by mesh is two of them.
class Hop {
  public:
    Hop(Part& part, Coll coll, int32_t group, Window window)
        : part_(part),
          coll_(coll),
          reducing_(is_reducing(coll)),
          sliced_(part.stage().coll == Coll::all_reduce && coll != Coll::all_reduce),
          group_(std::max(group, 1)),
          groups_(std::max((part.size() - 1 + group_ - 1) / group_, 1)),
          ahead_(std::min(window.granted, groups_)),
          behind_(std::max(2, std::min(window.waited, groups_))) {}

    void run();

  private:
    bool scattering() const { return coll_ == Coll::reduce_scatter; }
    bool second_half() const { return sliced_ && coll_ == Coll::all_gather; }
    int32_t group_begin(int32_t group) const { return 1 + group * group_; }
    int32_t group_end(int32_t group) const {
        return std::min(group_begin(group) + group_, part_.size());
    }
    // The chunk that moves from one member to another.
    int32_t pos(int32_t from, int32_t to) const {
        return scattering() ? to : coll_ == Coll::all_gather ? from : 0;
    }
    int32_t own_pos() const { return pos(part_.self(), part_.self()); }
    Place place_of(int32_t offset) const;
    Place source_for(int32_t to, int32_t offset);
    Place result() const { return Part::output(sliced_ ? part_.self() : 0); }
    int32_t slots() const { return std::min(ahead_ * group_, part_.size() - 1); }
    int32_t sums() const { return std::clamp(part_.size() - 1, sums_min, sums_max); }
    template <class Each>
    void each_in(int32_t group, Each each);
    void begin();
    void grant(int32_t group);
    void put(int32_t group);
    void take(int32_t group);
    void add(int32_t group);

    Part& part_;
    Coll coll_;
    bool reducing_, sliced_;
    int32_t group_, groups_;
    int32_t ahead_, behind_;  // groups: how early granted, how late waited for
    Place own_;               // what this rank adds to its own result
};

// each(offset), once for every port.
template <class Each>
void Hop::each_in(int32_t group, Each each) {
    for (int32_t i = group_begin(group); i < group_end(group); i++) {
        part_.each([&] { each(i); });
    }
}

// Where the member `offset` places before this one puts its part.
Place Hop::place_of(int32_t offset) const {
    const int32_t from = part_.at(-offset);
    if (!reducing_) {
        return Part::output(per_peer_output(coll_) ? from : 0);
    }
    if (groups_ > 1) {
        return Part::slot((offset - 1) % slots());
    }
    return Part::slot(from < part_.self() ? from : from - 1);
}

Place Hop::source_for(int32_t to, int32_t offset) {
    if (second_half()) {
        return result();
    }
    if (scattering()) {
        return part_.first(to, Part::slot(slots() + 1 + offset % sums()));
    }
    return Part::input(per_peer_input(coll_) ? to : 0);
}

void Hop::begin() {
    own_ = Part::input(scattering() ? part_.self() : 0);
    if (scattering()) {
        part_.each([&] {
            part_.fetch(part_.self());
            own_ = part_.summed(part_.self(), Part::slot(slots()));
            part_.used();
        });
    }
}

void Hop::grant(int32_t group) {
    each_in(group, [&](int32_t i) {
        const int32_t from = part_.at(-i);
        if (sends(part_.stage(), from, part_.self())) {
            if (second_half()) {
                part_.release(Part::input(from), from);  // in place, its put must be out
            }
            part_.grant(from, place_of(i), pos(from, part_.self()));
        }
    });
}

void Hop::put(int32_t group) {
    each_in(group, [&](int32_t i) {
        const int32_t to = part_.at(i);
        if (!sends(part_.stage(), part_.self(), to)) {
            return;
        }
        if (scattering()) {
            part_.fetch(to);
        }
        part_.put(to, source_for(to, i), pos(part_.self(), to));
        if (scattering()) {
            part_.used();
        }
    });
}

void Hop::take(int32_t group) {
    each_in(group, [&](int32_t i) {
        const int32_t from = part_.at(-i);
        if (sends(part_.stage(), from, part_.self())) {
            part_.wait(from, place_of(i), pos(from, part_.self()));
        }
    });
    if (reducing_ && sends(part_.stage(), part_.self(), part_.self())) {
        part_.each([&] { add(group); });
    }
}

void Hop::add(int32_t group) {
    if (coll_ == Coll::all_reduce && part_.size() > 1) {
        part_.release(Part::input(), 0);  // in place, the reduce overwrites what was put
    }
    std::vector<int32_t> members;
    for (int32_t i = group_begin(group); i < group_end(group); i++) {
        members.push_back(part_.at(-i));
    }
    std::vector<Place> sources;
    if (group == 0) {
        members.push_back(part_.self());
    } else {
        sources.push_back(result());
    }
    std::sort(members.begin(), members.end());
    for (const int32_t from : members) {
        const int32_t offset = (part_.self() - from + part_.size()) % part_.size();
        sources.push_back(offset == 0 ? own_ : place_of(offset));
    }
    part_.reduce(result(), sources, own_pos(), group + 1 >= groups_);
    for (int32_t i = group_begin(group); i < group_end(group); i++) {
        part_.release(place_of(i), own_pos());
    }
}

void Hop::run() {
    for (int32_t group = 0; group < ahead_; group++) {
        grant(group);
    }
    begin();
    for (int32_t group = 0; group < groups_; group++) {
        put(group);
        const int32_t taken = group + 1 - behind_;
        if (taken >= 0) {
            take(taken);
        }
        if (!reducing_) {
            grant(group + ahead_);
        } else if (taken >= 0) {
            grant(taken + ahead_);  // in the slots that are free now
        }
    }
    if (!reducing_ && !second_half() && sends(part_.stage(), part_.self(), part_.self())) {
        const int32_t own = part_.self();
        part_.each([&] {
            part_.copy(Part::output(per_peer_output(coll_) ? own : 0),
                       Part::input(per_peer_input(coll_) ? own : 0), own_pos());
        });
    }
    for (int32_t group = std::max(groups_ - behind_ + 1, 0); group < groups_; group++) {
        take(group);
    }
}

}  // namespace

void gen_direct(Part& part) {
    Hop(part, part.stage().coll, part.size() - 1, window_whole).run();
}

void gen_mesh(Part& part) {
    const Coll coll = part.stage().coll;
    if (coll == Coll::all_reduce || coll == Coll::reduce_scatter) {
        Hop(part, Coll::reduce_scatter, mesh_group, window_reduce).run();
    }
    if (coll == Coll::all_reduce || coll == Coll::all_gather) {
        Hop(part, Coll::all_gather, mesh_group, window_gather).run();
    }
}

}  // namespace weft::plan
