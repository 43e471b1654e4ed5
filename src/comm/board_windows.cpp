#include "src/comm/board_windows.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/comm/process.h"
#include "src/comm/window_note.h"

namespace weft {

// ---- one window

Result<WindowOffer> WindowOffer::make(gpu::Seat& seat, const WindowRange& range, bool exported) {
    WindowOffer offer;
    offer.range = range;
    offer.exported = TRY(seat.exports().get(range.address, range.bytes));
    WindowNote note{range.symmetric, offer.exported->note, {}};
    if (exported) {
        const std::shared_ptr<Handover> desk = TRY(Process::get().handover());
        std::vector<Fd> descriptors = TRY(offer.exported->descriptors());
        for (Fd& descriptor : descriptors) {
            offer.offers.push_back(desk->offer(std::move(descriptor)));
            note.tickets.push_back(offer.offers.back()->ticket());
        }
    }
    offer.note = note.encode();
    return offer;
}

BoardWindow::BoardWindow(std::shared_ptr<gpu::Seat> seat, int32_t rank, const WindowOffer& own)
    : seat_(std::move(seat)),
      range_(own.range),
      rank_(rank),
      exported_(own.exported),
      common_bytes_(own.range.bytes),
      all_symmetric_(own.range.symmetric) {
}

Result<std::shared_ptr<BoardWindow>> BoardWindow::make(std::shared_ptr<gpu::Seat> seat,
                                                       int32_t rank, const WindowOffer& own,
                                                       const std::vector<std::string>& notes,
                                                       Nanos deadline) {
    // Shared: with who asks about it.
    std::shared_ptr<BoardWindow> made(new BoardWindow(std::move(seat), rank, own));
    for (const std::string& note : notes) {
        TRY(made->reach(note, deadline));
    }
    return made;
}

// What the next rank has told.
Result<void> BoardWindow::reach(const std::string& note, Nanos deadline) {
    WindowNote theirs = TRY(WindowNote::decode(note));
    all_symmetric_ = all_symmetric_ && theirs.symmetric;
    common_bytes_ = std::min(common_bytes_, theirs.memory.bytes);
    std::vector<Fd> descriptors;
    if (seat_->imports().needs_descriptors(theirs.memory)) {
        for (const HandoverTicket& ticket : theirs.tickets) {
            descriptors.push_back(TRY(handover_ask(ticket, deadline)));
        }
    }
    const gpu::ContextGuard guard = TRY(gpu::ContextGuard::push(seat_->driver(), seat_->context()));
    peers_.push_back(TRY(seat_->imports().get(theirs.memory, std::move(descriptors))));
    notes_.push_back(std::move(theirs.memory));
    return {};
}

BoardWindow::~BoardWindow() {
    const gpu::RelaxedCapture relaxed(seat_->driver());
    const Result<gpu::ContextGuard> guard =
        gpu::ContextGuard::push(seat_->driver(), seat_->context());
    // Other windows may be of the same memory: they hold what they use.
    peers_.clear();
    for (const gpu::UserNote& note : notes_) {
        seat_->imports().forget(note);
    }
    seat_->exports().forget(range_.address, range_.bytes);
}

bool BoardWindow::holds(uint64_t address, uint64_t bytes) const {
    return all_symmetric_ && address >= range_.address && bytes <= common_bytes_ &&
           address - range_.address <= common_bytes_ - bytes;
}

// ---- those of a communicator

Result<WindowOffer> BoardWindows::offer(const WindowRange& range) {
    const gpu::RelaxedCapture relaxed(seat_->driver());
    return WindowOffer::make(*seat_, range, exported_);
}

void BoardWindows::withdraw(WindowOffer offer) {
    offer.exported.reset();
    seat_->exports().forget(offer.range.address, offer.range.bytes);
}

Result<std::shared_ptr<BoardWindow>> BoardWindows::map(const WindowOffer& own,
                                                       const std::vector<std::string>& notes,
                                                       Nanos deadline) const {
    const gpu::RelaxedCapture relaxed(seat_->driver());
    return BoardWindow::make(seat_, rank_, own, notes, deadline);
}

void BoardWindows::add(std::shared_ptr<BoardWindow> window) {
    const std::lock_guard lock(mutex_);
    windows_.push_back({++made_, std::move(window)});
}

std::shared_ptr<BoardWindow> BoardWindows::take(const void* window) {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find_if(
        windows_, [&](const Numbered& one) { return one.window.get() == window; });
    if (found == windows_.end()) {
        return nullptr;
    }
    std::shared_ptr<BoardWindow> taken = std::move(found->window);
    windows_.erase(found);
    return taken;
}

WindowPlace BoardWindows::find(uint64_t address, uint64_t bytes) const {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find_if(windows_, [&](const Numbered& one) {
        return one.number <= WindowPlace::number_max && one.window->holds(address, bytes);
    });
    if (found == windows_.end()) {
        return {};
    }
    return WindowPlace(found->number, address - found->window->range().address);
}

Result<uint64_t> BoardWindows::reach(const WindowPlace& place, int32_t rank) const {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(windows_, place.number(), &Numbered::number);
    if (found == windows_.end()) {
        return make_error(Code::invalid_usage, Scope::communicator,
                          "a window was deregistered while a call on its memory was made");
    }
    return found->window->address_of(rank) + place.offset();
}

// ---- those of the process

void WindowTable::add(const std::shared_ptr<BoardWindow>& window) {
    const std::lock_guard lock(mutex_);
    std::erase_if(windows_, [](const auto& one) { return one.expired(); });
    windows_.push_back(window);
}

std::shared_ptr<BoardWindow> WindowTable::find(const void* window) {
    const std::lock_guard lock(mutex_);
    for (const std::weak_ptr<BoardWindow>& one : windows_) {
        if (auto held = one.lock(); held != nullptr && held.get() == window) {
            return held;
        }
    }
    return nullptr;
}

}  // namespace weft
