// Every fast kernel this CPU can run, against the plain one, bit for bit (a NaN is a NaN: which of
// two NaN operands an addition hands on is the compiler's choice).
#include "src/reduce/kernels.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "tests/catch.h"

using namespace weft;

namespace {

using Bytes = std::vector<uint8_t>;

std::vector<const Kernels*> fast_kernels() {
    std::vector<const Kernels*> list;
#ifdef __x86_64__
    for (const Kernels* kernels : {kernels_avx2(), kernels_avx512()}) {
        if (kernels) {
            list.push_back(kernels);
        }
    }
#endif
    return list;
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

// Empty if equal, else where not.
std::string difference(DataType type, const uint8_t* got, const uint8_t* want, size_t count) {
    const size_t size = size_of(type);
    if (std::memcmp(got, want, count * size) == 0) {
        return {};
    }
    for (size_t i = 0; i < count; ++i) {
        const uint8_t* a = got + i * size;
        const uint8_t* b = want + i * size;
        if (std::memcmp(a, b, size) != 0 && !(is_nan(type, a) && is_nan(type, b))) {
            return std::string(to_string(type)) + " element " + std::to_string(i);
        }
    }
    return {};
}

// Half of the elements are any bits at all: NaN, infinities and subnormals in plenty. The others
// are close to one, so that sums stay finite and roundings meet ties.
void fill(Bytes& bytes, DataType type, std::mt19937_64& random) {
    const size_t size = size_of(type);
    for (size_t at = 0; at + size <= bytes.size(); at += size) {
        const uint64_t bits = random();
        std::memcpy(bytes.data() + at, &bits, size);
        if (!is_float(type) || (bits >> 60) % 2 == 0) {
            continue;
        }
        const double value = std::ldexp(static_cast<double>(bits >> 40), -24) - 0.5;
        const Scalar scalar = scalar_from_double(type, value);
        std::memcpy(bytes.data() + at, scalar.bytes, size);
    }
}

struct Inputs {
    Inputs(DataType type, int n, size_t count, size_t offset, uint64_t seed) {
        std::mt19937_64 random(seed);
        for (int s = 0; s < n; ++s) {
            // Each source has a misalignment of its own, not even that of the element.
            const size_t shift = (offset + static_cast<size_t>(s) * 3) % 64;
            memory.emplace_back(count * size_of(type) + shift);
            fill(memory.back(), type, random);
            pointers.push_back(memory.back().data() + shift);
        }
    }
    std::vector<Bytes> memory;
    std::vector<const void*> pointers;
};

std::string compare_reduce(const Kernels& kernels, DataType type, RedOp op, int n, size_t count,
                           size_t offset, bool stream) {
    const size_t bytes = count * size_of(type);
    Inputs inputs(type, n, count, offset, count * 131 + static_cast<size_t>(n));
    Bytes want(bytes + 1);
    plain::reduce_many(want.data(), inputs.pointers.data(), n, count, type, op);
    constexpr uint8_t guard = 0xa5;
    Bytes got(bytes + offset + 64, guard);
    const auto run = kernels.reduce[static_cast<size_t>(type)][static_cast<size_t>(op)];
    run(got.data() + offset, inputs.pointers.data(), n, count, stream);
    for (size_t i = 0; i < got.size(); ++i) {
        if ((i < offset || i >= offset + bytes) && got[i] != guard) {
            return "wrote outside";
        }
    }
    std::string bad = difference(type, got.data() + offset, want.data(), count);
    // In place over the last source.
    auto* last = const_cast<void*>(inputs.pointers.back());
    run(last, inputs.pointers.data(), n, count, stream);
    if (bad.empty()) {
        bad = difference(type, static_cast<uint8_t*>(last), want.data(), count);
    }
    return bad.empty() ? bad : std::string(kernels.name) + " " + to_string(op) + " " + bad;
}

template <class Visit>
void for_all_kernels(Visit visit) {
    for (const Kernels* kernels : fast_kernels()) {
        for (int type = 0; type < data_type_count; ++type) {
            for (int op = 0; op < 4; ++op) {
                visit(*kernels, static_cast<DataType>(type), static_cast<RedOp>(op));
            }
        }
    }
}

}  // namespace

TEST_CASE("small counts of every type and operation, one to eight sources") {
    for_all_kernels([](const Kernels& kernels, DataType type, RedOp op) {
        for (int n = 2; n <= 8; ++n) {
            for (size_t count = 0; count <= 70; ++count) {
                const size_t offset = (count * 7 + static_cast<size_t>(n)) % 64;
                const std::string bad =
                    compare_reduce(kernels, type, op, n, count, offset, count % 2 == 1);
                if (!bad.empty()) {
                    FAIL(bad << " n " << n << " count " << count);
                }
            }
        }
    });
}

TEST_CASE("large odd counts, aligned and not, through the caches and around them") {
    for_all_kernels([](const Kernels& kernels, DataType type, RedOp op) {
        for (const size_t count : {4099u, 20011u}) {
            for (const size_t offset : {0u, 1u, 8u, 31u}) {
                for (const bool stream : {false, true}) {
                    const int n = offset == 8 ? 3 : 2;
                    const std::string bad =
                        compare_reduce(kernels, type, op, n, count, offset, stream);
                    if (!bad.empty()) {
                        FAIL(bad << " count " << count << " offset " << offset);
                    }
                }
            }
        }
    });
}

TEST_CASE("every pair of 8-bit codes, and every 16-bit code with special partners") {
    for_all_kernels([](const Kernels& kernels, DataType type, RedOp op) {
        if (!is_float(type) || size_of(type) > 2) {
            return;
        }
        const bool small = size_of(type) == 1;
        std::vector<uint16_t> partners;
        for (unsigned code = 0; code < (small ? 256u : 0u); ++code) {
            partners.push_back(static_cast<uint16_t>(code));
        }
        if (!small) {
            partners = {0,      1,      0x8001, 0x03ff, 0x3c00, 0x3f80,
                        0x7bff, 0x7c00, 0x7f80, 0xff80, 0x7fff};
        }
        const size_t codes = small ? 256 : 65536;
        Bytes a(codes * size_of(type));
        Bytes b(a.size());
        Bytes want(a.size());
        Bytes got(a.size());
        for (const uint16_t partner : partners) {
            for (size_t code = 0; code < codes; ++code) {
                std::memcpy(a.data() + code * size_of(type), &code, size_of(type));
                std::memcpy(b.data() + code * size_of(type), &partner, size_of(type));
            }
            const void* const src[] = {a.data(), b.data()};
            plain::reduce_many(want.data(), src, 2, codes, type, op);
            kernels.reduce[static_cast<size_t>(type)][static_cast<size_t>(op)](got.data(), src, 2,
                                                                               codes, false);
            const std::string bad = difference(type, got.data(), want.data(), codes);
            if (!bad.empty()) {
                FAIL(kernels.name << " " << to_string(op) << " " << bad << " partner " << partner);
            }
        }
    });
}

TEST_CASE("scaling") {
    for (const Kernels* kernels : fast_kernels()) {
        for (int index = 0; index < data_type_count; ++index) {
            const auto type = static_cast<DataType>(index);
            for (size_t count = 0; count <= 70; ++count) {
                Inputs inputs(type, 1, count, count % 5, count);
                const Scalar scalar = scalar_from_double(type, is_float(type) ? 1.0 / 3 : 3);
                Bytes want(count * size_of(type) + 1);
                Bytes got(want.size());
                plain::scale(want.data(), inputs.pointers[0], count, type, scalar);
                kernels->scale[index](got.data(), inputs.pointers[0], count, scalar.bytes);
                const std::string bad = difference(type, got.data(), want.data(), count);
                if (!bad.empty()) {
                    FAIL(kernels->name << " scale " << bad << " count " << count);
                }
            }
        }
    }
}

TEST_CASE("streaming copies") {
    for (const Kernels* kernels : fast_kernels()) {
        for (const size_t bytes : {1u, 63u, 64u, 65u, 4096u, 300001u}) {
            for (const size_t offset : {0u, 1u, 33u}) {
                Inputs inputs(DataType::int8, 1, bytes, offset, bytes);
                Bytes got(bytes + offset + 1, 0xa5);
                kernels->copy_stream(got.data() + offset, inputs.pointers[0], bytes);
                REQUIRE(std::memcmp(got.data() + offset, inputs.pointers[0], bytes) == 0);
                REQUIRE(got.back() == 0xa5);
            }
        }
    }
}

TEST_CASE("the chosen kernels, over the streaming threshold") {
    const size_t count = stream_bytes_min / 4 + 17;
    Inputs inputs(DataType::float32, 3, count, 4, 1);
    Bytes want(count * 4);
    Bytes got(count * 4);
    plain::reduce_many(want.data(), inputs.pointers.data(), 3, count, DataType::float32,
                       RedOp::sum);
    reduce_many(got.data(), inputs.pointers.data(), 3, count, DataType::float32, RedOp::sum, true);
    CHECK(difference(DataType::float32, got.data(), want.data(), count).empty());
    reduce_many(got.data(), inputs.pointers.data(), 1, count, DataType::float32, RedOp::sum, true);
    CHECK(std::memcmp(got.data(), inputs.pointers[0], got.size()) == 0);
    CHECK(std::string(reduce_kernel_name()).size() >= 4);
}

TEST_CASE("nothing to do needs no memory") {
    const void* const none[] = {nullptr, nullptr};
    for (const int n : {1, 2}) {
        reduce_many(nullptr, none, n, 0, DataType::float32, RedOp::sum, true);
        plain::reduce_many(nullptr, none, n, 0, DataType::float32, RedOp::sum);
    }
    scale(nullptr, nullptr, 0, DataType::float16, Scalar{});
    copy_bytes(nullptr, nullptr, 0, true);
}
