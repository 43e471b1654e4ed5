// Recursive halving and doubling for any number of members: log n hops, bytes at the bound.
//
// Block b travels on a binomial tree laid over the members b, b+1, ... b+n-1: the member at
// distance x hands sums on to distance x without its lowest bit (reduce_scatter), or hears from
// there (all_gather). So each member plays every node x once, for block self-x, and all members go
// through the nodes in the same order: what one sends as node x, its neighbour waits for as the
// parent of x. Sums lie in their order from the start and gathered blocks land where they belong:
// no copy, no order to restore.
//
// reduce_scatter, node after node: wait for the sums of the children, add the own part, put the sum
// to the parent. The last node, 0, is the result.
// all_gather is the same list backwards: wait for the block, put it to the children; far first.
// all_reduce is the first over n slices, then the second.
//
// The order. Children come before parents. Counting x down would do, and keep one sum per bit of n
// waiting (log n slots), but then every second node waits for the node just before it, a whole hop.
// So a node of height h (its lowest bit) is put off by `delay` nodes per height: what it needs left
// some nodes earlier. That costs delay + 1/2 more slots on the first bit, half as much on the next,
// and so on: log n / 2 + 2 * delay in all. With few members it is the order by height: log n
// rounds.
//
// Slots. Four for sums under way; those that receive are handed out as they become free. A member
// is granted a slot a few nodes ahead. Eager puts never exceed 8 on one link: sums because of
// `delay`, gathered blocks because they leave at most `puts_ahead` nodes before they are waited
// for.
//
// Bytes each rank sends, blocks of B bytes: reduce_scatter and all_gather (n-1)B, all_reduce
// 2B(n-1)/n; half of them to the next neighbour, one block over the farthest distance.
// References: Bruck, Ho, Kipnis, Upfal, Weathersby, "Efficient algorithms for all-to-all
// communications in multiport message-passing systems", IEEE TPDS 8(11), 1997; Jeaugey, "PAT: a new
// algorithm for all-gather and reduce-scatter operations at scale", arXiv 2506.20252 (the order
// that needs few slots).
#include <algorithm>

#include "src/plan/gen.h"

namespace weft::plan {

namespace {

using Place = Part::Place;

constexpr int32_t delay = 4;
constexpr int32_t sum_grants_ahead = 4;
constexpr int32_t puts_ahead = 8;
constexpr int32_t grants_ahead = 12;
constexpr int32_t sum_slots = 4;

int32_t lowest_bit(int32_t x) {
    return x & -x;
}

// Nodes of the trees, children before parents.
std::vector<int32_t> nodes_up(int32_t size) {
    std::vector<uint64_t> keyed;
    keyed.reserve(static_cast<size_t>(size));
    for (int32_t x = size - 1; x > 0; x--) {
        int32_t height = 0;
        while ((x >> height & 1) == 0) {
            height++;
        }
        const auto turn = static_cast<uint64_t>(size - x + delay * height);
        keyed.push_back(turn << 32 | static_cast<uint64_t>(size - x));
    }
    std::sort(keyed.begin(), keyed.end());
    std::vector<int32_t> nodes;
    nodes.reserve(static_cast<size_t>(size));
    for (const uint64_t key : keyed) {
        nodes.push_back(size - static_cast<int32_t>(key & UINT32_MAX));
    }
    nodes.push_back(0);
    return nodes;
}

std::vector<int32_t> nodes_down(int32_t size) {
    std::vector<int32_t> nodes = nodes_up(size);
    std::reverse(nodes.begin(), nodes.end());
    return nodes;
}

// each(child, bit), the nearest first.
template <class Each>
void each_child(int32_t x, int32_t size, Each each) {
    const int32_t end = x == 0 ? size : lowest_bit(x);
    for (int32_t bit = 1; bit < end && x + bit < size; bit <<= 1) {
        each(x + bit, bit);
    }
}

bool is_leaf(int32_t x, int32_t size) {
    return x % 2 == 1 || x + 1 == size;
}

// The reduce_scatter half.
class Up {
  public:
    Up(Part& part, Place result)
        : part_(part),
          result_(result),
          nodes_(nodes_up(part.size())),
          slot_of_(nodes_.size()),
          here_(nodes_.size()) {}
    void run();

  private:
    int32_t pos(int32_t x) const { return part_.at(-x); }
    int32_t slot_take();
    void grant(size_t turn);
    void wait_until(int32_t child);
    void node(int32_t x, size_t turn);

