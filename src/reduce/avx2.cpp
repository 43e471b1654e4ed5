// The fast kernels for CPUs with AVX2 and F16C.
#include <cpuid.h>
#include <immintrin.h>

#include "src/reduce/simd.h"

namespace weft {
namespace {

struct Avx2 {
    static constexpr size_t bytes = 32;
    static constexpr const char* name = "avx2";
    using Floats = VectorOf<float, bytes>::type;
    using Words = VectorOf<uint32_t, bytes>::type;

    static Words words_from_16(const char* from) {
        return reinterpret_cast<Words>(_mm256_cvtepu16_epi32(vector_load<__m128i>(from)));
    }

    static void words_to_16(char* to, Words value) {
        const __m256i packed =
            _mm256_packus_epi32(reinterpret_cast<__m256i>(value), reinterpret_cast<__m256i>(value));
        vector_store(to, _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08)));
    }

    static Words words_from_8(const char* from) {
        return reinterpret_cast<Words>(
            _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(vector_load<int64_t>(from))));
    }

    static void words_to_8(char* to, Words value) {
        char wide[16];
        words_to_16(wide, value);
        const __m128i packed = _mm_packus_epi16(vector_load<__m128i>(wide), _mm_setzero_si128());
        vector_store<int64_t>(to, _mm_cvtsi128_si64(packed));
    }

    static Floats floats_from_half(const char* from) {
        return reinterpret_cast<Floats>(_mm256_cvtph_ps(vector_load<__m128i>(from)));
    }

    static Floats floats_from_half_words(Words half) {
        char narrow[16];
        words_to_16(narrow, half);
        return floats_from_half(narrow);
    }

    static void floats_to_half(char* to, Floats value) {
        vector_store(to,
                     _mm256_cvtps_ph(reinterpret_cast<__m256>(value), _MM_FROUND_TO_NEAREST_INT));
    }

    static void stream_store(char* to, const char* from) {
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to), vector_load<__m256i>(from));
    }

    static void fence() { _mm_sfence(); }
};

constexpr Kernels table = Simd<Avx2>::table();

}  // namespace

const Kernels* kernels_avx2() {
    // clang 14 has no name for F16C here.
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
    const bool usable = __builtin_cpu_supports("avx2") && f16c;
    return usable ? &table : nullptr;
}

}  // namespace weft
