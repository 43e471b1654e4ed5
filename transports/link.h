// The link layer: grants, puts, eager slots and their credits over any Wire, written once for all
// transports.
//
// A link joins this rank with one peer, both ways. It has a few *channels* (one per lane, two for
// Send/Recv), each with its own small number of eager slots, so that no strand of work can hold
// what another needs. Two ways to move bytes:
//   message  header + at most `eager_bytes`, by value, into a slot the receiver granted in advance
//   (credits are absolute counts that ride
//            on every message; a lost or repeated one changes nothing)
//   grant    the receiver names memory and a token; the sender puts pieces; the token counts each
//   piece once, drops old generations
// Order is irrelevant everywhere: messages carry their slot sequence in the immediate, pieces their
// number. Thread rule: thread-bound to the shard's driver. Lifetime: wires are borrowed for life.
// Failure: LinkSink::on_link_failure, once a peer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "transports/wire.h"

namespace weft {

// arguments: a side that has waited for long says what it was called with, and nothing else.
enum class MsgKind : uint8_t {
    data = 1,
    signal = 2,
    grant = 3,
    expose = 4,
    credit = 5,
    arguments = 6
};

// What a message says about the op it belongs to; 32 bytes, little endian, on every message.
struct MsgHeader {
    uint64_t args = 0;  // the op's arguments, packed exactly (fingerprint.h): compared before any
                        // byte of a user buffer is written
    uint32_t root = 0;
    uint32_t seq = 0;    // op sequence of the communicator, or pair sequence of (sender, receiver)
    uint32_t index = 0;  // position in its stream (plan/ir.h, Matching)
    uint32_t bytes = 0;  // payload bytes that follow
    uint32_t credit =
        0;  // slots of this channel the sender has released so far (reverse direction)
    MsgKind kind = MsgKind::data;
    uint8_t channel = 0;
    uint16_t reserved = 0;
};
static_assert(sizeof(MsgHeader) == 32);

// The body of a grant or expose message. What travels ends with the last word of `ref` in use.
struct GrantBody {
    uint64_t bytes = 0;
    uint32_t imm_base = 0;     // token and generation, piece 0
    uint32_t piece_bytes = 0;  // the sender cuts so, the receiver counts so
    RemoteRef ref;

    uint32_t message_bytes() const {
        return static_cast<uint32_t>(sizeof(GrantBody) -
                                     (RemoteRef::words_max - ref.words_used()) * sizeof(uint64_t));
    }
    // False, and nothing read, when the bytes are no such message.
    static bool read(GrantBody* body, const std::byte* from, size_t bytes);
};
static_assert(sizeof(GrantBody) == 160);

// What a sender of fewer bytes than were granted puts to; the grant must have allowed it.
GrantBody shortened(const GrantBody& grant, uint64_t bytes);

// How the owner of granted memory cuts it: into pieces of the wire's preferred size, smaller ones
// where that leaves rails idle, larger ones where they would be more than `pieces_max`.
uint64_t piece_bytes_for(const Caps& caps, uint64_t bytes, uint32_t pieces_max = piece_count_max);

// A message kept in its slot until released.
struct SlotRef {
    uint32_t peer = 0;
    uint16_t channel = 0;
    uint16_t slot = 0;
};

class LinkSink {
  public:
    virtual ~LinkSink() = default;
    // A message arrived; payload stays valid until slot_release(slot).
    virtual void on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) = 0;
    virtual void on_grant_filled(uint64_t cookie) = 0;   // every piece of the grant has landed
    virtual void on_put_delivered(uint64_t cookie) = 0;  // the source may be reused
    virtual void on_link_failure(uint32_t peer, Error error) = 0;
};

struct LinkCounters {
    uint64_t messages = 0, eager_bytes = 0, grants = 0, puts = 0, put_bytes = 0, credits_sent = 0;
    uint64_t copied_bytes = 0, duplicates_dropped = 0, stale_dropped = 0, again = 0;
};

struct LinkConfig {
    uint32_t rank = 0;
    uint32_t rank_count = 1;
    uint32_t eager_bytes = 8192;
    uint32_t slots = 8;  // per channel; a power of two, at most 64
    uint32_t channels = 6;
    // Open grants per link: more than any plan keeps, few enough for 15,000 links.
    uint32_t grants = 48;
};

class Links {
  public:
    struct Peer {
        Wire* wire = nullptr;  // null: no link (the rank itself)
        std::string address;
    };
    Links(LinkConfig config, std::vector<Peer> peers);
    ~Links();
    Links(const Links&) = delete;
    Links& operator=(const Links&) = delete;

    // Starts connecting; idempotent. Both sides do it when an op that needs the link is prepared.
    Result<void> prepare(uint32_t peer);
    bool up(uint32_t peer) const;
    Wire* wire(uint32_t peer) const;

    // `header.bytes`, `credit` are filled in. again: no credit or the wire is full.
    Post send(uint32_t peer, MsgHeader header, const void* payload, uint32_t bytes);
    void slot_release(SlotRef slot);

    // A token for `bytes` of `region` at `offset`, told to the peer by sending the body. False: no
    // token free now, or the wire can hear of no more pieces until some have landed.
    bool grant_open(uint32_t peer, Region region, uint64_t offset, uint64_t bytes, uint64_t cookie,
                    GrantBody* body);
    // The same, and the peer may put fewer bytes: to shortened(body, bytes), which fills nothing
    // until grant_expect says how many.
    bool grant_open_short(uint32_t peer, Region region, uint64_t offset, uint64_t bytes,
                          uint64_t cookie, GrantBody* body);
    // The peer puts short, `bytes`, perhaps none: true when they have landed already, which ends
    // the grant; else on_grant_filled says when. False for a grant that is no more, may not be
    // short or is of fewer bytes.
    bool grant_expect(uint32_t peer, const GrantBody& body, uint64_t bytes);
    // Forgets the grant: later pieces are stale. Used when an op ends early.
    void grant_close(uint32_t peer, const GrantBody& body);
    // Puts all pieces, as fast as the wire takes them; on_put_delivered when all are delivered.
    void put_start(uint32_t peer, const GrantBody& to, const void* from, Region from_region,
                   uint64_t cookie);
    // Makes a GPU see what has landed in the region, memory of its own: false until then, to be
    // asked again. Once for each region (Wire::flush).
    Result<bool> flush(uint32_t peer, Region region, uint64_t bytes);
    size_t puts_under_way() const;
    // Payload bytes given to the peer's link so far: puts and data messages, no grants or headers.
    uint64_t bytes_to(uint32_t peer) const;

    // Polls the wires and pushes what waits. Returns the number of events.
    int progress(LinkSink& sink, Nanos now, int budget);
    const LinkCounters& counters() const;

    struct Impl;

  private:
    std::unique_ptr<Impl> impl_;
};

}  // namespace weft
