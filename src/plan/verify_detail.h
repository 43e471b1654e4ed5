// Inside the prover: the plan checked and its steps matched, symbolic values, and memory with the
// accesses that are not yet known to be over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/base/result.h"
#include "src/plan/ir.h"
#include "src/plan/rotation.h"
#include "src/plan/verify.h"

namespace weft::plan::prover {

inline constexpr uint32_t none = UINT32_MAX;

// The ranks that are run: all of a plan, or those of host 0, which then stand for the others (see
// rotation.h). They are told by their local number; a chain is a lane of one of them. Whatever is
// said of ranks, chunks and memory is said as host 0 sees it, and turned on its way to another.
struct View {
    const Shape& shape;
    const Rotation& turn;
    std::vector<const RankPlan*> ranks;

    uint32_t lanes() const { return static_cast<uint32_t>(ranks[0]->lanes.size()); }
    uint32_t chain_count() const { return static_cast<uint32_t>(ranks.size()) * lanes(); }
    const Lane& lane(uint32_t chain) const {
        return ranks[chain / lanes()]->lanes[chain % lanes()];
    }
    int32_t rank_of(uint32_t chain) const {
        return turn.rank_at(0, static_cast<int32_t>(chain / lanes()));
    }
    uint32_t first_of(uint32_t chain) const { return chain / lanes() * lanes(); }
    // The chain that stands for the peer's lane of the same number.
    uint32_t chain_of(int32_t peer, uint32_t like) const {
        return static_cast<uint32_t>(turn.local_of(peer)) * lanes() + like % lanes();
    }
};

// Whose inputs a chunk is to be made of: one chunk of one rank, or of every rank.
struct Expected {
    bool all = false;
    uint32_t rank = 0, chunk = 0;
};

// Which buffers a rank has, and where they coincide in place: the collective's own definition.
struct Rules {
    const Shape& shape;

    bool reducing() const;
    bool has_input(int32_t rank) const;
    bool has_output(int32_t rank) const;
    uint32_t input_blocks() const;
    uint32_t output_blocks() const;
    // In place, block `first` of the input is block `second` of the output.
    std::pair<uint32_t, uint32_t> shared_blocks(int32_t rank) const;
    // What output chunk `id` (block and chunk) of `rank` must hold.
    Expected expected(int32_t rank, uint32_t id) const;
};

// Counterparts of a step, all on the same lane number of its peer.
struct Match {
    uint32_t partner = none;  // put <-> wait, expose <-> wait, grant -> put
    uint32_t grant = none;    // put: the peer's grant
    uint32_t out = none;      // stream this rank sends on in this step
    uint32_t in = none;       // stream this rank receives from in this step
    uint32_t chain = none;    // the peer's
    int32_t host = 0;         // of the peer
    uint32_t own = none;      // what is known of the own rank's lanes, and of the peer's, by the
    uint32_t known = none;    // chunk of the step: numbers of pairs
};

struct Matched {
    uint32_t stream_count = 0;
    uint32_t tiles_back_max = 0;
    std::vector<std::vector<Match>> chains;  // by step
    std::vector<std::vector<uint32_t>>
        marks;  // by chain, by step: its number if an `after` names it
    std::vector<uint32_t> mark_count;
    std::vector<std::unordered_map<uint64_t, uint32_t>> pairs;  // by chain: a chunk and a rank

    static uint64_t pair(uint32_t chunk, int32_t rank) {
        return (static_cast<uint64_t>(chunk) << 32) | static_cast<uint32_t>(rank);
    }
};

// Form, bounds and matching, before anything runs.
Result<void> shape_check(const Shape& shape);
Result<Matched> check(const View& view);
// Fills in what ShortClocks need.
void pairs_number(const View& view, Matched& matched);

std::string place_text(const View& view, uint32_t chain, uint32_t step);
Error refuse(const std::string& what);

// A symbolic value: which inputs a chunk was made of, and how. Equal values mean equal bits.
struct Value {
    uint32_t node = 0;  // 0: nothing was ever written
    int32_t turn = 0;   // the node's ranks and chunks, seen from so many hosts further

    bool operator==(const Value&) const = default;
};

// All values of a proof. A node says how it was made as host 0 would; values that are images of
// each other share it. A turn of a value is never the value itself, because every node has a first
// input, whose rank has turned: so equal values have equal nodes and turns.
class Values {
  public:
    using Contribution = std::pair<uint32_t, uint32_t>;  // rank, chunk of its input

