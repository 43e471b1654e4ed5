// The wire contract: what a provider of remote memory implements. One layer above it,
// transports/link.h turns any wire into grants and puts (tokens, pieces, generations, credits) once
// for all of them.
//
// Unordered by contract: arrivals come in any order, payload may be placed more than once before
// its arrival is reported, an arrival may be reported twice (the fault injector does; the link
// layer drops it). Thread rule: thread-bound to the owning shard's driver (its lock), except where
// a method says otherwise. What several wires of a process share (sockets, endpoints, mapping
// tables) is the hub's business and locked there. Lifetime rule: hub before wire, wire before
// regions. Destroying a wire closes peers' access to every region of it. Failure rule: never
// blocks, never throws; a broken peer is reported once through WireSink::on_failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/result.h"

namespace weft {

// The 32-bit immediate that travels with every put.
struct Imm {
    uint32_t token = 0;       // 20 bits, chosen by the receiver
    uint32_t piece = 0;       // 8 bits
    uint32_t generation = 0;  // 4 bits
    constexpr uint32_t pack() const {
        return token << 12 | (piece & 0xff) << 4 | (generation & 0xf);
    }
    static constexpr Imm unpack(uint32_t v) { return {v >> 12, v >> 4 & 0xff, v & 0xf}; }
    bool operator==(const Imm&) const = default;
};
inline constexpr uint32_t token_count_max = 1u << 20;
inline constexpr uint32_t piece_count_max = 256;

enum class [[nodiscard]] Post : uint8_t{
    accepted, again};  // again: cannot now, progress and retry; not an error

// What a wire can do: data, true for what is wired.
struct Caps {
    std::string name;            // "loopback", "shm", "fabric(tcp;ofi_rxm)"
    size_t put_bytes_max = 0;    // one put
    size_t piece_bytes = 0;      // preferred size of one piece of a large put
    size_t piece_bytes_min = 0;  // below it, pieces are not made smaller to use more rails
    size_t piece_align = 16;     // pieces begin at multiples of it, a power of two
    size_t grant_bytes_max = 0;  // of one grant, 0: no limit
    size_t stage_below = 0;      // buffers below it that are not known memory are better copied
                                 // through library memory than exposed for one operation
    uint32_t rails = 1;          // that share the pieces of a put
    size_t inline_bytes =
        0;  // a put of at most this size to no memory (RemoteRef{}) arrives by value; >= 64 always
    uint32_t puts_in_flight = 0;  // per peer, beyond which put answers `again`
    bool peer_load = false;       // map() can give a pointer to a peer's shared memory
    bool needs_polling = false;   // has neither a doorbell nor a wait descriptor
    bool real_network = false;    // bytes leave the machine (or a virtual host)
    bool device_memory = false;   // every rail registers memory of GPUs, and reads it back (flush)
};

// Memory a wire may write into or read from on behalf of a peer. 0 is "none".
struct Region {
    uint32_t id = 0;
    bool operator==(const Region&) const = default;
};

// Where a peer's granted memory is, in words only the two wires understand. Travels in grants;
// checked on use, never trusted. Room for an address, a length and the 32-bit keys of 32 rails;
// a message carries the words in use only.
struct RemoteRef {
    static constexpr size_t words_max = 18;
    uint64_t words[words_max] = {};
    bool operator==(const RemoteRef&) const = default;
    // No memory: every wire's reference has something in its first three words.
    bool none() const { return (words[0] | words[1] | words[2]) == 0; }
    size_t words_used() const {
        size_t used = words_max;
        while (used > 0 && words[used - 1] == 0) {
            --used;
        }
        return used;
    }
};

inline constexpr size_t wire_address_bytes_max = 2304;  // 32 rails with names of 64 bytes

enum class PeerState : uint8_t { idle, connecting, up, failed };

struct Put {
    uint32_t peer = 0;
    RemoteRef to;         // default: no memory, the bytes arrive by value (<= inline_bytes)
    uint64_t offset = 0;  // from the start of `to`
    const void* from = nullptr;
    size_t bytes = 0;    // 0 is legal: only the immediate travels
    Region from_region;  // region of `from`; none for by-value puts
    Imm imm;
    uint64_t cookie =
        0;  // given back by on_delivered when the source may be reused and the target has the bytes
    bool notify = true;  // false: no on_delivered wanted (by-value puts: the bytes are copied
                         // before put returns)
};

class WireSink {
  public:
    virtual ~WireSink() = default;
    // A put of a peer has been placed whole. `value` holds by-value bytes (valid during the call),
    // else null.
    virtual void on_arrival(Imm imm, const std::byte* value, uint32_t value_bytes) = 0;
    virtual void on_delivered(uint64_t cookie) = 0;
    virtual void on_failure(uint32_t peer, Error error) = 0;
};

// Counters every wire keeps; WEFT_STATS prints them and tests assert on them.
struct WireCounters {
    uint64_t puts = 0, put_bytes = 0;          // accepted
    uint64_t arrivals = 0, arrival_bytes = 0;  // reported (bytes where known)
    uint64_t copied_bytes = 0;  // staging copies: bytes moved more than the one necessary time
    uint64_t again = 0;         // back-pressure answers
    uint64_t registrations = 0, deregistrations = 0;
    uint64_t registration_hits = 0;  // memory exposed that was registered already
    uint64_t dropped = 0;  // puts that met memory no longer exposed, counted where it shows
    std::vector<uint64_t> rail_bytes;  // put_bytes by rail, empty where there are no rails
};

class Wire {
  public:
    virtual ~Wire() = default;
    virtual const Caps& caps() const = 0;
    virtual const WireCounters& counters() const = 0;
    // What a peer needs to connect: at most wire_address_bytes_max, exchanged at init.
    virtual std::string address() const = 0;
    // Reserves `count` consecutive tokens on this wire's receiving side; returns the first.
    virtual Result<uint32_t> tokens_reserve(uint32_t count) = 0;

