// The leaf loops as the host compiler sees them, against src/reduce's plain kernels, bit for bit (a
// NaN is a NaN): every type and operation, any number of threads, counts, places. The threads of a
// block run one after the other, which is allowed because leaf loops do not wait.
#include "src/gpu/device/leaf.h"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "src/reduce/reduce.h"
#include "tests/catch.h"

using namespace weft;
namespace dev = weft::gpu::device;

namespace {

using Bytes = std::vector<uint8_t>;
constexpr uint8_t guard = 0xa5;

struct Leaves {
    void (*reduce[4])(dev::Threads, void*, const char* const*, int, uint64_t);
    void (*scale)(dev::Threads, void*, const void*, uint64_t, uint64_t);
    void (*divide)(dev::Threads, void*, uint64_t, uint64_t);
};

template <DataType type>
constexpr Leaves leaves_of() {
    return {{dev::leaf_reduce<type, RedOp::sum>, dev::leaf_reduce<type, RedOp::prod>,
             dev::leaf_reduce<type, RedOp::max>, dev::leaf_reduce<type, RedOp::min>},
            dev::leaf_scale<type>,
            [](dev::Threads threads, void* to, uint64_t count, uint64_t divisor) {
                if constexpr (!is_float(type)) {
                    dev::leaf_divide<type>(threads, to, count, divisor);
                }
            }};
}

template <size_t... index>
constexpr std::array<Leaves, sizeof...(index)> leaves_table(std::index_sequence<index...>) {
    return {leaves_of<static_cast<DataType>(index)>()...};
}

constexpr auto table = leaves_table(std::make_index_sequence<data_type_count>());

const Leaves& leaves(DataType type) {
    return table[static_cast<size_t>(type)];
}

// How all blocks run, until the next that says otherwise; and how many vectors they have touched.
dev::Loops loops = dev::Loops::several;
int vectors = 0;

template <class Run>
void run_block(uint32_t threads, Run run) {
    // Backwards: no thread may count on a lower one having been there.
    for (uint32_t index = threads; index-- > 0;) {
        run(dev::Threads{index, threads, loops});
    }
}

bool is_nan(DataType type, const uint8_t* element) {
    if (type == DataType::float32) {
        float value;
        std::memcpy(&value, element, sizeof(value));
        return std::isnan(value);
    }
    if (type == DataType::float64) {
        double value;
        std::memcpy(&value, element, sizeof(value));
        return std::isnan(value);
    }
    return false;
}

// Empty if equal and nothing around was touched, else what is wrong.
std::string difference(DataType type, const Bytes& got, size_t offset, const Bytes& want) {
    for (size_t i = 0; i < got.size(); ++i) {
        if ((i < offset || i >= offset + want.size()) && got[i] != guard) {
            return "wrote outside";
        }
    }
    const size_t size = size_of(type);
    for (size_t at = 0; at < want.size(); at += size) {
        const uint8_t* a = got.data() + offset + at;
        const uint8_t* b = want.data() + at;
        if (std::memcmp(a, b, size) != 0 && !(is_nan(type, a) && is_nan(type, b))) {
            return std::string(to_string(type)) + " element " + std::to_string(at / size);
        }
    }
    return {};
}

// Any bits at all in half of the elements, numbers close to one in the other half.
void fill(uint8_t* bytes, size_t count, DataType type, std::mt19937_64& random) {
    const size_t size = size_of(type);
    for (size_t i = 0; i < count; ++i) {
        const uint64_t bits = random();
        std::memcpy(bytes + i * size, &bits, size);
        if (is_float(type) && (bits >> 60) % 2 != 0) {
            const double value = std::ldexp(static_cast<double>(bits >> 40), -24) - 0.5;
            std::memcpy(bytes + i * size, scalar_from_double(type, value).bytes, size);
        }
    }
}

// Memory at a given distance from a 64-byte boundary, with guards on both sides.
struct Placed {
    Placed(size_t bytes, size_t distance, uint8_t around = guard) : memory(bytes + 256, around) {
        const auto at = reinterpret_cast<uintptr_t>(memory.data());
        offset = (64 - at % 64) + 64 + distance;
    }
    uint8_t* data() { return memory.data() + offset; }
    Bytes memory;
    size_t offset;
};

struct Case {
    DataType type;
    RedOp op;
    int n;
    size_t count;
    size_t to_place;
    size_t from_place;
    size_t place_step;  // from source to source
    uint32_t threads;
};

std::string compare_reduce(const Case& c) {
    const size_t size = size_of(c.type);
    const size_t bytes = c.count * size;
    std::mt19937_64 random(c.count * 977 + static_cast<uint64_t>(c.n));
    std::vector<Placed> inputs;
    std::vector<const char*> from;
    std::vector<const void*> from_plain;
    for (int s = 0; s < c.n; ++s) {
        inputs.emplace_back(bytes, (c.from_place + static_cast<size_t>(s) * c.place_step) % 64);
        fill(inputs.back().data(), c.count, c.type, random);
    }
    for (Placed& input : inputs) {
        from.push_back(reinterpret_cast<const char*>(input.data()));
        from_plain.push_back(input.data());
    }
    Bytes want(bytes);
    plain::reduce_many(want.data(), from_plain.data(), c.n, c.count, c.type, c.op);
    const auto leaf = leaves(c.type).reduce[static_cast<size_t>(c.op)];
    Placed got(bytes, c.to_place);
    run_block(c.threads,
              [&](dev::Threads threads) { leaf(threads, got.data(), from.data(), c.n, c.count); });
    std::string bad = difference(c.type, got.memory, got.offset, want);
    // In place over the last source.
    Placed& last = inputs.back();
    run_block(c.threads,
              [&](dev::Threads threads) { leaf(threads, last.data(), from.data(), c.n, c.count); });
    if (bad.empty()) {
        bad = difference(c.type, last.memory, last.offset, want);
    }
    return bad.empty() ? bad
                       : std::string(to_string(c.op)) + " " + bad + " n " + std::to_string(c.n) +
                             " count " + std::to_string(c.count) + " threads " +
                             std::to_string(c.threads) + " place " + std::to_string(c.to_place);
}

template <class Visit>
void for_all(Visit visit) {
    for (int type = 0; type < data_type_count; ++type) {
        for (int op = 0; op < 4; ++op) {
            visit(static_cast<DataType>(type), static_cast<RedOp>(op));
        }
    }
}

}  // namespace