    Part& part_;
    Place result_;
    std::vector<int32_t> nodes_;
    std::vector<int32_t> slot_of_;  // by node: where its sum is received
    std::vector<bool> here_;        // by node: waited for
    std::vector<int32_t> free_;
    int32_t slots_ = 0;
    std::vector<size_t> waited_ = std::vector<size_t>(32);  // by bit: turns looked at so far
};

int32_t Up::slot_take() {
    if (free_.empty()) {
        return sum_slots + slots_++;
    }
    const int32_t slot = free_.back();
    free_.pop_back();
    return slot;
}

// Every member sends as node x what this one, its parent for that block, receives.
void Up::grant(size_t turn) {
    if (turn + 1 >= nodes_.size()) {
        return;
    }
    const int32_t x = nodes_[turn];
    slot_of_[static_cast<size_t>(x)] = slot_take();
    part_.each([&] {
        part_.grant(part_.at(lowest_bit(x)), Part::slot(slot_of_[static_cast<size_t>(x)]),
                    pos(x - lowest_bit(x)));
    });
}

// Waits follow the order of the puts: first for what came earlier from the same member.
void Up::wait_until(int32_t child) {
    const int32_t bit = lowest_bit(child);
    size_t& turn = waited_[static_cast<size_t>(__builtin_ctz(static_cast<unsigned>(bit)))];
    for (int32_t x = -1; x != child; turn++) {
        x = nodes_[turn];
        if (x != 0 && lowest_bit(x) == bit) {
            here_[static_cast<size_t>(x)] = true;
            part_.each([&] {
                part_.wait(part_.at(bit), Part::slot(slot_of_[static_cast<size_t>(x)]),
                           pos(x - bit));
            });
        }
    }
}

void Up::node(int32_t x, size_t turn) {
    std::vector<Place> sources;
    each_child(x, part_.size(), [&](int32_t child, int32_t) {
        if (!here_[static_cast<size_t>(child)]) {
            wait_until(child);
        }
        sources.push_back(Part::slot(slot_of_[static_cast<size_t>(child)]));
    });
    const std::vector<Place> received = sources;
    const Place sum = Part::slot(static_cast<int32_t>(turn) % sum_slots);
    part_.each([&] {
        part_.fetch(pos(x));
        Place source = result_;
        if (x == 0 || !received.empty()) {
            std::vector<Place> all = received;
            all.push_back(Part::own(pos(x)));
            if (x != 0) {
                source = sum;
                part_.release(sum, pos(x));
            }
            part_.reduce(source, all, pos(x), x == 0);
            for (const Place& slot : received) {
                part_.release(slot, pos(x));
            }
        } else {
            source = part_.first(pos(x), sum);
        }
        part_.used();
        if (x != 0) {
            part_.put(part_.at(-lowest_bit(x)), source, pos(x));
        }
    });
    for (const Place& slot : received) {
        free_.push_back(slot.number);
    }
}

void Up::run() {
    for (size_t turn = 0; turn < sum_grants_ahead; turn++) {
        grant(turn);
    }
    for (size_t turn = 0; turn < nodes_.size(); turn++) {
        node(nodes_[turn], turn);
        grant(turn + sum_grants_ahead);
    }
}

// The all_gather half.
class Down {
  public:
    Down(Part& part, bool after_up)
        : part_(part), after_up_(after_up), nodes_(nodes_down(part.size())) {
        turn_of_.resize(nodes_.size());
        for (size_t turn = 0; turn < nodes_.size(); turn++) {
            turn_of_[static_cast<size_t>(nodes_[turn])] = turn;
        }
    }
    void run();

  private:
    int32_t pos(int32_t x) const { return part_.at(-x); }
    void grant(size_t turn);
    void put(size_t turn);

    Part& part_;
    bool after_up_;
    std::vector<int32_t> nodes_;
    std::vector<size_t> turn_of_;
    size_t next_put_ = 1;
};

void Down::grant(size_t turn) {
    if (turn == 0 || turn >= nodes_.size()) {
        return;
    }
    const int32_t x = nodes_[turn];
    part_.each([&] {
        if (after_up_ && is_leaf(x, part_.size())) {
            part_.release(Part::input(pos(x)), pos(x));  // in place, its put must be out
        }
        part_.grant(part_.at(-lowest_bit(x)), Part::output(pos(x)), pos(x));
    });
}

// What its receivers will wait for soon and this member has, in their order.
void Down::put(size_t turn) {
    while (next_put_ < nodes_.size() && next_put_ <= turn + puts_ahead) {
        const int32_t child = nodes_[next_put_];
        const int32_t bit = lowest_bit(child);
        const int32_t x = child - bit;
        if (turn_of_[static_cast<size_t>(x)] > turn) {
            return;
        }
        const Place source = x == 0 && !after_up_ ? Part::input() : Part::output(pos(x));
        part_.each([&] { part_.put(part_.at(bit), source, pos(x)); });
        next_put_++;
    }
}

void Down::run() {
    for (size_t turn = 1; turn < grants_ahead; turn++) {
        grant(turn);
    }
    put(0);
    if (!after_up_) {
        part_.each([&] { part_.copy(Part::output(part_.self()), Part::input(), part_.self()); });
    }
    for (size_t turn = 1; turn < nodes_.size(); turn++) {
        const int32_t x = nodes_[turn];
        part_.each([&] { part_.wait(part_.at(-lowest_bit(x)), Part::output(pos(x)), pos(x)); });
        grant(turn + grants_ahead - 1);
        put(turn);
    }
}

}  // namespace

std::vector<int32_t> halving_order(int32_t size) {
    return nodes_up(size);
}

void gen_halving(Part& part) {
    switch (part.stage().coll) {
        case Coll::all_reduce:
            Up(part, Part::output(part.self())).run();
            Down(part, true).run();
            break;
        case Coll::reduce_scatter:
            Up(part, Part::output()).run();
            break;
        case Coll::all_gather:
            Down(part, false).run();
            break;
        case Coll::broadcast:
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;  // generate() has other plans for them, or refuses them
    }
}

}  // namespace weft::plan