    // Starts connecting to `peer` (this wire's own name for it, the rank); never blocks. Both sides
    // call connect for each other, in any order. `hello` (<= 192 bytes) is handed to the peer. When
    // state(peer) is `up`, puts may be posted and hello_of(peer) is what the peer gave. Advanced by
    // progress() and by the hub's own callbacks.
    virtual Result<void> connect(uint32_t peer, std::string_view address,
                                 std::string_view hello) = 0;
    virtual PeerState state(uint32_t peer) const = 0;
    virtual std::string_view hello_of(uint32_t peer) const = 0;

    // Makes memory usable as target and source. Cheap for known memory (transports/memory.h).
    virtual Result<Region> expose(void* memory, size_t bytes) = 0;
    // Ends it: after return no put of any peer lands in the region, and no peer reads it.
    virtual void conceal(Region region) = 0;
    // Ends it when no peer has a put into it under way or a grant of it open, and none of its own
    // puts is unfinished: memory whose lifetime is known may stay registered for the next time.
    virtual void release(Region region) { conceal(region); }
    // What `peer` must know to put into (or map) the region at `offset`.
    virtual RemoteRef ref(Region region, uint64_t offset, uint32_t peer) const = 0;

    // How many pieces `peer` may be granted now, at most `wanted`; 0: none, try later. They count
    // against what this wire can hear of at a time until each has landed and is returned. (What
    // never lands is returned when the wire goes.)
    virtual uint32_t pieces_reserve(uint32_t /*peer*/, uint32_t wanted) { return wanted; }
    virtual void pieces_return(uint32_t /*peer*/, uint32_t /*count*/) {}

    virtual Post put(const Put& put) = 0;
    // What the CPU does for other memory and must not do for a GPU's; only wires have it whose hub
    // keeps such memory. A put of this side to a region of its own (`to` by ref()), which arrives
    // here as the peer's do and is not reported as delivered.
    virtual Result<Post> put_own(const Put&) { return no_device_memory(); }
    // Starts to read the first `bytes`, at most 8, of the region over every rail: when busy() says
    // no more, a GPU sees all that had arrived before. Once for each region: asked again, it goes
    // on with the rails that took nothing yet. That a read has ended is an event of progress(),
    // where busy() ends, and before it the failure of the peer that a read which fails is reported
    // as.
    virtual Result<Post> flush(uint32_t /*peer*/, Region, size_t /*bytes*/) {
        return no_device_memory();
    }
    virtual bool busy(Region) const { return false; }
    // Reports what happened; at most `budget` events. Returns how many. Time is the caller's.
    virtual int progress(WireSink& sink, Nanos now, int budget) = 0;
    // A readable pointer to a peer's exposed memory, or null (caps().peer_load).
    virtual const std::byte* map(uint32_t peer, const RemoteRef& ref, uint64_t bytes) = 0;
    // After return no put posted by `peer` before can land here any more.
    virtual Result<void> fence(uint32_t peer) = 0;
    // The end of everything with `peer`, which is told why: as after a fence, and it posts no more.
    virtual Result<void> cut(uint32_t peer, std::string_view /*why*/) { return fence(peer); }

    // Sleeping. Wires that ring the shard's Doorbell return -1. Else: a pollable descriptor, and
    // arm() says whether one may sleep on it now (false: there is work, progress first).
    virtual int wait_fd() const = 0;
    virtual bool arm() = 0;

  private:
    Error no_device_memory() const {
        return make_error(Code::unsupported, Scope::call,
                          caps().name + " moves no memory of GPUs: it was never to be asked");
    }
};

}  // namespace weft
