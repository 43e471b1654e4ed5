#include "transports/shm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "src/base/log.h"

namespace weft::shm {

namespace {

constexpr size_t page_bytes = 4096;
constexpr size_t regions_bytes = region_count_max * sizeof(RegionWord);
// The part of a block that every message touches; the rest of the byte area comes with use.
constexpr size_t populate_area_bytes = 64 * 1024;

struct BlockHead {
    alignas(ring_line_bytes) std::atomic<uint64_t> touching;  // by the peer
};
static_assert(sizeof(BlockHead) == ring_line_bytes);

size_t block_bytes(RingShape shape) {
    return (sizeof(BlockHead) + shape.bytes() + page_bytes - 1) / page_bytes * page_bytes;
}

size_t block_populate(RingShape shape) {
    return sizeof(BlockHead) + shape.bytes() - shape.area_bytes + populate_area_bytes;
}

Error refused(const char* what, size_t bytes) {
    const int sys = errno;
    return make_error(
        Code::system, Scope::peer,
        format("shared memory between ranks: %s of %zu bytes: %s", what, bytes, std::strerror(sys)),
        sys);
}

}  // namespace

Mapping::~Mapping() {
    if (at_ != nullptr) {
        ::munmap(at_, bytes_);
    }
}

Mapping::Mapping(Mapping&& other) noexcept
    : at_(std::exchange(other.at_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

Result<Mapping> Mapping::map(int memfd, size_t offset, size_t bytes, Access access,
                             size_t populate_bytes) {
    const int protection = access == Access::write ? PROT_READ | PROT_WRITE : PROT_READ;
    void* at = ::mmap(nullptr, bytes, protection, MAP_SHARED | MAP_NORESERVE, memfd,
                      static_cast<off_t>(offset));
    if (at == MAP_FAILED) {
        return refused("mmap", bytes);
    }
    if (populate_bytes > 0) {
        // Only saves page faults in the data path; kernels before 5.14 do not know it.
        const size_t rounded = (populate_bytes + page_bytes - 1) / page_bytes * page_bytes;
        ::madvise(at, rounded < bytes ? rounded : bytes,
                  access == Access::write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    }
    Mapping mapping;
    mapping.at_ = static_cast<std::byte*>(at);
    mapping.bytes_ = bytes;
    return mapping;
}

Result<void> memfd_check(int memfd, size_t bytes) {
    struct stat info {};
    const int seals = ::fcntl(memfd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || ::fstat(memfd, &info) != 0 ||
        info.st_size < 0 || static_cast<uint64_t>(info.st_size) < bytes) {
        return make_error(Code::remote, Scope::peer,
                          format("a peer sent a descriptor that is not a sealed memory file of "
                                 "%zu bytes",
                                 bytes));
    }
    return {};
}

Result<std::shared_ptr<Segment>> Segment::create(uint32_t rank_count) {
    const size_t bytes = regions_bytes + rank_count * block_bytes(ring_shape(rank_count));
    Fd memfd(::memfd_create("weft-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memfd || ::ftruncate(memfd.get(), static_cast<off_t>(bytes)) != 0 ||
        ::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return refused("memfd", bytes);
    }
    auto segment = std::make_shared<Segment>();
    segment->all_ = TRY(Mapping::map(memfd.get(), 0, bytes, Mapping::Access::write, 0));
    segment->memfd_ = std::move(memfd);
    segment->rank_count_ = rank_count;
    return segment;
}

RegionWord& Segment::region(uint32_t index) const {
    return reinterpret_cast<RegionWord*>(all_.at())[index];
}

RingView Segment::ring(uint32_t peer) const {
    const RingShape shape = ring_shape(rank_count_);
    std::byte* block = all_.at() + regions_bytes + peer * block_bytes(shape);
    return {block + sizeof(BlockHead), shape};
}

std::atomic<uint64_t>& Segment::touching(uint32_t peer) const {
    std::byte* block = all_.at() + regions_bytes + peer * block_bytes(ring_shape(rank_count_));
    return reinterpret_cast<BlockHead*>(block)->touching;
}

Result<std::shared_ptr<SegmentView>> SegmentView::open(int memfd, uint32_t rank_count,
                                                       uint32_t index) {
    const RingShape shape = ring_shape(rank_count);
    const size_t block = block_bytes(shape);
    TRY(memfd_check(memfd, regions_bytes + (size_t{index} + 1) * block));
    auto view = std::make_shared<SegmentView>();
    view->shape_ = shape;
    view->regions_ = TRY(Mapping::map(memfd, 0, regions_bytes, Mapping::Access::read, 0));
    view->block_ = TRY(Mapping::map(memfd, regions_bytes + index * block, block,
                                    Mapping::Access::write, block_populate(shape)));
    return view;
}

RingView SegmentView::ring() const {
    return {block_.at() + sizeof(BlockHead), shape_};
}

bool SegmentView::touch(uint64_t key) const {
    const auto index = static_cast<uint32_t>(key >> 32);
    const auto generation = static_cast<uint32_t>(key);
    if (index >= region_count_max || generation == 0) {
        return false;
    }
    auto& touching = reinterpret_cast<BlockHead*>(block_.at())->touching;
    const RegionWord& word = reinterpret_cast<const RegionWord*>(regions_.at())[index];
    touching.store(key, std::memory_order_seq_cst);
    if (word.generation.load(std::memory_order_seq_cst) == generation) {
        return true;
    }
    touching.store(0, std::memory_order_relaxed);
    return false;
}

void SegmentView::untouch() const {
    // Release: the copy is done before the owner may believe so.
    reinterpret_cast<BlockHead*>(block_.at())->touching.store(0, std::memory_order_release);
}

}  // namespace weft::shm
