// Inside the prover: one run of all ranks in one situation. verify_run.cpp moves the chains,
// verify_steps.cpp does what a step does.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "src/plan/verify_clock.h"
#include "src/plan/verify_detail.h"

namespace weft::plan::prover {

// What a put, grant or expose leaves behind for its counterpart.
struct Parcel {
    Clocks::Note told;
    uint32_t put = none;
    Value value;
};

// Parcels of one step, first in, first out.
class Mailbox {
  public:
    bool empty() const { return head_ == parcels_.size(); }
    void push(Parcel parcel) { parcels_.push_back(std::move(parcel)); }
    Parcel pop() {
        Parcel parcel = std::move(parcels_[head_++]);
        if (empty()) {
            parcels_.clear();
            head_ = 0;
        }
        return parcel;
    }

  private:
    std::vector<Parcel> parcels_;
    size_t head_ = 0;
};

struct OpenPut {
    uint32_t put = 0, tile = 0, chunk = 0;
};

// A peer's operand that may be loaded in this pass, and the chunk of the wait that said so.
struct Loan {
    Operand operand;
    uint32_t chunk = 0;
};

// A scratch slot between the wait that fills it and its release.
struct Bound {
    uint32_t stream = none, chunk = 0;
};

struct Chain {
    uint32_t op = 0, tile = 0, step = 0;
    bool at_end = false;  // of the op, waiting for the rank's other lanes
    std::vector<Loan> loans;
    std::unordered_map<uint64_t, std::vector<OpenPut>> open;  // by source, not known delivered
    std::unordered_map<uint64_t, uint32_t>
        released;                                   // by slot and chunk: count of its last release
    std::vector<Bound> bound;                       // by scratch slot
    std::vector<Mailbox> mail;                      // by step: what it sent and nobody has taken
    std::vector<std::vector<Clocks::Note>> marked;  // by mark, by pass
    std::vector<uint32_t> waiters;                  // chains that wait for this one
    size_t moved = 0;                               // values told to the trace
    uint32_t blocked_on = none;
    const char* blocked_by = "";
};

struct Stream {
    uint32_t sent = 0, freed = 0;  // messages that hold a slot of the link
};

// Where an operand lies, and on which host.
struct Spot {
    size_t index = 0;
    int32_t host = 0;
    bool slot = false;
};

// What every chain sent and loaded, in its order. The first run writes it, later ones compare.
struct Trace {
    bool written = false;
    std::vector<std::vector<Value>> chains;
};

// One situation, and how it is proved. By ShortClocks: each chunk by what is known through steps on
// that chunk, so that the answer holds whichever chunks are empty.
struct Trial {
    const VerifyCase& how;
    bool whole = true;       // WholeClocks
    Trace* trace = nullptr;  // null: not kept
};

class Prover {
  public:
    Prover(const View& view, const Matched& matched, Values& values, const Trial& trial)
        : view_(view),
          matched_(matched),
          values_(values),
          trial_(trial),
          how_(trial.how),
          rules_{view.shape},
          lanes_(view.lanes()) {}
    Result<void> run();

  private:
    enum class Did : uint8_t { done, blocked };

    bool skipped(uint32_t chunk, uint32_t tile) const {
        return tile + 1 == how_.tiles && chunk < how_.last_empty.size() && how_.last_empty[chunk];
    }
    bool in_place(int32_t rank) const {
        const auto at = static_cast<size_t>(rank);
        return at < how_.in_place.size() && how_.in_place[at];
    }
    bool same_chunk(uint32_t a, uint32_t b) const { return trial_.whole || a == b; }
    static uint64_t pair(uint32_t high, uint32_t low) {
        return (static_cast<uint64_t>(high) << 32) | low;
    }
    static uint64_t source_key(const Operand& at) {
        return pair(static_cast<uint32_t>(at.space), at.chunk);
    }
    std::string where(uint32_t chain, uint32_t step) const {
        return place_text(view_, chain, step);
    }
    Error fault(uint32_t chain, const std::string& what) const;
    Error clash(const Seat& at, const char* what, const Operand& operand, const Access& with) const;

    Result<void> setup();
    Result<void> places_setup();
    void values_reset(uint32_t local);
    size_t places_end(uint32_t local) const {
        return local + 1 < rank_base_.size() ? rank_base_[local + 1] : memory_.count();
    }
    size_t place_index(uint32_t chain, Space space, uint32_t id, uint32_t tile) const;
    Spot spot(uint32_t chain, const Operand& operand) const;
    Over over(const Seat& at, const Spot& spot, const Access& access) const;
    Over over_for_rank(uint32_t local, const Access& access) const;
    uint32_t release_after(const Access& access, uint32_t chunk) const;

    Result<void> chain_run(uint32_t index);
    Did block(uint32_t chain, uint32_t on, const char* by);
    void wake(uint32_t chain);
    void pass(uint32_t chain);
    Result<Did> step_run(const Seat& at);
    Did after_wait(const Seat& at);
    bool has_slot(uint32_t stream) const {
        return streams_[stream].sent - streams_[stream].freed < view_.shape.slots_min;
    }
    Result<Did> put(const Seat& at);
    Result<void> put_data(const Seat& at, Parcel& parcel);
    Result<Did> wait(const Seat& at);
    Result<void> wait_data(const Seat& at, const Parcel& parcel);
    Did announce(const Seat& at);
    Result<void> compute(const Seat& at);
    Result<Value> source_read(const Seat& at, const Operand& source);
    Result<void> release(const Seat& at);
    Result<Value> read(const Seat& at, const Operand& operand, Access access);
    Result<void> write(const Seat& at, const Spot& spot, const Operand& operand, Access access,
                       Value value);
    Result<void> moved(uint32_t chain, Value value);
    Access local(uint32_t chain) const {
        return {Use::local, chain, chains_[chain].step, clocks_->done(chain) + 1, 0};
    }
    void post(const Seat& at, Parcel parcel) {
        parcel.told = clocks_->tell(at);
        chains_[at.chain].mail[chains_[at.chain].step].push(std::move(parcel));
    }

    Result<void> op_end(uint32_t local);
    Result<void> lane_end(uint32_t chain);
    Result<void> outputs_check(uint32_t local);
    Result<void> output_check(int32_t rank, uint32_t id, Value value);
    Error deadlock() const;

    const View& view_;
    const Matched& matched_;
    Values& values_;
    const Trial& trial_;
    const VerifyCase& how_;
    Rules rules_;
    uint32_t lanes_;
    std::unique_ptr<Clocks> clocks_;
    std::vector<PutState> puts_;
    Memory memory_;
    std::vector<Chain> chains_;
    std::vector<Stream> streams_;
    std::deque<uint32_t> ready_;
    std::vector<bool> queued_;
    std::vector<size_t> rank_base_, scratch_base_;  // first place of a rank; of a chain's slots
    std::vector<Value> agreed_;  // all_reduce: by cycle of chunks, turned back to its first
    uint32_t chains_left_ = 0;
};

Result<void> run(const View& view, const Matched& matched, Values& values, const Trial& trial);

}  // namespace weft::plan::prover