TEST_CASE("reduce: small counts, one to eight threads, shared places, own places, broken places") {
    for_all([](DataType type, RedOp op) {
        const size_t size = size_of(type);
        for (size_t count = 0; count <= 150; count += count < 70 ? 1 : 9) {
            const auto threads = static_cast<uint32_t>(count % 8 + 1);
            const int n = static_cast<int>(count % 5) + 2;
            const size_t place = count * size % 64;
            for (const Case& c : {Case{type, op, n, count, place, place, 16, threads},
                                  Case{type, op, n, count, place, place + size, size, threads},
                                  Case{type, op, n, count, count % 64, 3, 5, threads}}) {
                const std::string bad = compare_reduce(c);
                if (!bad.empty()) {
                    FAIL(bad);
                }
            }
        }
    });
}

TEST_CASE("reduce: large odd counts reach every part of the loop") {
    for_all([](DataType type, RedOp op) {
        for (const uint32_t threads : {1u, 3u, 32u}) {
            const std::string bad =
                compare_reduce({type, op, 3, 4099, size_of(type), size_of(type), 16, threads});
            if (!bad.empty()) {
                FAIL(bad);
            }
        }
    });
}

TEST_CASE("every way of the loops has the same results, and touches the vectors that it says") {
    dev::vector_high_first = [](bool) {
        vectors++;
        return false;
    };
    int touched[3] = {};
    for (const dev::Loops way : {dev::Loops::several, dev::Loops::single, dev::Loops::elements}) {
        loops = way;
        vectors = 0;
        std::mt19937_64 random(1);
        for_all([&](DataType type, RedOp op) {
            const size_t size = size_of(type);
            for (const size_t place : {size_t{0}, size, size_t{3}}) {
                CHECK(compare_reduce({type, op, 3, 1037, place, place, 16, 3}) == "");
            }
            Placed from(5003, size), to(5003, size);
            fill(from.data(), 5003 / size, type, random);
            run_block(
                3, [&](dev::Threads part) { dev::leaf_copy(part, to.data(), from.data(), 5003); });
            const Bytes want(from.data(), from.data() + 5003);
            CHECK(difference(DataType::uint8, to.memory, to.offset, want) == "");
        });
        touched[static_cast<size_t>(way)] = vectors;
    }
    loops = dev::Loops::several;
    dev::vector_high_first = nullptr;
    CHECK(touched[0] > 1000);
    CHECK(touched[1] == touched[0]);
    CHECK(touched[2] == 0);
}

