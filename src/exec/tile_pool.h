// Library memory that runs of a shard use again and again: scratch slots, scaled copies of inputs,
// and copies of user memory that is not worth registering for one call. Registered once, for it is
// known memory. Thread rule: thread-bound to the shard's driver. Lifetime: wires before pool.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "src/base/result.h"
#include "src/exec/memory_map.h"

namespace weft {

class TilePool {
  public:
    // Of copies of user memory: what does not fit is registered for the call instead.
    static constexpr uint64_t staged_bytes_max = 64u << 20;

    TilePool() = default;
    ~TilePool();
    TilePool(const TilePool&) = delete;
    TilePool& operator=(const TilePool&) = delete;

    // One range that only the active collective uses.
    Result<ExposedRange*> scratch(uint64_t bytes);
    // Taken until given back.
    Result<ExposedRange*> tile(uint64_t bytes);
    // The same for a copy of user memory; null where that would be too much memory.
    Result<ExposedRange*> tile_staged(uint64_t bytes);
    void give_back(ExposedRange* range);
    uint64_t tile_bytes() const { return tile_bytes_; }  // of all tiles, taken or not

  private:
    ExposedRange* find(uint64_t bytes);
    Result<ExposedRange*> add(uint64_t bytes);
    void free_drop(uint64_t bytes_max);

    ExposedRange scratch_;
    std::vector<std::unique_ptr<ExposedRange>> tiles_;
    std::vector<ExposedRange*> free_;  // of tiles_
    uint64_t tile_bytes_ = 0;
};

}  // namespace weft
