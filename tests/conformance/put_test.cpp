// Clauses about puts: by value, to memory, many, both ways, concealed.
#include <algorithm>
#include <cstring>
#include <thread>

#include "tests/catch.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/side.h"

namespace weft::test {

namespace {

std::vector<size_t> value_sizes(size_t limit) {
    std::vector<size_t> sizes = {0, 1, 7, 8, 47, 48, 49, 63, 64, 65, 100, 127, 128, 1000};
    for (size_t size = 1023; size < limit; size = size * 3 / 2 + 1) {
        sizes.push_back(size);
    }
    sizes.push_back(limit - 1);
    sizes.push_back(limit);
    std::erase_if(sizes, [&](size_t size) { return size > limit; });
    return sizes;
}

// One side sends, the other checks; then the other way round.
void values_one_way(Side& side, int sender) {
    const auto sizes = value_sizes(side.wire().caps().inline_bytes);
    const auto count = static_cast<uint32_t>(sizes.size());
    const uint32_t base = tokens_swap(side, 1);
    if (side.index == sender) {
        for (uint32_t i = 0; i < count; i++) {
            auto bytes = pattern(sizes[i], i);
            Put put = side.by_value(bytes.data(), bytes.size(), Imm{base, i, i & 0xf});
            put.notify = i % 2 == 0;
            put.cookie = i;
            side.put_must(put);
            std::ranges::fill(bytes, std::byte{0xee});  // copied before put returned
        }
        side.until([&] { return side.delivered.size() == (count + 1) / 2; }, "deliveries");
        for (const auto& [cookie, times] : side.delivered) {
            side.require(cookie % 2 == 0 && times == 1, "delivered once, and only where asked");
        }
    } else {
        side.until([&] { return side.arrivals.size() == count; }, "arrivals");
        for (const Arrival& arrival : side.arrivals) {
            const size_t size = sizes[arrival.imm.piece];
            side.require((arrival.by_value || size == 0) && arrival.value.size() == size &&
                             pattern_holds(reinterpret_cast<const std::byte*>(arrival.value.data()),
                                           size, arrival.imm.piece),
                         "a value of " + std::to_string(size) + " bytes arrives whole");
        }
    }
    side.meet_driving();
    side.forget();
}

struct Shapes {
    MemoryKind target, source;
};

// Puts of many sizes at many offsets into one region; what lies around stays.
void puts_one_way(Side& side, int sender, Shapes shapes) {
    constexpr size_t sizes[] = {0, 1, 3, 63, 64, 1000, 4095, 4096, 4097, 100'001, (1 << 20) + 3};
    constexpr size_t gap = 64 + 7;
    size_t total = gap;
    for (const size_t size : sizes) {
        total += size + gap;
    }
    const uint32_t base = tokens_swap(side, 1);
    Memory memory(side.index == sender ? shapes.source : shapes.target, total);
    std::fill_n(memory.data(), total, std::byte{0x55});
    const Region region = side.wire().expose(memory.data(), total).value();
    const size_t ref_offset = 13;
    const RemoteRef to = ref_swap(side, side.wire().ref(region, ref_offset, side.peer()));
    size_t at = gap;
    if (side.index == sender) {
        for (uint32_t i = 0; i < std::size(sizes); at += sizes[i++] + gap) {
            const auto bytes = pattern(sizes[i], i);
            std::copy(bytes.begin(), bytes.end(), memory.data() + at);
            Put put =
                side.to_memory(to, memory.data() + at, sizes[i], region, Imm{base, i, i & 0xf});
            put.offset = at - ref_offset;
            side.put_must(put);
        }
        side.until([&] { return side.delivered.size() == std::size(sizes); }, "deliveries");
        std::fill_n(memory.data(), total, std::byte{0xee});  // the source is ours again
    } else {
        side.until([&] { return side.arrivals.size() == std::size(sizes); }, "arrivals");
        const auto guard = [&](size_t from) {
            return std::all_of(memory.data() + from, memory.data() + from + gap,
                               [](std::byte b) { return b == std::byte{0x55}; });
        };
        side.require(guard(0), "nothing before the first put");
        for (uint32_t i = 0; i < std::size(sizes); at += sizes[i++] + gap) {
            side.require(pattern_holds(memory.data() + at, sizes[i], i) && guard(at + sizes[i]),
                         "a put of " + std::to_string(sizes[i]) + " bytes lands exactly");
        }
    }
    side.meet_driving();
    side.wire().conceal(region);
    side.forget();
}

}  // namespace

TEST_CASE("values of every size arrive whole, both ways") {
    every_wire([](Side& side) {
        side.require(side.wire().caps().inline_bytes >= 64, "64 bytes by value at least");
        side.connect();
        values_one_way(side, 0);
        values_one_way(side, 1);
    });
}

TEST_CASE("puts to memory land where they should, whatever memory it is") {
    for (const MemoryKind target : {MemoryKind::own, MemoryKind::library}) {
        for (const MemoryKind source : {MemoryKind::own, MemoryKind::library}) {
            every_wire([=](Side& side) {
                side.connect();
                puts_one_way(side, 0, {target, source});
                puts_one_way(side, 1, {target, source});
            });
        }
    }
}

}  // namespace weft::test
