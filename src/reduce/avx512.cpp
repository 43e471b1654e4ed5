// The fast kernels for CPUs with AVX-512 F, BW, VL and DQ.
#include <immintrin.h>

#include "src/reduce/simd.h"

namespace weft {
namespace {

struct Avx512 {
    static constexpr size_t bytes = 64;
    static constexpr const char* name = "avx512";
    using Floats = VectorOf<float, bytes>::type;
    using Words = VectorOf<uint32_t, bytes>::type;

    static Words words_from_16(const char* from) {
        return reinterpret_cast<Words>(_mm512_cvtepu16_epi32(vector_load<__m256i>(from)));
    }

    static void words_to_16(char* to, Words value) {
        vector_store(to, _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(value)));
    }

    static Words words_from_8(const char* from) {
        return reinterpret_cast<Words>(_mm512_cvtepu8_epi32(vector_load<__m128i>(from)));
    }

    static void words_to_8(char* to, Words value) {
        vector_store(to, _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(value)));
    }

    static Floats floats_from_half(const char* from) {
        return reinterpret_cast<Floats>(_mm512_cvtph_ps(vector_load<__m256i>(from)));
    }

    static Floats floats_from_half_words(Words half) {
        return reinterpret_cast<Floats>(
            _mm512_cvtph_ps(_mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(half))));
    }

    static void floats_to_half(char* to, Floats value) {
        vector_store(to,
                     _mm512_cvtps_ph(reinterpret_cast<__m512>(value), _MM_FROUND_TO_NEAREST_INT));
    }

    static void stream_store(char* to, const char* from) {
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to), vector_load<__m512i>(from));
    }

    static void fence() { _mm_sfence(); }
};

constexpr Kernels table = Simd<Avx512>::table();

}  // namespace

const Kernels* kernels_avx512() {
    const bool usable = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return usable ? &table : nullptr;
}

}  // namespace weft
