#include "src/comm/board_memory.h"

#include "src/base/log.h"
#include "transports/memory.h"

namespace weft {

Result<std::shared_ptr<BoardMemory>> BoardMemory::create(std::shared_ptr<gpu::Seat> seat,
                                                         const BoardLayout& layout,
                                                         uint64_t head_bytes) {
    // Shared: by the ranks of the process.
    std::shared_ptr<BoardMemory> made(new BoardMemory(std::move(seat), head_bytes));
    TRY(made->allocate(layout));
    return made;
}

Result<void> BoardMemory::allocate(const BoardLayout& layout) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    TRY(gpu::driver_check(
        cuda, cuda.cuMemAlloc(&board_, BoardLayout::bytes()),
        format("allocating %llu bytes on %s", static_cast<unsigned long long>(BoardLayout::bytes()),
               seat_->facts().name.c_str())));
    const uint64_t bytes = head_bytes_ + layout.word_count() * sizeof(DeviceWord);
    words_ = static_cast<char*>(TRY(shared_alloc(bytes)));
    for (uint32_t peer = 0; peer < layout.ranks(); peer++) {
        for (uint32_t slot = 0; slot < BoardLayout::slots; slot++) {
            words()[layout.left(slot, peer)].value = 1;
        }
        for (uint32_t half = 0; half < BoardLayout::halves; half++) {
            words()[layout.taken(peer, half)].value = 1;
        }
    }
    TRY(gpu::driver_check(
        cuda,
        cuda.cuMemHostRegister(words_, bytes,
                               gpu::host_alloc_flag::portable | gpu::host_alloc_flag::mapped),
        format("pinning %llu bytes of host memory for %s (check ulimit -l)",
               static_cast<unsigned long long>(bytes), seat_->facts().name.c_str())));
    pinned_ = true;
    return {};
}

BoardMemory::~BoardMemory() {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (guard.ok()) {  // else the program has reset its device, and with it all of this
        if (pinned_) {
            cuda.cuMemHostUnregister(words_);
        }
        if (board_ != 0) {
            cuda.cuMemFree(board_);
        }
    }
    if (words_ != nullptr) {
        (void)shared_free(words_);
    }
}

void BoardTable::add(uint64_t group, uint32_t rank, const std::shared_ptr<BoardMemory>& memory) {
    const std::lock_guard lock(mutex_);
    std::erase_if(boards_, [](const auto& one) { return one.second.expired(); });
    boards_[{group, rank}] = memory;
}

std::shared_ptr<BoardMemory> BoardTable::find(uint64_t group, uint32_t rank) {
    const std::lock_guard lock(mutex_);
    const auto found = boards_.find({group, rank});
    return found != boards_.end() ? found->second.lock() : nullptr;
}

}  // namespace weft
