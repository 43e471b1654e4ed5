// A Run is one collective or one half of a Send/Recv under way: lanes that step through a Program.
//
// Facts come in (messages, filled grants, deliveries); advance() moves the lanes as far as the
// facts allow and never blocks. Nothing here decides anything: the program says what to do, the
// facts say when. Thread rule: thread-bound to the shard's driver. Lifetime: program, links and
// user buffers are borrowed until finished(). Failure rule: the first error ends the run; close()
// then makes user memory unreachable.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/exec/engine.h"
#include "src/exec/fingerprint.h"
#include "src/exec/memory_map.h"
#include "src/exec/program.h"
#include "src/exec/tile_pool.h"
#include "transports/link.h"

namespace weft {

// Channels of every link: one per lane, then two for pairs, so that a Send waiting for its grant
// never holds what a Recv needs.
inline constexpr uint32_t channel_pair_data = lane_count_max;
inline constexpr uint32_t channel_pair_grant = lane_count_max + 1;
inline constexpr uint32_t channel_count = lane_count_max + 2;

struct RunContext {
    Links* links = nullptr;  // borrowed, as all here
    TilePool* pool = nullptr;
    OpCounters* counters = nullptr;
    const ShardConfig* config = nullptr;
};

class Run {
  public:
    explicit Run(RunContext context) : context_(context) {}

    // `id` comes back in cookies; `seq` is the op's or the pair's sequence number.
    Result<void> start(const Program* program, const Call& call, uint32_t id, uint32_t seq);
    bool wants(const MsgHeader& header, uint32_t peer) const;
    void on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot);
    void on_grant_filled(uint32_t entry);
    void on_put_delivered(uint32_t entry);

    // Moves lanes; true if anything moved. After a failure nothing moves any more.
    bool advance();
    const Error* failure() const { return failed_ ? &failure_ : nullptr; }
    bool finished() const { return lanes_left_ == 0 && puts_open_ == 0; }
    // Withdraws grants and regions; idempotent.
    void close();
    // Of a pair that waits: tells the other side what it was called with, once. Where one side
    // waits to be granted memory and the other for the bytes, nothing else would.
    void arguments_say();
    // What the run waits for, in words: "lane 0 step 3 waits for rank 2".
    std::string waiting_for() const;
    const Args& args() const { return args_; }
    const Program& program() const { return *program_; }
    uint32_t seq() const { return seq_; }
    bool is_pair() const { return pair_; }

  private:
    struct LaneState {
        uint32_t tile = 0, step = 0;
        bool done = false;
        bool grant_ready =
            false;  // the grant of the current step is open, its message not yet accepted
        GrantBody grant_body;
    };
    struct Message {  // arrived and not yet used
        uint32_t index;
        MsgKind kind;
        uint32_t bytes;
        const std::byte* payload;
        SlotRef slot;
    };
    struct PeerGrant {  // heard: memory of a peer we may put into, or load from
        uint32_t index;
        MsgKind kind;
        GrantBody body;
    };
    struct OwnGrant {
        bool used = false, filled = false;
        uint16_t stream = 0;
        uint32_t index = 0;
        GrantBody body;
        ExposedRange* tile = nullptr;  // granted in the place of user memory
    };
    struct ActivePut {
        bool used = false;
        uint16_t lane = 0;
        plan::Operand from;
        ExposedRange* tile = nullptr;  // a copy of the source, given back on delivery
    };
    struct Stream {  // of one (lane, peer slot)
        std::vector<Message> messages;
        std::vector<PeerGrant> peer_grants;
    };
    struct ScratchSlot {
        const std::byte* bound = nullptr;  // eager: the payload in its link slot
        SlotRef slot;
        bool holds_slot = false;
    };
    struct Loan {  // a peer's exposed operand of the current tile of a lane
        uint16_t lane;
        plan::Operand operand;
        const std::byte* at;
    };
    enum class Did : uint8_t { blocked, done, failed };

    Stream& stream(uint32_t lane, uint32_t peer_slot) {
        return streams_[lane * program_->peers.size() + peer_slot];
    }
    bool skip(const ProgramStep& step, uint32_t tile) const {
        return !pair_ && program_->tile_bytes(step.chunk, tile) == 0;
    }
    uint64_t bytes_of(const ProgramStep& step, uint32_t tile) const {
        return program_->tile_bytes(step.chunk, tile);
    }
    MsgHeader header_for(uint32_t lane, MsgKind kind, uint32_t index) const;
    std::byte* address(uint32_t lane, const plan::Operand& operand, uint32_t tile) const;
    Result<ExposedRange*> range_of(const plan::Operand& operand);
    void known_look_up();
    Result<ExposedRange*> tile_for(const plan::Operand& operand, const Wire& wire);
    bool scaled(const plan::Operand& operand) const {
        return scale_inputs_ && operand.space == plan::Space::input && operand.peer < 0;
    }
    const std::byte* source(uint32_t lane, const plan::Operand& operand, uint32_t tile);

    bool lane_advance(uint32_t lane);
    bool after_met(const ProgramStep& step, uint32_t tile) const;
    // Not a Result: most steps are short, and run by the million.
    Did step_run(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Did fail(Error error);
    Did settle(Result<Did> result) {
        return result.ok() ? result.value() : fail(std::move(result).error());
    }
    Result<Did> step_grant(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Result<Did> step_expose(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Did step_put(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Result<Did> put_granted(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Did step_wait(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Did wait_message(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Result<Did> wait_exposed(uint32_t lane, const ProgramStep& step, uint32_t tile);
    void step_compute(uint32_t lane, const ProgramStep& step, uint32_t tile);
    Did step_release(uint32_t lane, const ProgramStep& step);
    Result<Did> flush_output();
    Error mismatch(const ProgramStep& step, uint64_t expected, uint64_t got) const;

    RunContext context_;
    const Program* program_ = nullptr;
    Call call_;
    Args args_;
    uint32_t id_ = 0, seq_ = 0;
    bool pair_ = false, eager_ = false, scale_inputs_ = false;
    bool in_place_ = false;  // input and output overlap
    bool flush_ = false;     // a GPU is yet to see what arrived
    bool failed_ = false;
    bool said_ = false;  // arguments_say()
    Error failure_;
    Scalar scale_;
    uint32_t elem_bytes_ = 1;
    std::vector<LaneState> lanes_;
    size_t lanes_left_ = 0;
    std::vector<Stream> streams_;
    std::vector<ScratchSlot> scratch_;
    std::vector<OwnGrant> grants_;
    std::vector<ActivePut> puts_;
    size_t puts_open_ = 0;
    std::vector<Loan> loans_;
    ExposedRange input_, output_;
    bool input_known_ = false, output_known_ = false;  // known memory, where a wire asks
    ExposedRange* scratch_range_ = nullptr;
    std::vector<std::byte> scaled_;
    std::vector<const void*> sources_;
};

}  // namespace weft
