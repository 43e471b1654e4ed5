// Inside src/plan: what the generators share. A generator writes one lane of one rank and speaks of
// a *stage* only: an ordered list of members, of which this rank is one, and the places their
// chunks have. The stage says which rank a position is and where in the whole plan its chunk lies,
// so one generator serves all ranks of a communicator and one rail of a hierarchy alike.
// Thread rule: reentrant.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "src/plan/ir.h"

namespace weft::plan {

class Exchange;

// The steps of one lane, as they are.
class Writer {
  public:
    Writer(uint32_t lane, uint32_t chunks) : lane_(lane), chunks_(chunks) {}

    Step& grant(int32_t rank, Operand dst, uint32_t chunk);
    Step& put(int32_t rank, Operand src, uint32_t chunk);
    Step& signal(int32_t rank, uint32_t chunk);
    Step& wait(int32_t rank, Operand dst, uint32_t chunk);
    Step& expose(int32_t rank, Operand dst, uint32_t chunk);
    Step& copy(Operand dst, Operand src, uint32_t chunk);
    Step& reduce(Operand dst, uint32_t chunk, bool finish);  // the caller adds the sources
    Step& release(Operand dst, uint32_t chunk);

    uint32_t chunks() const { return chunks_; }
    // The next step on the chunk comes after that one of another lane, in the same tile. On the
    // same chunk: with another, it could be passed over while this one is not.
    void hold(const After& after, uint32_t chunk);
    After mark() const;  // the step written last
    // Roughly, rather more: growing step by step would move a plan of thousands of ranks several
    // times, room that is not used costs nothing.
    void reserve(size_t steps) { made_.steps.reserve(steps); }
    Lane take();
    Writer next() const { return {lane_ + 1, chunks_}; }

  private:
    Step& add(StepKind kind, int32_t rank, uint32_t chunk);
    void use_scratch(const Operand& operand);

    uint32_t lane_, chunks_;
    std::vector<bool> used_;                        // by scratch slot
    std::vector<std::pair<After, uint32_t>> held_;  // with the chunk
    Lane made_;
};

// Where the chunk of a position lies: key is the position, or the rank whose block it is.
struct Places {
    Space space = Space::none;
    uint32_t base = 0, per_key = 0, per_rail = 0;

    Operand at(int32_t key, int32_t rail) const {
        return {
            space,
            base + static_cast<uint32_t>(key) * per_key + static_cast<uint32_t>(rail) * per_rail,
            -1};
    }
};

// One step per position and port: when it holds what others wait for.
class Marks {
  public:
    Marks(int32_t size, int32_t ports)
        : size_(size), steps_(static_cast<size_t>(size) * static_cast<size_t>(ports), none()) {}
    void set(int32_t port, int32_t pos, const After& step) { steps_[index(port, pos)] = step; }
    // To `writer`: its next step on the chunk comes after the marked one, if there is one.
    void hold(Writer& writer, int32_t port, int32_t pos, uint32_t chunk) const {
        const After& step = steps_[index(port, pos)];
        if (!(step == none())) {
            writer.hold(step, chunk);
        }
    }

  private:
    static After none() { return {UINT16_MAX, 0, 0}; }
    size_t index(int32_t port, int32_t pos) const {
        return static_cast<size_t>(port) * static_cast<size_t>(size_) + static_cast<size_t>(pos);
    }
    int32_t size_;
    std::vector<After> steps_;
};

// A rank of a small host stands for several rails (cluster.h): each is a *port* of its stage. A
// port beyond the last rail has nothing to move, nor has a position whose host has no such rank.
struct Stage {
    Coll coll = Coll::all_reduce;
    const Cluster* cluster = nullptr;  // null: position p is rank p, one port
    int32_t size = 1, self = 0, root = 0;
    int32_t local = 0, ports = 1;  // with a cluster: port p of local rank l is rail p * k + l
    bool by_rank = false;          // the key of a position is the rank whose block it is
    uint32_t strand = 0;
    Places input, output;          // an output in scratch is one slot a port, from its base on
    uint32_t slot_base = 0;        // scratch slots below it are somebody else's
    Exchange* exchange = nullptr;  // adds the inputs of the host's other ranks to own()
    const Marks* ready = nullptr;  // input(pos) may be touched after these
    Marks* written = nullptr;      // told when output(pos) holds its last value
    Marks* passed = nullptr;       // told when tree_up has done all it does

