// Every access to memory that another rank, the host or another lane can see goes through here: the
// only file of the device code that the two compilers read differently. nvcc makes PTX of it, the
// host compiler the stand-in's version over atomics and 8-byte moves.
//
// Rules, which a test reads in the PTX. Order comes from acquire loads and release stores at system
// scope and from the block's barrier, never from a fence by itself. Data that is not ordered by a
// word beside it (LL) is loaded and stored plainly, but never through the read-only path, for it
// changes under a running kernel. Nothing here reads, changes and writes back in one: host memory
// behind PCIe has no such operation. Payload moves as asm volatile, in the order it is written
// here, and so that no compiler keeps it in a register from before a barrier; its memory is touched
// by no C++ expression, which is why those carry no memory clobber.
//
// PTX: ISA 8.x, "Memory Consistency Model". A vector access is as many accesses as it has elements,
// in any order, so an LL word is one scalar of 64 bits. Thread rule: device code; each function is
// one thread's. Failure rule: a misaligned address traps, on the host too.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define WEFT_DEVICE_CODE __device__ __forceinline__
#else
#include <atomic>
#include <thread>
#define WEFT_DEVICE_CODE inline
#endif

namespace weft::gpu::device {

struct alignas(16) Vec16 {
    uint64_t low, high;
};

// How leaf loops go: several vectors of a thread under way together, one, or elements alone. It is
// the same work by other instructions; what goes wrong by one alone is told so.
enum class Loops : uint32_t { several, single, elements };

// Which thread of how many: leaf loops are right for every count from one.
struct Threads {
    uint32_t index;
    uint32_t count;
    Loops loops = Loops::several;
};

// The halves of an LL word: 32 bits of data and the flag that says which round they belong to.
WEFT_DEVICE_CODE uint64_t ll_pack(uint32_t data, uint32_t flag) {
    return static_cast<uint64_t>(flag) << 32 | data;
}

WEFT_DEVICE_CODE uint32_t ll_flag(uint64_t word) {
    return static_cast<uint32_t>(word >> 32);
}

WEFT_DEVICE_CODE uint32_t ll_data(uint64_t word) {
    return static_cast<uint32_t>(word);
}

#ifdef __CUDACC__

WEFT_DEVICE_CODE uint64_t global_address(const void* at) {
    return static_cast<uint64_t>(__cvta_generic_to_global(at));
}

WEFT_DEVICE_CODE uint64_t load_acquire(const uint64_t* at) {
    uint64_t value;
    asm volatile("ld.acquire.sys.global.u64 %0, [%1];"
                 : "=l"(value)
                 : "l"(global_address(at))
                 : "memory");
    return value;
}

WEFT_DEVICE_CODE void store_release(uint64_t* at, uint64_t value) {
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(global_address(at)), "l"(value)
                 : "memory");
}

// For words that order nothing: an abort flag, an LL word.
WEFT_DEVICE_CODE uint64_t load_relaxed(const uint64_t* at) {
    uint64_t value;
    asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(global_address(at)));
    return value;
}

WEFT_DEVICE_CODE void store_relaxed(uint64_t* at, uint64_t value) {
    asm volatile("st.relaxed.sys.global.u64 [%0], %1;" ::"l"(global_address(at)), "l"(value));
}

WEFT_DEVICE_CODE Vec16 load_vector(const void* at) {
    Vec16 value;
    asm volatile("ld.global.v2.u64 {%0, %1}, [%2];"
                 : "=l"(value.low), "=l"(value.high)
                 : "l"(global_address(at)));
    return value;
}

WEFT_DEVICE_CODE void store_vector(void* at, Vec16 value) {
    asm volatile("st.global.v2.u64 [%0], {%1, %2};" ::"l"(global_address(at)), "l"(value.low),
                 "l"(value.high));
}

// One element as its bits: uint8_t, uint16_t, uint32_t or uint64_t.
template <class Bits>
WEFT_DEVICE_CODE Bits load_element(const void* at) {
    const uint64_t from = global_address(at);
    if constexpr (sizeof(Bits) == 8) {
        uint64_t value;
        asm volatile("ld.global.u64 %0, [%1];" : "=l"(value) : "l"(from));
        return value;
    } else {
        uint32_t value;
        if constexpr (sizeof(Bits) == 4) {
            asm volatile("ld.global.u32 %0, [%1];" : "=r"(value) : "l"(from));
        } else if constexpr (sizeof(Bits) == 2) {
            asm volatile("ld.global.u16 %0, [%1];" : "=r"(value) : "l"(from));
        } else {
            asm volatile("ld.global.u8 %0, [%1];" : "=r"(value) : "l"(from));
        }
        return static_cast<Bits>(value);
    }
}