TEST_CASE("reduce: every pair of 8-bit codes") {
    for (const DataType type : {DataType::float8e4m3, DataType::float8e5m2, DataType::int8}) {
        for (int op = 0; op < 4; ++op) {
            Bytes a(65536);
            Bytes b(a.size());
            for (size_t i = 0; i < a.size(); ++i) {
                a[i] = static_cast<uint8_t>(i);
                b[i] = static_cast<uint8_t>(i >> 8);
            }
            const char* from[] = {reinterpret_cast<char*>(a.data()),
                                  reinterpret_cast<char*>(b.data())};
            const void* from_plain[] = {a.data(), b.data()};
            Bytes want(a.size());
            Bytes got(a.size());
            plain::reduce_many(want.data(), from_plain, 2, a.size(), type, static_cast<RedOp>(op));
            leaves(type).reduce[op]({0, 1}, got.data(), from, 2, a.size());
            CHECK(difference(type, got, 0, want) == "");
        }
    }
}

TEST_CASE("scale: every type, in place and out of place, any place") {
    for (int index = 0; index < data_type_count; ++index) {
        const auto type = static_cast<DataType>(index);
        const size_t size = size_of(type);
        std::mt19937_64 random(42);
        for (const double factor : {1.0 / 3, 3.0, -0.5}) {
            const Scalar scalar = scalar_from_double(type, factor);
            uint64_t bits = 0;
            std::memcpy(&bits, scalar.bytes, size);
            for (size_t count = 0; count <= 90; ++count) {
                const size_t place = count % 3 == 0 ? 0 : count % 3 == 1 ? size : 7;
                Placed from(count * size, place);
                Placed to(count * size, count % 2 == 0 ? place : 0);
                fill(from.data(), count, type, random);
                Bytes want(count * size);
                plain::scale(want.data(), from.data(), count, type, scalar);
                const auto threads = static_cast<uint32_t>(count % 8 + 1);
                run_block(threads, [&](dev::Threads part) {
                    leaves(type).scale(part, to.data(), from.data(), count, bits);
                });
                const std::string bad = difference(type, to.memory, to.offset, want);
                run_block(threads, [&](dev::Threads part) {
                    leaves(type).scale(part, from.data(), from.data(), count, bits);
                });
                const std::string in_place = difference(type, from.memory, from.offset, want);
                if (!bad.empty() || !in_place.empty()) {
                    FAIL(bad << " in place: " << in_place << " count " << count);
                }
            }
        }
    }
}

TEST_CASE("divide: whole numbers towards zero, their ends included") {
    for (const DataType type : {DataType::int8, DataType::uint8, DataType::int32, DataType::uint32,
                                DataType::int64, DataType::uint64}) {
        const size_t size = size_of(type);
        std::mt19937_64 random(7);
        for (const uint64_t divisor : {1u, 2u, 3u, 8u, 127u, 4096u}) {
            constexpr size_t count = 101;
            Placed to(count * size, size);
            fill(to.data(), count, type, random);
            uint64_t least = uint64_t{1} << (8 * size - 1);
            std::memcpy(to.data(), &least, size);
            Bytes want(to.data(), to.data() + count * size);
            divide_int(want.data(), count, type, divisor);
            run_block(5, [&](dev::Threads part) {
                leaves(type).divide(part, to.data(), count, divisor);
            });
            CHECK(difference(type, to.memory, to.offset, want) == "");
        }
    }
}

TEST_CASE("copy: any count and any two places, nothing around touched") {
    std::mt19937_64 random(1);
    for (size_t count = 0; count <= 700; count += count < 80 ? 1 : 37) {
        for (size_t places = 0; places < 17 * 17; ++places) {
            // What is copied from beyond the end must not look like what was there.
            Placed from(count, places / 17, 0x3c);
            Placed to(count, places % 17);
            fill(from.data(), count, DataType::uint8, random);
            run_block(static_cast<uint32_t>(places % 8 + 1), [&](dev::Threads part) {
                dev::leaf_copy(part, to.data(), from.data(), count);
            });
            const Bytes want(from.data(), from.data() + count);
            const std::string bad = difference(DataType::uint8, to.memory, to.offset, want);
            if (!bad.empty()) {
                FAIL(bad << " count " << count << " places " << places);
            }
        }
    }
}
