#include "src/comm/board_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "src/base/log.h"
#include "src/comm/process.h"
#include "transports/memory.h"

namespace weft {

Result<std::shared_ptr<BoardMemory>> BoardMemory::create(std::shared_ptr<gpu::Seat> seat,
                                                         const BoardLayout& layout, bool exported) {
    // Shared: by the ranks of the process.
    std::shared_ptr<BoardMemory> made(new BoardMemory(std::move(seat)));
    TRY(made->allocate(layout, exported));
    return made;
}

Result<void> BoardMemory::allocate(const BoardLayout& layout, bool exported) {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(cuda, seat_->context()));
    if (exported) {
        exported_ = TRY(gpu::ExportedMemory::create(seat_->place(), BoardLayout::bytes()));
        board_ = exported_->address();
    } else {
        TRY(gpu::driver_check(cuda, cuda.cuMemAlloc(&board_, BoardLayout::bytes()),
                              format("allocating %llu bytes on %s",
                                     static_cast<unsigned long long>(BoardLayout::bytes()),
                                     seat_->facts().name.c_str())));
    }
    TRY(words_make(layout));
    return exported ? offer() : Result<void>();
}

Result<void> BoardMemory::words_make(const BoardLayout& layout) {
    words_ = TRY(PinnedMemory::create(seat_, words_bytes(layout)));
    for (uint32_t peer = 0; peer < layout.ranks(); peer++) {
        for (uint32_t slot = 0; slot < BoardLayout::slots; slot++) {
            words()[layout.left(slot, peer)].value = 1;
        }
        for (uint32_t half = 0; half < BoardLayout::halves; half++) {
            words()[layout.taken(peer, half)].value = 1;
        }
    }
    return {};
}

// Memory with a legacy handle must not go before its peers are done with it, which nobody here
// knows: only what is given away as a descriptor will do.
Result<void> BoardMemory::offer() {
    if (exported_->kind() != gpu::ExportKind::descriptor) {
        return make_error(Code::unsupported, Scope::communicator,
                          format("%s has no memory that can be given to other processes as a "
                                 "descriptor",
                                 seat_->facts().name.c_str()));
    }
    const std::shared_ptr<Handover> desk = TRY(Process::get().handover());
    const gpu::ExportNote board = TRY(exported_->note());
    offers_.push_back(desk->offer(shared_dup(shared_find(words_->at())->id)));
    offers_.push_back(desk->offer(TRY(exported_->descriptor())));
    note_ = offers_[0]->ticket().encode() + offers_[1]->ticket().encode() + board.encode();
    return {};
}

BoardMemory::~BoardMemory() {
    offers_.clear();
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    // Else the program has reset its device, and with it all of this.
    if (guard.ok() && board_ != 0 && exported_ == nullptr) {
        cuda.cuMemFree(board_);
    }
    exported_.reset();
}

// ---- of other processes

Result<std::shared_ptr<BoardImport>> BoardImport::open(std::shared_ptr<gpu::Seat> seat,
                                                       const BoardLayout& layout,
                                                       const std::string& note, Nanos deadline) {
    ByteReader reader(note);
    const HandoverTicket words = TRY(HandoverTicket::read(reader));
    const HandoverTicket board = TRY(HandoverTicket::read(reader));
    const gpu::ExportNote what = TRY(gpu::ExportNote::read(reader));
    if (what.bytes < BoardLayout::bytes()) {
        return make_error(
            Code::internal, Scope::communicator,
            format("a board of %llu bytes, not %llu", static_cast<unsigned long long>(what.bytes),
                   static_cast<unsigned long long>(BoardLayout::bytes())));
    }
    // Shared: with what reads it.
    std::shared_ptr<BoardImport> made(
        new BoardImport(std::move(seat), BoardMemory::words_bytes(layout)));
    const gpu::ContextGuard guard =
        TRY(gpu::ContextGuard::push(made->seat_->driver(), made->seat_->context()));
    std::vector<gpu::ExportedPart> parts(1);
    parts[0].note = what;
    parts[0].descriptor = TRY(handover_ask(board, deadline));
    made->board_ = TRY(gpu::ImportedMemory::open(made->seat_->place(), std::move(parts)));
    const Fd descriptor = TRY(handover_ask(words, deadline));
    TRY(made->words_map(descriptor));
    return made;
}

Result<void> BoardImport::words_map(const Fd& descriptor) {
    struct stat found {};
    void* at = MAP_FAILED;
    if (fstat(descriptor.get(), &found) == 0 && static_cast<uint64_t>(found.st_size) >= bytes_) {
        at = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.get(), 0);
    }
    if (at == MAP_FAILED) {
        return make_error(
            Code::system, Scope::communicator,
            format("a peer's words of %llu bytes cannot be mapped: there are %lld",
                   static_cast<unsigned long long>(bytes_), static_cast<long long>(found.st_size)));
    }
    words_ = static_cast<char*>(at);
    TRY(host_pin(*seat_, words_, bytes_));
    pinned_ = true;
    return {};
}

BoardImport::~BoardImport() {
    const gpu::Driver& cuda = seat_->driver();
    const gpu::RelaxedCapture relaxed(cuda);
    const Result<gpu::ContextGuard> guard = gpu::ContextGuard::push(cuda, seat_->context());
    if (guard.ok() && pinned_) {
        cuda.cuMemHostUnregister(words_);
    }
    board_.reset();
    if (words_ != nullptr) {
        munmap(words_, bytes_);
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
