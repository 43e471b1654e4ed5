// On which streams the ranks of one group in this process were launched last, because of two ranks
// on one stream the first would wait for the second, which waits for its turn behind it. Within one
// call that is well, for what is launched together takes turns.
//
// Thread rule: thread-safe; a rank claims while no other thread launches for it. Lifetime: shared
// by the device sides of the group. Failure rule: Result; a refused claim is none.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/gpu/driver_types.h"

namespace weft {

class StreamClaims {
  public:
    explicit StreamClaims(uint32_t rank_count) : ranks_(rank_count) {}

    // Before its first claim. A stream is one of its context's: some handles mean one in each.
    void join(uint32_t rank, gpu::Context context, std::string name);

    struct Last {
        bool launched = false;
        gpu::Stream stream = nullptr;
        uint64_t graph = 0;
    };
    struct Launch {
        uint32_t rank = 0;
        gpu::Stream stream = nullptr;
        uint64_t graph = 0;        // 0: of none
        uint64_t collectives = 0;  // that begin with it
    };
    // What is launched together: what each was before. Refused where a launch of another rank
    // stands before theirs on their stream and waits for it.
    Result<std::vector<Last>> claim(std::span<const Launch> launches);

    // Whom a rank's collectives wait for: those of this process that have made fewer.
    std::string waits_for(uint32_t rank);

  private:
    struct Rank {
        bool joined = false;
        gpu::Context context = nullptr;
        std::string name;
        Last last;
        uint64_t collectives = 0;  // so far
    };
    Result<void> check(const Launch& launch, std::span<const Launch> together) const;

    std::mutex mutex_;
    std::vector<Rank> ranks_;
};

}  // namespace weft
