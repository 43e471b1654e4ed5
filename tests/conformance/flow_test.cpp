// Clauses about many puts at once: back-pressure, both directions, regions that close, and random
// mixtures checked by content.
#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

#include "tests/catch.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/side.h"

namespace weft::test {

namespace {

// The k-th of many immediates over a few tokens.
Imm numbered(uint32_t base, uint32_t k) {
    return Imm{base + (k >> 12), k & 0xff, k >> 8 & 0xf};
}
uint32_t number_of(uint32_t base, Imm imm) {
    return (imm.token - base) << 12 | imm.generation << 8 | imm.piece;
}

constexpr uint32_t flood_max = 60'000;
constexpr uint32_t flood_tokens = flood_max / 4096 + 1;

// Puts values until the wire says `again` while nobody reads; then everything arrives once.
void flood(Side& side) {
    side.connect();
    const uint32_t mine = side.wire().tokens_reserve(flood_tokens).value();
    const auto theirs = static_cast<uint32_t>(std::stoul(side.swap(std::to_string(mine))));
    if (side.index == 0) {
        uint32_t accepted = 0;
        const auto value = pattern(300, 1);
        while (accepted < flood_max &&
               side.put(side.by_value(value.data(), 300, numbered(theirs, accepted))) ==
                   Post::accepted) {
            accepted++;
        }
        side.require(accepted > 0 && accepted < flood_max, "a wire that nobody reads fills up");
        side.require(side.wire().counters().again >= 1, "`again` is counted");
        side.swap(std::to_string(accepted));
        for (uint32_t i = 0; i < 100; i++) {
            side.put_must(side.by_value(value.data(), 300, numbered(theirs, accepted + i)));
        }
    } else {
        const auto count = static_cast<size_t>(std::stoul(side.swap("?"))) + 100;
        side.until([&] { return side.arrived_distinct() >= count; }, "all that was accepted");
        side.require(side.arrivals.size() == count, "each arrives once");
        for (const Arrival& arrival : side.arrivals) {
            side.require(
                arrival.value.size() == 300 &&
                    pattern_holds(reinterpret_cast<const std::byte*>(arrival.value.data()), 300, 1),
                "whole");
        }
    }
    side.meet_driving();
}

// Both sides send large puts and values to each other at the same time.
void both_ways(Side& side, MemoryKind kind) {
    constexpr uint32_t count = 24;
    constexpr size_t bytes = 300'001;
    const uint32_t theirs = tokens_swap(side, 2);
    Memory source(kind, count * bytes), target(kind, count * bytes);
    for (uint32_t i = 0; i < count; i++) {
        const auto data = pattern(bytes, i + 100u * static_cast<uint32_t>(side.index));
        std::copy(data.begin(), data.end(), source.data() + i * bytes);
    }
    const Region from = side.wire().expose(source.data(), count * bytes).value();
    const Region into = side.wire().expose(target.data(), count * bytes).value();
    const RemoteRef to = ref_swap(side, side.wire().ref(into, 0, side.peer()));
    for (uint32_t i = 0; i < count; i++) {
        Put put = side.to_memory(to, source.data() + i * bytes, bytes, from, Imm{theirs, i, 1});
        put.offset = i * bytes;
        side.put_must(put);
        side.put_must(side.by_value(&i, sizeof i, Imm{theirs + 1, i, 2}));
    }
    side.until([&] { return side.delivered.size() == count && side.arrivals.size() == 2 * count; },
               "everything, both ways");
    for (uint32_t i = 0; i < count; i++) {
        side.require(pattern_holds(target.data() + i * bytes, bytes,
                                   i + 100u * static_cast<uint32_t>(1 - side.index)),
                     "contents");
    }
    side.meet_driving();
    side.wire().conceal(from);
    side.wire().conceal(into);
    side.forget();
}

// More than one progress() call's worth in one put.
void one_large(Side& side, MemoryKind target_kind, MemoryKind source_kind) {
    constexpr size_t bytes = (24u << 20) + 5;
    const uint32_t theirs = tokens_swap(side, 1);
    Memory memory(side.index == 0 ? source_kind : target_kind, bytes);
    const Region region = side.wire().expose(memory.data(), bytes).value();
    const RemoteRef to = ref_swap(side, side.wire().ref(region, 0, side.peer()));
    if (side.index == 0) {
        const auto data = pattern(bytes, 5);
        std::copy(data.begin(), data.end(), memory.data());
        side.put_must(side.to_memory(to, memory.data(), bytes, region, Imm{theirs, 0, 0}));
        side.until([&] { return !side.delivered.empty(); }, "the delivery");
    } else {
        side.until([&] { return !side.arrivals.empty(); }, "the arrival");
        side.require(pattern_holds(memory.data(), bytes, 5), "a large put lands whole");
    }
    side.meet_driving();
    side.wire().conceal(region);
    side.forget();
}

void many_regions(Side& side) {
    constexpr uint32_t count = 1000;
    side.connect();
    std::vector<uint64_t> words(count * 8);
    for (int round = 0; round < 2; round++) {
        const uint32_t theirs = tokens_swap(side, 1);
        std::vector<Region> regions;
        std::string refs;
        for (uint32_t i = 0; i < count; i++) {
            regions.push_back(side.wire().expose(&words[i * 8], 64).value());
        }
        std::set<uint32_t> ids;
        for (const Region& region : regions) {
            ids.insert(region.id);
        }
        side.require(ids.size() == count && !ids.contains(0), "regions have names of their own");
        for (uint32_t i = 0; i < count; i += 100) {
            const RemoteRef to = ref_swap(side, side.wire().ref(regions[i], 8, side.peer()));
            const uint64_t value = 1000 * static_cast<uint64_t>(round) + i;
            words[i * 8] = value;
            side.put_must(side.to_memory(to, &words[i * 8], 8, regions[i], numbered(theirs, i)));
            side.until([&] { return side.arrivals.size() == i / 100 + 1; }, "the arrival");
            side.require(words[i * 8 + 1] == value, "the right region");
            side.until([&] { return side.delivered.size() == i / 100 + 1; }, "the delivery");
        }
        side.meet_driving();
        for (const Region& region : regions) {
            side.wire().conceal(region);
        }
        side.forget();
    }
}

// After conceal() returned nothing lands, whatever is under way; the sender goes on unharmed.
void conceal_race(Side& side, MemoryKind kind) {
    constexpr size_t bytes = 200'000;
    const uint32_t theirs = tokens_swap(side, 1);
    Memory memory(kind, bytes);
    for (uint32_t round = 0; round < 20; round++) {
        if (side.index == 0) {
            const RemoteRef to = ref_swap(side, {});
            std::fill_n(memory.data(), bytes, static_cast<std::byte>(round));
            const Region region = side.wire().expose(memory.data(), bytes).value();
            uint32_t posted = 0;
            for (; posted < 8; posted++) {
                side.put_must(side.to_memory(to, memory.data(), bytes, region,
                                             Imm{theirs, posted, round & 0xf}));
            }
            side.meet_driving();
            side.until([&] { return side.delivered.size() == posted; },
                       "deliveries, also of what was dropped");
            side.wire().conceal(region);
        } else {
            const Region region = side.wire().expose(memory.data(), bytes).value();
            ref_swap(side, side.wire().ref(region, 0, side.peer()));
            for (uint32_t i = 0; i < round * 3; i++) {
                side.drive(1);
            }
            side.wire().conceal(region);
            std::fill_n(memory.data(), bytes, std::byte{0xcc});
            side.meet_driving();
            const Nanos limit = clock_now() + 2 * nanos_per_ms;
            while (clock_now() < limit) {
                side.drive();
            }
            side.require(std::all_of(memory.data(), memory.data() + bytes,
                                     [](std::byte b) { return b == std::byte{0xcc}; }),
                         "nothing lands in concealed memory");
        }
        side.meet_driving();
        side.forget();
    }
}

// ---- random mixture

struct Mixer {
    static constexpr uint32_t slot_count = 32;
    static constexpr size_t slot_bytes = 80'000;

