#include "tests/fake_cuda/planted_kernels.h"

#include <cstring>

#include "src/gpu/device/leaf.h"
#include "tests/fake_cuda/block.h"

namespace weft::gpu {

namespace {

using device::load_acquire;
using device::load_relaxed;
using device::poll_pause;
using device::store_release;
using device::Threads;
using device::Vec16;

// False: stopped.
bool come(const PlantedLaunch& launch, const uint64_t* word, uint64_t value) {
    while (load_acquire(word) < value) {
        if (load_relaxed(launch.stop) != 0) {
            return false;
        }
        poll_pause();
    }
    return true;
}

void chain(const void* argument, uint32_t index, uint32_t) {
    const auto& launch = *static_cast<const PlantedLaunch*>(argument);
    store_release(launch.words + index, planted_begun);
    const bool well =
        !launch.waits || index == 0 || come(launch, launch.words + index - 1, planted_done);
    store_release(launch.words + index, well ? planted_done : planted_stopped);
}

// A number and its round, in halves of 32 bits that a flag shares as in an LL word.
Vec16 vector_of(PlantedFlags flags, uint32_t round) {
    const uint64_t flag = uint64_t{round} << 32;
    return {flags == PlantedFlags::high ? round : flag | round,
            flags == PlantedFlags::low ? round : flag | round};
}

bool has_come(PlantedFlags flags, Vec16 seen, uint32_t round) {
    return (flags == PlantedFlags::high || seen.low >> 32 == round) &&
           (flags == PlantedFlags::low || seen.high >> 32 == round);
}

// words[0]: rounds that block 1 has seen, words[1]: how many of them with half a vector of another.
void vectors_send(const PlantedLaunch& launch) {
    for (uint32_t round = 1; round <= launch.rounds; ++round) {
        const Vec16 value = vector_of(launch.flags, round);
        if (launch.bulk) {
            std::memcpy(launch.from, &value, sizeof(value));
            device::leaf_copy(Threads{0, 1}, launch.data, launch.from, sizeof(value));
        } else {
            device::store_vector(launch.data, value);
        }
        if (!come(launch, launch.words, round)) {
            return;
        }
    }
}

void vectors_take(const PlantedLaunch& launch) {
    for (uint32_t round = 1; round <= launch.rounds; ++round) {
        Vec16 seen{};
        while (!has_come(launch.flags, seen, round)) {
            if (load_relaxed(launch.stop) != 0) {
                return;
            }
            poll_pause();
            seen = device::load_vector(launch.data);
        }
        const bool wrong =
            static_cast<uint32_t>(seen.low) != round || static_cast<uint32_t>(seen.high) != round;
        store_release(launch.words + 1, load_relaxed(launch.words + 1) + (wrong ? 1 : 0));
        store_release(launch.words, round);
    }
}

void vector(const void* argument, uint32_t index, uint32_t) {
    const auto& launch = *static_cast<const PlantedLaunch*>(argument);
    index == 0 ? vectors_send(launch) : vectors_take(launch);
}

void misaligned(const void* argument, uint32_t, uint32_t) {
    const auto& launch = *static_cast<const PlantedLaunch*>(argument);
    device::store_vector(launch.data + 8, device::load_vector(launch.from));
}

void copy(const void* argument, uint32_t, uint32_t threads) {
    const auto& launch = *static_cast<const PlantedLaunch*>(argument);
    HostBlock block(threads);
    block.run([&](Threads thread, void*) {
        if (thread.index + 1 == thread.count) {
            device::leaf_copy(Threads{0, 1}, launch.data, launch.from, launch.bytes);
        }
    });
}

FunctionOpaque functions[] = {
    {"planted_chain", sizeof(PlantedLaunch), chain},
    {"planted_vector", sizeof(PlantedLaunch), vector},
    {"planted_misaligned", sizeof(PlantedLaunch), misaligned},
    {"planted_copy", sizeof(PlantedLaunch), copy},
};

}  // namespace

Function planted_find(const char* name) {
    for (FunctionOpaque& function : functions) {
        if (std::strcmp(function.name, name) == 0) {
            return &function;
        }
    }
    return nullptr;
}

}  // namespace weft::gpu
