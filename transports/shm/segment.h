// The shared memory of one shm wire: which of its regions are open, and per peer a ring from that
// peer to the wire. The owner maps it whole, a peer maps the region words and its own block.
//
// Region words are how memory is closed to others without asking them: who copies into or out of
// the owner's memory names the region in its block (`touching`), checks that the region's word
// still holds the generation it was told, copies one slice, and clears the name. Who closes clears
// the word and waits for those who name it. Sequentially consistent on both sides: either the
// toucher sees the word cleared or the closer sees the name.
//
// Thread rule: Segment by the owner's driver, SegmentView by the peer's. Lifetime: the mapping
// outlives the file descriptor and the other process.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/base/handle.h"
#include "src/base/result.h"
#include "transports/common/ring.h"

namespace weft::shm {

inline constexpr uint32_t region_count_max = 1u << 16;

struct RegionWord {
    std::atomic<uint32_t> generation;  // 0: closed
};

// A region as its peers name it. 0 is none.
constexpr uint64_t region_key(uint32_t index, uint32_t generation) {
    return uint64_t{index} << 32 | generation;
}

// A part of a memfd, mapped.
class Mapping {
  public:
    Mapping() = default;
    ~Mapping();
    Mapping(Mapping&& other) noexcept;
    Mapping& operator=(Mapping&& other) noexcept;

    enum class Access : uint8_t { read, write };
    static Result<Mapping> map(int memfd, size_t offset, size_t bytes, Access access,
                               size_t populate_bytes);
    std::byte* at() const { return at_; }
    size_t bytes() const { return bytes_; }

  private:
    std::byte* at_ = nullptr;
    size_t bytes_ = 0;
};

// Is it a memfd of at least `bytes` that nobody can shrink under a reader?
Result<void> memfd_check(int memfd, size_t bytes);

class Segment {
  public:
    static Result<std::shared_ptr<Segment>> create(uint32_t rank_count);

    int memfd() const { return memfd_.get(); }
    RegionWord& region(uint32_t index) const;
    RingView ring(uint32_t peer) const;
    std::atomic<uint64_t>& touching(uint32_t peer) const;

  private:
    Fd memfd_;
    Mapping all_;
    uint32_t rank_count_ = 0;
};

class SegmentView {
  public:
    // The segment of a peer with `rank_count` blocks, seen by the one whose block is `index`.
    static Result<std::shared_ptr<SegmentView>> open(int memfd, uint32_t rank_count,
                                                     uint32_t index);
    RingView ring() const;

    // Between a true touch() and untouch() the owner's region stays open.
    bool touch(uint64_t key) const;
    void untouch() const;

  private:
    Mapping regions_;
    Mapping block_;
    RingShape shape_;
};

}  // namespace weft::shm
