// Counters of communicators that are gone, and the lines WEFT_STATS prints. Thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "src/exec/engine.h"
#include "transports/wire.h"

namespace weft {

struct RankStats {
    int32_t rank = 0;
    const void* comm = nullptr;  // the handle, as log lines print it
    Shard::Counters counters;
};

// `weft stats: rank R comm C ops=.. copied_bytes=.. ... to=PEER:BYTES,.. shm.put_bytes=..
// fabric.rails=BYTES,..`, one line, no newline.
std::string stats_line(const RankStats& stats);

class StatsRegistry {
  public:
    void keep(RankStats stats);
    std::vector<RankStats> kept() const;

  private:
    mutable std::mutex mutex_;
    std::vector<RankStats> kept_;
};

}  // namespace weft
