// Inside the prover: what every lane is known to have done, by those that know. Thread rule: bound
// to one run. Failure rule: none; what is not known counts as not done.
//
// Knowledge travels with messages, with `after`, and through the end of an op. Knowing less than
// one could is safe: a plan is only refused more often. So there are two ways to keep it.
//
// WholeClocks keep all of it: a count per chain and chain. Exact, and the square of the chains in
// memory. They need every rank in the run.
//
// ShortClocks forget, in two ways that plans do not mind. A message tells what its sender knows of
// the two ranks it joins, nothing of third ones. And knowledge is kept apart by chunk: what came
// with steps on one chunk counts for steps on that chunk only, because where the chunk's last tile
// is empty those steps, and what they would have told, are missing. Only the order of the own lane
// counts for all chunks. What ShortClocks find in order is so whichever chunks are empty, and an
// event costs as many words as a rank has lanes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/plan/verify_detail.h"

namespace weft::plan::prover {

// A chain at one of its steps.
struct Seat {
    uint32_t chain;
    const Step& step;
    const Match& match;
};

class Clocks {
  public:
    using Note = std::vector<uint32_t>;

    explicit Clocks(const View& view) : view_(view), done_(view.chain_count(), 0) {}
    Clocks(const Clocks&) = delete;
    Clocks& operator=(const Clocks&) = delete;
    virtual ~Clocks() = default;

    // Steps that the chain itself has done; the end of an op counts as one.
    uint32_t done(uint32_t chain) const { return done_[chain]; }
    virtual void pass(uint32_t chain) { done_[chain]++; }

    // What a message of this step tells; it is heard when the step is done.
    virtual Note tell(const Seat& from) const = 0;
    virtual void learn(const Seat& at, const Note& told) = 0;
    // What the step just done tells the other lanes of its rank, and a step that comes after it.
    virtual Note mark(const Seat& from) const = 0;
    virtual void follow(const Seat& at, const Seat& marked, const Note& told) = 0;
    // All lanes of a rank, the first being `chain`, have reached the end of an op.
    virtual void join(uint32_t chain) = 0;

    // How many steps of that lane the chain knows to be done, at this step; and how many any lane
    // of the rank does, for what concerns the chunk.
    virtual uint32_t seen(const Seat& at, int32_t rank, uint32_t lane) const = 0;
    virtual uint32_t seen_by_any(uint32_t chain, uint32_t chunk, int32_t rank,
                                 uint32_t lane) const = 0;

  protected:
    const View& view_;
    std::vector<uint32_t> done_;
};

std::unique_ptr<Clocks> whole_clocks(const View& view);
std::unique_ptr<Clocks> short_clocks(const View& view, const Matched& matched);

}  // namespace weft::plan::prover