template <class Bits>
WEFT_DEVICE_CODE void store_element(void* at, Bits value) {
    const uint64_t to = global_address(at);
    if constexpr (sizeof(Bits) == 8) {
        asm volatile("st.global.u64 [%0], %1;" ::"l"(to), "l"(value));
    } else if constexpr (sizeof(Bits) == 4) {
        asm volatile("st.global.u32 [%0], %1;" ::"l"(to), "r"(value));
    } else if constexpr (sizeof(Bits) == 2) {
        asm volatile("st.global.u16 [%0], %1;" ::"l"(to), "r"(static_cast<uint32_t>(value)));
    } else {
        asm volatile("st.global.u8 [%0], %1;" ::"l"(to), "r"(static_cast<uint32_t>(value)));
    }
}

WEFT_DEVICE_CODE Threads block_threads() {
    return {threadIdx.x, blockDim.x};
}

WEFT_DEVICE_CODE uint32_t block_index() {
    return blockIdx.x;
}

// Between two looks at a word that others write: nothing on a device, where other blocks run
// anyway.
WEFT_DEVICE_CODE void poll_pause() {
}

// Every thread of the block comes here, and none goes on before the last; what they wrote before,
// all see after. `block` is the stand-in's.
WEFT_DEVICE_CODE void block_sync(void*) {
    __syncthreads();
}

// The same, and every thread is told whether any said true.
WEFT_DEVICE_CODE bool block_any(void*, bool value) {
    return __syncthreads_or(value ? 1 : 0) != 0;
}

#else

// What the hardware traps on: misaligned addresses, and those that no memory of the device has,
// which the stand-in driver knows.
inline void (*access_check)(const void* at, uint64_t bytes) = nullptr;
[[gnu::noinline]] inline void require_access(const void* at, uint64_t bytes) {
    if (access_check != nullptr) {
        access_check(at, bytes);
    }
    if (reinterpret_cast<uintptr_t>(at) % bytes != 0) {
        __builtin_trap();
    }
}

// Whether the high half of a vector moves first, which is as good as the other way.
inline bool (*vector_high_first)(bool stores) = nullptr;

inline uint64_t load_acquire(const uint64_t* at) {
    require_access(at, 8);
    return std::atomic_ref(*const_cast<uint64_t*>(at)).load(std::memory_order_acquire);
}

inline void store_release(uint64_t* at, uint64_t value) {
    require_access(at, 8);
    std::atomic_ref(*at).store(value, std::memory_order_release);
}

inline uint64_t load_relaxed(const uint64_t* at) {
    require_access(at, 8);
    return std::atomic_ref(*const_cast<uint64_t*>(at)).load(std::memory_order_relaxed);
}

inline void store_relaxed(uint64_t* at, uint64_t value) {
    require_access(at, 8);
    std::atomic_ref(*at).store(value, std::memory_order_relaxed);
}

template <class Bits>
inline Bits load_element(const void* at) {
    require_access(at, sizeof(Bits));
    Bits value;
    __builtin_memcpy(&value, at, sizeof(Bits));
    return value;
}

template <class Bits>
inline void store_element(void* at, Bits value) {
    require_access(at, sizeof(Bits));
    __builtin_memcpy(at, &value, sizeof(Bits));
}

inline Vec16 load_vector(const void* at) {
    require_access(at, 16);
    const char* from = static_cast<const char*>(at);
    if (vector_high_first != nullptr && vector_high_first(false)) {
        const auto high = load_element<uint64_t>(from + 8);
        return {load_element<uint64_t>(from), high};
    }
    return {load_element<uint64_t>(from), load_element<uint64_t>(from + 8)};
}

inline void store_vector(void* at, Vec16 value) {
    require_access(at, 16);
    char* to = static_cast<char*>(at);
    if (vector_high_first != nullptr && vector_high_first(true)) {
        store_element(to + 8, value.high);
        store_element(to, value.low);
        return;
    }
    store_element(to, value.low);
    store_element(to + 8, value.high);
}

// A block is a thread here, and there are fewer cores than blocks.
inline void poll_pause() {
    std::this_thread::yield();
}

// The barrier of a block that is made of host threads.
struct Block {
    bool (*any)(Block* block, bool value);
};

inline bool block_any(void* block, bool value) {
    auto* const own = static_cast<Block*>(block);
    return own->any(own, value);
}

inline void block_sync(void* block) {
    block_any(block, false);
}

#endif

WEFT_DEVICE_CODE uint64_t ll_load(const uint64_t* at) {
    return load_relaxed(at);
}

WEFT_DEVICE_CODE void ll_store(uint64_t* at, uint32_t data, uint32_t flag) {
    store_relaxed(at, ll_pack(data, flag));
}

}  // namespace weft::gpu::device