    int32_t rail(int32_t port) const {
        return cluster == nullptr ? port : port * cluster->ranks_on(self) + local;
    }
};

// One lane as the generators see it. Steps on what a port or position does not have are left out.
class Part {
  public:
    struct Place {
        enum class Kind : uint8_t { input, output, slot, own };
        Kind kind = Kind::slot;
        int32_t number = 0;  // the position; the slot
        int32_t peer = -1;   // a member's memory, not the own
    };

    Part(Writer& to, const Stage& stage) : to_(&to), stage_(&stage) {}

    const Stage& stage() const { return *stage_; }
    int32_t size() const { return stage_->size; }
    int32_t self() const { return stage_->self; }
    bool is_root() const { return stage_->self == stage_->root; }
    // The position `offset` places after this one, around the ring.
    int32_t at(int32_t offset) const { return (self() + offset % size() + size()) % size(); }
    // Writes `steps` for every port in turn.
    template <class Steps>
    void each(Steps steps) {
        for (port_ = 0; port_ < stage_->ports; port_++) {
            steps();
        }
        port_ = 0;
    }

    static Place input(int32_t pos = 0, int32_t peer = -1) {
        return {Place::Kind::input, pos, peer};
    }
    static Place output(int32_t pos = 0, int32_t peer = -1) {
        return {Place::Kind::output, pos, peer};
    }
    static Place slot(int32_t number) { return {Place::Kind::slot, number, -1}; }
    // What this member contributes to a position; in reduce(), first() and summed() only, between
    // fetch() and used().
    static Place own(int32_t pos) { return {Place::Kind::own, pos, -1}; }
    void fetch(int32_t pos);
    void used();
    void passed(int32_t pos);
    // own(pos) as the source of a put: the input itself, or summed up in `slot`.
    Place first(int32_t pos, Place slot);
    // The same as the source of a reduce.
    Place summed(int32_t pos, Place slot);

    // `pos` says whose chunk moves.
    void grant(int32_t member, Place dst, int32_t pos);
    void put(int32_t member, Place src, int32_t pos);
    void signal(int32_t member, int32_t pos);
    void wait(int32_t member, Place dst, int32_t pos);
    void wait_signal(int32_t member, int32_t pos);
    void expose(int32_t member, Place dst, int32_t pos);
    void copy(Place dst, Place src, int32_t pos);
    void reduce(Place dst, std::initializer_list<Place> src, int32_t pos, bool finish);
    void reduce(Place dst, const std::vector<Place>& src, int32_t pos, bool finish);
    void release(Place dst, int32_t pos);

  private:
    bool absent(int32_t pos) const;
    int32_t key(int32_t pos) const;
    int32_t rank(int32_t member) const;
    uint32_t chunk(int32_t pos) const;
    Operand operand(const Place& place) const;
    void add_sources(Step& step, const Place* begin, const Place* end) const;
    void note_written(const Place& place);

    Writer* to_;
    const Stage* stage_;
    int32_t port_ = 0;
};

bool is_reducing(Coll coll);

// Each writes what stage().coll asks for. Slots and order of sums: in the files.
void gen_direct(Part& part);  // one hop, everything at once
void gen_mesh(Part& part);    // one hop, a few peers at a time
void gen_loads(Part& part);
void gen_ring(Part& part);
void gen_halving(Part& part);

// Rooted trees (gen_tree.cpp): towards the root or away from it, for broadcast, reduce, and as the
// two halves of all_reduce.
struct TreeNode {
    int32_t parent = -1;  // positions; -1: none
    std::vector<int32_t> children;
};
TreeNode chain_node(const Stage& stage);
TreeNode binomial_node(const Stage& stage);
TreeNode double_node(const Stage& stage, bool rooted);
void tree_up(Part& part, const TreeNode& node);
void tree_down(Part& part, const TreeNode& node);
// all_reduce: up in one lane, down in another, each tile down after it went up.
void tree_both(Writer& up, Writer& down, const Stage& stage, const TreeNode& node);

// What the rails of a hierarchy run: a tree adds and copies whole slices, no blocks.
Algo rail_algo(const Shape& shape);
// A strand of a hierarchy: appends its lanes.
void gen_hier(const Shape& shape, uint32_t strands, uint32_t strand, RankPlan& plan);

// Distances from a member to the positions it adds to, in the order in which it does.
std::vector<int32_t> halving_order(int32_t size);

}  // namespace weft::plan