    explicit Mixer(Side& on, uint32_t operations)
        : side(on),
          count(operations),
          random(0x9e3779b9u + static_cast<uint32_t>(on.index)),
          source(MemoryKind::library, slot_count * slot_bytes),
          target(on.index == 0 ? MemoryKind::library : MemoryKind::own, slot_count * slot_bytes) {}

    uint32_t next() {
        random ^= random << 13;
        random ^= random >> 17;
        return random ^= random << 5;
    }
    static size_t size_of(uint32_t k) { return k * 2654435761u % slot_bytes; }
    static bool is_value(uint32_t k) { return k * 40503u % 3 != 0; }
    uint32_t seed(uint32_t k, int from) const { return k * 2 + static_cast<uint32_t>(from); }

    void run();
    bool post(uint32_t k);
    void on_operation(uint32_t k, const std::byte* value, uint32_t bytes);

    Side& side;
    const uint32_t count;
    uint32_t random;
    Memory source, target;
    Region from, into;
    RemoteRef to;
    uint32_t mine = 0, theirs = 0;         // operations
    uint32_t my_acks = 0, their_acks = 0;  // what says that a slot was read
    std::vector<uint32_t> slot_user = std::vector<uint32_t>(slot_count, UINT32_MAX);
    std::vector<uint32_t> acks_due;
    uint32_t arrived = 0;
    std::string wrong;
};

// Memory operation k uses the slot k % slot_count and leaves it taken until the peer has read it.
bool Mixer::post(uint32_t k) {
    const size_t limit = side.wire().caps().inline_bytes;
    const size_t bytes = is_value(k) ? size_of(k) % (limit + 1) : size_of(k);
    const auto data = pattern(bytes, seed(k, side.index));
    if (is_value(k)) {
        return side.put(side.by_value(data.data(), bytes, numbered(theirs, k))) == Post::accepted;
    }
    const uint32_t slot = k % slot_count;
    if (slot_user[slot] != UINT32_MAX) {
        return false;
    }
    std::copy(data.begin(), data.end(), source.data() + slot * slot_bytes);
    Put put =
        side.to_memory(to, source.data() + slot * slot_bytes, bytes, from, numbered(theirs, k));
    put.offset = slot * slot_bytes;
    if (side.put(put) == Post::again) {
        return false;
    }
    slot_user[slot] = k;
    return true;
}

void Mixer::on_operation(uint32_t k, const std::byte* value, uint32_t bytes) {
    arrived++;
    const std::byte* at = is_value(k) ? value : target.data() + k % slot_count * slot_bytes;
    const size_t expected =
        is_value(k) ? size_of(k) % (side.wire().caps().inline_bytes + 1) : size_of(k);
    if ((is_value(k) && bytes != expected) ||
        !pattern_holds(at, expected, seed(k, 1 - side.index))) {
        wrong = "operation " + std::to_string(k) + " arrives with its own bytes";
    }
    if (!is_value(k)) {
        acks_due.push_back(k);
    }
}

void Mixer::run() {
    side.connect();
    const uint32_t tokens = count / 4096 + 1;
    mine = side.wire().tokens_reserve(tokens).value();
    my_acks = side.wire().tokens_reserve(tokens).value();
    from = side.wire().expose(source.data(), slot_count * slot_bytes).value();
    into = side.wire().expose(target.data(), slot_count * slot_bytes).value();
    const std::string both = side.swap(std::to_string(mine) + " " + std::to_string(my_acks));
    theirs = static_cast<uint32_t>(std::stoul(both));
    their_acks = static_cast<uint32_t>(std::stoul(both.substr(both.find(' '))));
    to = ref_swap(side, side.wire().ref(into, 0, side.peer()));
    side.on_each = [this](Imm imm, const std::byte* value, uint32_t bytes) {
        if (imm.token >= my_acks && imm.token < my_acks + count / 4096 + 1) {
            slot_user[number_of(my_acks, imm) % slot_count] = UINT32_MAX;
        } else {
            on_operation(number_of(mine, imm), value, bytes);
        }
    };
    uint32_t posted = 0, memory_puts = 0;
    side.until(
        [&] {
            side.require(wrong.empty(), wrong);
            std::erase_if(acks_due, [&](uint32_t k) {
                return side.put(side.by_value("", 0, numbered(their_acks, k))) == Post::accepted;
            });
            for (uint32_t burst = next() % 8; burst > 0 && posted < count; burst--) {
                // A slot is free when its source was delivered and its bytes were read.
                const uint32_t k = posted;
                const bool source_busy =
                    !is_value(k) && side.delivered.size() + slot_count <= memory_puts;
                if (source_busy || !post(k)) {
                    break;
                }
                memory_puts += !is_value(k);
                posted++;
            }
            return posted == count && arrived == count && side.delivered.size() == memory_puts &&
                   acks_due.empty();
        },
        "the mixture");
    for (const auto& [cookie, times] : side.delivered) {
        side.require(times == 1, "delivered once");
    }
    side.meet_driving();
    side.wire().conceal(from);
    side.wire().conceal(into);
}

}  // namespace

TEST_CASE("a wire that nobody reads says again, and loses nothing") {
    every_wire(flood);
}

TEST_CASE("large puts and values in both directions at once") {
    every_wire([](Side& side) {
        side.connect();
        both_ways(side, MemoryKind::own);
        both_ways(side, MemoryKind::library);
    });
}

TEST_CASE("a put of many slices lands whole") {
    every_wire([](Side& side) {
        side.connect();
        one_large(side, MemoryKind::own, MemoryKind::own);
        if (!side.faulty()) {
            one_large(side, MemoryKind::library, MemoryKind::own);
            one_large(side, MemoryKind::own, MemoryKind::library);
        }
    });
}

TEST_CASE("a thousand regions, opened and closed twice") {
    every_wire(many_regions);
}

TEST_CASE("nothing lands in concealed memory") {
    every_wire(
        [](Side& side) {
            side.connect();
            conceal_race(side, MemoryKind::own);
            conceal_race(side, MemoryKind::library);
        },
        [](const WireCase& wire_case) { return !wire_case.network; });
}

TEST_CASE("ten thousand random operations arrive with their own bytes") {
    every_wire([](Side& side) { Mixer(side, side.faulty() ? 2'000 : 10'000).run(); });
}

}  // namespace weft::test
