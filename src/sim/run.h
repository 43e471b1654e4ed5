// Inside src/sim: one op under way on simulated ranks. Lanes step through their parts as the facts
// allow; what a step costs is charged to the rank's thread, its compute engine or the wires.
// Thread rule: a value owned by one call of simulate().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/sim/events.h"
#include "src/sim/parts.h"
#include "src/sim/simulate.h"
#include "src/sim/wires.h"

namespace weft::sim {

class Run {
  public:
    Run(const Network& network, const Job& job, const Options& options, const Parts& parts);
    Result<Report> run();

  private:
    enum class Blocked : uint8_t { no, grant, put, expose, slot, after, delivery };
    struct Chain {
        uint32_t step = 0, tile = 0;
        bool started = false;  // the step has begun and ends at the next event of the chain
        bool ended = false;
        Blocked blocked = Blocked::no;
        uint32_t blocked_on = none;  // chain
        uint32_t loads_left = 0;
        Picoseconds compute_end = 0;
        Picoseconds compute_free = 0;  // Workers::lane
        Picoseconds reached = 0, began = 0;
        uint32_t last_span = 0, cause = 0;  // span + 1
    };
    // Tiles of one step whose counterpart has happened: all below `all`, and those in `ahead`.
    struct Facts {
        uint32_t all = 0;
        uint32_t span = 0;  // recording: what the latest came from
        uint64_t ahead = 0;
    };
    struct Stream {
        uint32_t sent = 0, freed = 0;
        uint32_t span = 0;  // recording: what the latest credit came from
        Picoseconds latency = 0;
    };
    struct Rank {
        Picoseconds thread_free = 0, compute_free = 0;
        uint32_t lanes_left = 0, puts_open = 0;
        RankTraffic inter_sent, intra_sent;
        uint32_t rail_turn = 0;  // messages too small to be cut take the rails in turn
        Picoseconds end = 0;
    };
    // A step's message, or the bytes of a load. It lives until all pieces are noticed by the
    // receiver and, where the sender waits for that, its delivery is known.
    struct Message {
        bool load = false;
        bool inter = false;
        bool delivery_open = false;             // the sender waits for its delivery
        uint16_t unarrived = 0, unnoticed = 0;  // pieces
        uint32_t step = 0;                      // the sender's
        uint32_t chain = 0;                     // the sender's; load: the reader's
        uint32_t tile = 0;
        uint32_t span = 0;
        Picoseconds latency = 0;
    };

    // Steps. Begin: none, or the time at which the step's work is done.
    static constexpr Picoseconds never = -1;
    void chain_run(uint32_t chain);
    bool chain_step(uint32_t chain);
    Picoseconds step_begin(uint32_t chain, const SimStep& step);
    void step_end(uint32_t chain, const SimStep& step);
    Picoseconds block(uint32_t chain, Blocked why, uint32_t on);
    bool after_met(uint32_t chain, const SimStep& step);
    bool slot_free(uint32_t chain, const SimStep& step);
    Picoseconds put_begin(uint32_t chain, const SimStep& step);
    Picoseconds wait_begin(uint32_t chain, const SimStep& step);
    void wait_end(uint32_t chain, const SimStep& step);
    Picoseconds compute_begin(uint32_t chain, const SimStep& step);
    Picoseconds release_begin(uint32_t chain, const SimStep& step);
    void pass(uint32_t chain, const SimStep& step);
    void chain_end(uint32_t chain);
    void rank_end_check(uint32_t rank);

    // What things cost.
    bool inter(uint32_t rank, int32_t peer) const;
    const Overhead& overhead(bool inter) const {
        return inter ? network_.inter_overhead : network_.intra_overhead;
    }
    uint32_t image(int32_t peer) const {
        return static_cast<uint32_t>(parts_.folded ? network_.local_of(peer) : peer);
    }
    Picoseconds thread_use(uint32_t rank, Picoseconds cost);
    Picoseconds compute_use(uint32_t chain, Picoseconds cost);
    uint32_t piece_count(uint32_t rank, int32_t peer, uint64_t bytes) const;
    uint64_t payload_of(const SimStep& step, uint32_t tile) const {
        return step.data ? parts_.bytes(step.chunk, tile) : 0;
    }

    // Messages.
    void message_send(uint32_t chain, const SimStep& step);
    void load_send(uint32_t chain, int32_t peer, uint64_t bytes);
    void load_arrived(uint32_t message);
    uint32_t message_new(const Message& message);
    void route(uint32_t message, uint32_t rank, int32_t peer, uint64_t bytes, uint64_t payload);
    void route_rails(uint32_t message, uint32_t rank, int32_t peer, uint64_t bytes,
                     uint64_t payload, Picoseconds delay);
    Picoseconds late();
    void on_arrived(uint32_t message);
    void on_noticed(uint32_t message);
    void on_delivered(uint32_t message);
    void on_known(uint32_t message);
    void on_credit(uint32_t stream);
    void credit_send(uint32_t stream, uint32_t span);
    void message_done(uint32_t message);
    void fact_add(uint32_t step, uint32_t tile, uint32_t span);
    bool fact_has(uint32_t step, uint32_t tile) const;
    void wake(uint32_t chain, Blocked why, uint32_t cause);

    void dispatch(const Event& event);
    void record(uint32_t chain, const SimStep& step);
    Error deadlock() const;
    std::string waits_for(uint32_t chain) const;
    Report report() const;
    void streams_measure();
    void folded_fill(Report& report) const;

    const Network& network_;
    const Job& job_;
    const Options& options_;
    const Parts& parts_;
    uint32_t slots_;
    EventQueue queue_;
    Wires wires_;
    Picoseconds now_ = 0;
    uint64_t events_ = 0, random_;
    std::vector<Chain> chains_;
    std::vector<uint32_t> step_chain_;  // chain by step
    std::vector<Rank> ranks_;
    std::vector<Facts> facts_;  // by step
    std::vector<Stream> streams_;
    std::vector<uint32_t> under_way_;  // puts not delivered, by operand
    std::vector<uint32_t> bound_;      // stream + 1 whose slot a scratch operand holds
    std::vector<Message> messages_;
    std::vector<uint32_t> messages_free_;
    std::vector<Span> spans_;
    uint32_t ranks_left_ = 0;
    std::string fault_;
};

}  // namespace weft::sim
