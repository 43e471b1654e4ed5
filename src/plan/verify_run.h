// Inside the prover: one run of all ranks in one situation. verify_run.cpp moves the chains,
// verify_steps.cpp does what a step does.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "src/plan/verify_detail.h"

namespace weft::plan::prover {

// What a put, grant or expose leaves behind for its counterpart.
struct Parcel {
    Clock clock;
    uint32_t put = none;
    Values::Id value = 0;
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
    uint32_t put = 0;
    Operand source;
    uint32_t tile = 0;
};

struct Chain {
    uint32_t op = 0, tile = 0, step = 0;
    bool at_end = false;  // of the op, waiting for the rank's other lanes
    Clock clock;
    std::vector<Operand> loans;   // peers' operands that may be loaded in this pass
    std::vector<OpenPut> open;    // puts not known to be delivered
    std::vector<uint32_t> bound;  // by scratch slot: the stream that filled it, until release
    std::vector<Mailbox> mail;    // by step: what it sent and nobody has taken
    std::map<uint32_t, std::vector<Clock>> marks;  // by step that some `after` names: by pass
    std::vector<uint32_t> waiters;                 // chains that wait for this one
    uint32_t blocked_on = none;
    const char* blocked_by = "";
};

struct Stream {
    uint32_t sent = 0, freed = 0;  // messages that hold a slot of the link
};

class Prover {
  public:
    Prover(const Plan& plan, const VerifyCase& how, const Matched& matched)
        : plan_(plan), how_(how), matched_(matched), rules_{plan.shape}, memory_(puts_) {}
    Result<void> run();

  private:
    enum class Did : uint8_t { done, blocked };

    uint32_t rank_of(uint32_t chain) const { return chain / matched_.lanes; }
    const Lane& lane_of(uint32_t chain) const {
        return plan_.ranks[rank_of(chain)].lanes[chain % matched_.lanes];
    }
    uint32_t chain_of(int32_t rank, uint32_t like) const {
        return static_cast<uint32_t>(rank) * matched_.lanes + like % matched_.lanes;
    }
    bool skipped(uint32_t chunk, uint32_t tile) const {
        return tile + 1 == how_.tiles && chunk < how_.last_empty.size() && how_.last_empty[chunk];
    }
    bool in_place(uint32_t rank) const {
        return rank < how_.in_place.size() && how_.in_place[rank];
    }
    std::string where(uint32_t chain, uint32_t step) const {
        return place_text(plan_, matched_.lanes, chain, step);
    }
    Error fault(uint32_t chain, const std::string& what) const;
    Error clash(uint32_t chain, const char* what, const Operand& operand, const Access& with) const;

    Result<void> setup();
    void values_reset(uint32_t rank);
    size_t places_end(uint32_t rank) const {
        return rank + 1 < rank_base_.size() ? rank_base_[rank + 1] : memory_.count();
    }
    size_t place_index(uint32_t chain, const Operand& operand, uint32_t tile) const;

    Result<void> chain_run(uint32_t index);
    Did block(uint32_t chain, uint32_t on, const char* by);
    void wake(uint32_t chain);
    void pass(uint32_t chain);
    Result<Did> step_run(uint32_t chain, const Step& step, const Match& match);
    Did after_wait(uint32_t chain, const Step& step);
    bool has_slot(uint32_t stream) const {
        return streams_[stream].sent - streams_[stream].freed < plan_.shape.slots_min;
    }
    Result<Did> put(uint32_t chain, const Step& step, const Match& match);
    Result<void> put_data(uint32_t chain, const Step& step, const Match& match, Parcel& parcel);
    Result<Did> wait(uint32_t chain, const Step& step, const Match& match);
    Result<void> wait_data(uint32_t chain, const Step& step, const Match& match,
                           const Parcel& parcel);
    Did announce(uint32_t chain, const Step& step, const Match& match);
    Result<void> compute(uint32_t chain, const Step& step);
    void release(uint32_t chain, const Step& step);
    Result<Values::Id> read(uint32_t chain, const Operand& operand, Access access);
    Result<void> write(uint32_t chain, const Operand& operand, Access access, Values::Id value);
    Access local(uint32_t chain) const {
        const Chain& at = chains_[chain];
        return {Use::local, chain, at.step, at.clock[chain] + 1};
    }
    static void join(Clock& into, const Clock& from) {
        for (size_t i = 0; i < into.size(); i++) {
            into[i] = std::max(into[i], from[i]);
        }
    }
    void post(uint32_t chain, Parcel parcel) {
        parcel.clock = chains_[chain].clock;
        parcel.clock[chain]++;
        chains_[chain].mail[chains_[chain].step].push(std::move(parcel));
    }

    Result<void> op_end(uint32_t rank);
    Result<void> outputs_check(uint32_t rank, const Clock& joined);
    Result<void> output_check(uint32_t rank, uint32_t id, Values::Id value);
    Error deadlock() const;

    const Plan& plan_;
    const VerifyCase& how_;
    const Matched& matched_;
    Rules rules_;
    std::vector<PutState> puts_;
    Memory memory_;
    Values values_;
    std::vector<Chain> chains_;
    std::vector<Stream> streams_;
    std::deque<uint32_t> ready_;
    std::vector<bool> queued_;
    std::vector<size_t> rank_base_, scratch_base_;  // first place of a rank; of a chain's slots
    std::vector<Values::Id> agreed_;  // all_reduce: the value of each chunk on the first rank
    std::set<std::tuple<uint32_t, uint32_t, Values::Id>> checked_;  // rank, chunk, value
    uint32_t chains_left_ = 0;
};

}  // namespace weft::plan::prover
