// Inside the prover: the plan checked and its steps matched, symbolic values, and memory with the
// accesses that are not yet known to be over.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/base/result.h"
#include "src/plan/ir.h"
#include "src/plan/verify.h"

namespace weft::plan::prover {

inline constexpr uint32_t none = UINT32_MAX;

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
    // What output chunk `id` (block and chunk) of `rank` must hold: whose input, and which chunk.
    std::vector<std::pair<uint32_t, uint32_t>> expected(int32_t rank, uint32_t id) const;
};

// Counterparts of a step, all on the same lane number of its peer.
struct Match {
    uint32_t partner = none;  // put <-> wait, expose <-> wait, grant -> put
    uint32_t grant = none;    // put: the peer's grant
    uint32_t out = none;      // stream this rank sends on in this step
    uint32_t in = none;       // stream this rank receives from in this step
};

struct Matched {
    uint32_t lanes = 0;
    uint32_t stream_count = 0;
    uint32_t tiles_back_max = 0;
    std::vector<std::vector<Match>> chains;  // by rank * lanes + lane, by step
};

// Form, bounds and matching, before anything runs.
Result<Matched> check(const Plan& plan);

// Runs a checked plan in one situation.
Result<void> run(const Plan& plan, const VerifyCase& how, const Matched& matched);

std::string place_text(const Plan& plan, uint32_t lanes, uint32_t chain, uint32_t step);
Error refuse(const std::string& what);

// Symbolic values: which inputs a chunk was made of, and how. Equal ids mean equal bits.
class Values {
  public:
    using Id = uint32_t;                                 // 0: nothing was ever written
    using Contribution = std::pair<uint32_t, uint32_t>;  // rank, chunk of its input

    Values();
    Id input(uint32_t rank, uint32_t chunk);
    Id sum(const std::vector<Id>& parts);
    Id finished(Id value);
    bool is_finished(Id value) const { return nodes_[value].finished; }
    const std::vector<Contribution>& contributions(Id value) const {
        return nodes_[value].contributions;
    }
    std::string text(Id value) const;

  private:
    struct Node {
        std::vector<Contribution> contributions;  // sorted, with repetition
        bool finished = false;
    };
    struct Hash {
        size_t operator()(const std::vector<uint32_t>& key) const;
    };
    Id intern(std::vector<uint32_t> key, Node node);

    std::vector<Node> nodes_;
    std::unordered_map<std::vector<uint32_t>, Id, Hash> ids_;
};

// What every lane has seen of every lane: entry c counts the steps of chain c known to be done.
using Clock = std::vector<uint32_t>;

// When a put is over. 0: not known yet. Else the count its chain's clock must show.
struct PutState {
    uint32_t sender = 0, receiver = 0;  // chains
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
};

// One tile of one chunk in one rank's memory, or one scratch slot.
struct Place {
    Values::Id value = 0;
    uint32_t chunk = 0, tile = 0;  // scratch: of what it holds
    bool written = false;
    Access write;
    std::vector<Access> reads;  // since that write
};

// The access that is not ordered before the new one, if any.
class Memory {
  public:
    explicit Memory(const std::vector<PutState>& puts) : puts_(puts) {}
    void resize(size_t count) { places_.resize(count); }
    size_t count() const { return places_.size(); }
    Place& at(size_t index) { return places_[index]; }

    std::optional<Access> read(size_t index, const Access& access, const Clock& clock);
    std::optional<Access> write(size_t index, const Access& access, const Clock& clock);
    // All accesses are over: forget them. For the end of an op.
    std::optional<Access> settle(size_t index, const Clock& clock);

  private:
    bool over(const Access& access, const Clock& clock) const;
    const std::vector<PutState>& puts_;
    std::vector<Place> places_;
};

}  // namespace weft::plan::prover