    Values(const Shape& shape, const Rotation& turn);
    Value input(int32_t rank, uint32_t chunk);
    // Where sums stand in another order on other hosts, each is known by the step that made it, and
    // equals no other.
    Value sum(const std::vector<Value>& parts, uint32_t chain, uint32_t step);
    Value finished(Value value);
    Value turned(Value value, int32_t turn) const {
        return value.node == 0 ? value : Value{value.node, turn_.sum(value.turn, turn)};
    }
    bool is_finished(Value value) const { return nodes_[value.node].finished; }
    bool is(Value value, const Expected& expected) const;
    std::string text(Value value) const;

  private:
    struct Node {
        std::vector<Contribution> contributions;  // sorted, with repetition
        bool finished = false;
        uint32_t all_of = none;  // the chunk, if it is that one of every rank, once
    };
    struct Hash {
        size_t operator()(const std::vector<uint32_t>& key) const;
    };
    uint32_t intern(std::vector<uint32_t> key, Node node);
    Contribution turned(const Contribution& of, int32_t turn) const;
    uint32_t all_of(const std::vector<Contribution>& contributions) const;

    const Shape& shape_;
    const Rotation& turn_;
    std::vector<Node> nodes_;
    std::unordered_map<std::vector<uint32_t>, uint32_t, Hash> ids_;
};

// When a put is over. 0: not known yet. Else the count its chain must be known to have done.
struct PutState {
    uint32_t sender = 0, receiver = 0;  // chains
    int32_t host = 0;                   // of the receiver, seen from the sender
    uint32_t posted = 0;                // in the sender's chain
    uint32_t arrived = 0;               // in the receiver's chain
    uint32_t delivered = 0;             // in the sender's chain
};

enum class Use : uint8_t { local, put_source, put_target };

// One access to one place, and the step to name when it collides.
struct Access {
    Use use = Use::local;
    uint32_t chain = 0;  // of the step
    uint32_t step = 0;
    uint32_t need = 0;  // local: the count of `chain` at which it is over; else: put number
    int32_t host = 0;   // of the chain, seen from the place
};

// One tile of one chunk in one rank's memory, or one scratch slot.
struct Place {
    Value value;
    uint32_t chunk = 0, tile = 0;  // scratch: of what it holds
    bool written = false;
    Access write;
    std::vector<Access> reads;  // since that write
};

// Whether an access is known to have come to its end: not; as far as steps on the chunk at hand go,
// whose end others may not know; in any case.
enum class Over : uint8_t { no, here, always };

// A new access must come after the conflicting ones: `over` says of one whether it is known to.
// Returned is the first that is not, if any.
class Memory {
  public:
    void resize(size_t count) { places_.resize(count); }
    size_t count() const { return places_.size(); }
    Place& at(size_t index) { return places_[index]; }

    template <class Known>
    std::optional<Access> read(size_t index, const Access& access, Known over);
    template <class Known>
    std::optional<Access> write(size_t index, const Access& access, Known over);
    // All accesses are over: forget them. For the end of an op.
    template <class Known>
    std::optional<Access> settle(size_t index, Known over);

  private:
    std::vector<Place> places_;
};

template <class Known>
std::optional<Access> Memory::read(size_t index, const Access& access, Known over) {
    Place& place = places_[index];
    if (place.written && over(place.write) == Over::no) {
        return place.write;
    }
    if (access.use == Use::local) {
        for (Access& earlier : place.reads) {
            if (earlier.use == Use::local && earlier.chain == access.chain &&
                earlier.host == access.host) {
                earlier = access;
                return std::nullopt;
            }
        }
    }
    place.reads.push_back(access);
    return std::nullopt;
}

// Once a write is known to come after all earlier accesses, whatever comes after the write comes
// after them too, so they are forgotten; but for those it knows to be over only because it is on a
// certain chunk: where that is empty, the write is missing.
template <class Known>
std::optional<Access> Memory::write(size_t index, const Access& access, Known over) {
    Place& place = places_[index];
    if (place.written && over(place.write) == Over::no) {
        return place.write;
    }
    for (const Access& earlier : place.reads) {
        const bool same_step = access.use == Use::local && earlier.use == Use::local &&
                               earlier.chain == access.chain && earlier.host == access.host &&
                               earlier.need == access.need;
        if (!same_step && over(earlier) == Over::no) {
            return earlier;
        }
    }
    std::erase_if(place.reads, [&](const Access& earlier) { return over(earlier) != Over::here; });
    place.written = true;
    place.write = access;
    return std::nullopt;
}

template <class Known>
std::optional<Access> Memory::settle(size_t index, Known over) {
    Place& place = places_[index];
    if (place.written && over(place.write) == Over::no) {
        return place.write;
    }
    for (const Access& earlier : place.reads) {
        if (over(earlier) == Over::no) {
            return earlier;
        }
    }
    place.reads.clear();
    place.written = false;
    return std::nullopt;
}

}  // namespace weft::plan::prover
