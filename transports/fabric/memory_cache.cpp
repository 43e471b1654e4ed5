#include "transports/fabric/memory_cache.h"

#include <cerrno>

namespace weft::fabric {

namespace {

// What the kernel, the device or the provider answers when there is no room for more.
bool lacks_room(const Error& error) {
    return error.sys == ENOMEM || error.sys == EAGAIN || error.sys == ENOSPC;
}

MemoryRequest part_of(const MemoryRequest& whole, Span span) {
    MemoryRequest part = whole;
    part.address = span.base;
    part.bytes = span.bytes;
    part.dmabuf_offset += static_cast<uint64_t>(span.base - static_cast<std::byte*>(whole.address));
    return part;
}

// For an operation that finds a range others have named: the descriptor of a dma-buf is gone by
// then, its address is not.
MemoryRequest request_of(const KnownRange& range) {
    const bool host = range.kind == MemoryKind::host;
    return {host ? MemoryKind::host : MemoryKind::cuda, range.base, range.bytes, range.device};
}

}  // namespace

MemoryCache::MemoryCache(const WindowLimits& windows, uint64_t kept_bytes_max)
    : windows_(windows),
      kept_bytes_max_(kept_bytes_max),
      watch_([this](uint64_t id) { range_ended(id); }) {
    ASSERT(windows.overlap < windows.bytes && windows.bytes % page_bytes == 0 &&
           windows.overlap % page_bytes == 0);
}

MemoryCache::~MemoryCache() = default;

Result<void> MemoryCache::hold(User& user, Span memory, Held* held) {
    const auto range = known_find(memory.base, memory.bytes);
    const Whole whole = range ? Whole{request_of(*range), range->id}
                              : Whole{{MemoryKind::host, memory.base, memory.bytes}, 0};
    return hold_windows(user, whole, memory, held);
}

Result<void> MemoryCache::hold_known(User& user, const Whole& whole, Held* held) {
    const Span all{static_cast<std::byte*>(whole.memory.address), whole.memory.bytes};
    return hold_windows(user, whole, all, held);
}

Result<void> MemoryCache::hold_windows(User& user, const Whole& whole, Span memory, Held* held) {
    const Span all{static_cast<std::byte*>(whole.memory.address), whole.memory.bytes};
    held->grid = WindowGrid(all, windows_);
    held->first = held->grid.index(memory.base);
    const uint64_t last =
        memory.bytes == 0 ? held->first : held->grid.index(memory.base + memory.bytes - 1);
    for (uint64_t index = held->first; index <= last; index++) {
        const Span span = held->grid.span(index);
        auto window = whole.range != 0 ? hold_kept(user, whole, span, index)
                                       : registered(user, part_of(whole.memory, span));
        if (!window.ok()) {
            let_go(*held, false);
            return std::move(window).error();
        }
        held->windows.push_back(std::move(window).value());
    }
    return {};
}

// With lock_ held; holds it.
std::shared_ptr<MemoryCache::Window> MemoryCache::find_kept(const Key& key) {
    const auto found = kept_.find(key);
    if (found == kept_.end()) {
        return nullptr;
    }
    Window& window = *found->second;
    if (window.holders++ == 0) {
        idle_.erase(window.idle);
    }
    window.user->hits.fetch_add(1, std::memory_order_relaxed);
    return found->second;
}

// While it registers the lock is free: another wire of the user may do the same, and its range may
// end.
Result<std::shared_ptr<MemoryCache::Window>> MemoryCache::hold_kept(User& user, const Whole& whole,
                                                                    Span span, uint64_t index) {
    const Key key{&user, whole.range, index};
    {
        const std::lock_guard lock(lock_);
        if (auto found = find_kept(key)) {
            return found;
        }
    }
    auto window = TRY(registered(user, part_of(whole.memory, span)));
    window->range = whole.range;
    window->index = index;
    const std::lock_guard lock(lock_);
    if (auto found = find_kept(key)) {
        close(*window);
        return found;
    }
    if (known_exists(whole.range)) {
        window->kept = true;
        kept_.emplace(key, window);
        kept_bytes_ += window->span.bytes;
        budget_keep();
    }
    return window;
}

Result<std::shared_ptr<MemoryCache::Window>> MemoryCache::registered(User& user,
                                                                     const MemoryRequest& part) {
    auto window = std::make_shared<Window>();
    window->span = {static_cast<std::byte*>(part.address), part.bytes};
    window->user = &user;
    window->holders = 1;
    auto done = register_on_rails(*window, part);
    while (!done.ok() && lacks_room(done.error())) {
        {
            const std::lock_guard lock(lock_);
            if (!idle_evict()) {
                break;
            }
        }
        done = register_on_rails(*window, part);
    }
    if (!done.ok()) {
        const uint64_t before = registered_bytes_.load();
        const std::lock_guard lock(lock_);
        close(*window);
        return registration_refused(std::move(done).error(), part, before);
    }
    return window;
}

// Goes on where it was refused before.
Result<void> MemoryCache::register_on_rails(Window& window, const MemoryRequest& part) {
    for (size_t i = window.on_rails.size(); i < window.user->rails.size(); i++) {
        Rail& rail = *window.user->rails[i];
        const std::lock_guard guard(rail.lock());
        window.on_rails.push_back(TRY(rail.memory_register(part, memory_access(part.kind))));
        window.user->registrations.fetch_add(1, std::memory_order_relaxed);
        registered_bytes_.fetch_add(window.span.bytes, std::memory_order_relaxed);
    }
    return {};
}

void MemoryCache::let_go(Held& held, bool revoke) {
    const std::lock_guard lock(lock_);
    for (const auto& window : held.windows) {
        let_go(*window, revoke);
    }
    held.windows.clear();
    budget_keep();
}

void MemoryCache::let_go(Window& window, bool revoke) {
    if (revoke) {
        retire(window);
    }
    if (--window.holders > 0) {
        return;
    }
    if (window.kept) {
        window.idle = idle_.insert(idle_.end(), &window);
    } else {
        close(window);
    }
}

void MemoryCache::leave(User& user) {
    const std::lock_guard lock(lock_);
    for (auto next = kept_.lower_bound(Key{&user, 0, 0});
         next != kept_.end() && next->first.user == &user;) {
        const std::shared_ptr<Window> window = (next++)->second;
        ASSERT(window->holders == 0);
        idle_.erase(window->idle);
        retire(*window);
        close(*window);
    }
}

uint64_t MemoryCache::kept_bytes() const {
    const std::lock_guard lock(lock_);
    return kept_bytes_;
}

// The memory is the caller's until this returns, so what nobody holds is closed by then.
void MemoryCache::range_ended(uint64_t id) {
    const std::lock_guard lock(lock_);
    for (auto next = kept_.begin(); next != kept_.end();) {
        const std::shared_ptr<Window> window = (next++)->second;
        if (window->range != id) {
            continue;
        }
        if (window->holders == 0) {
            idle_.erase(window->idle);
        }
        retire(*window);
        if (window->holders == 0) {
            close(*window);
        }
    }
}

bool MemoryCache::idle_evict() {
    if (idle_.empty()) {
        return false;
    }
    const std::shared_ptr<Window> window = kept_.at(key_of(*idle_.front()));
    idle_.pop_front();
    retire(*window);
    close(*window);
    return true;
}

void MemoryCache::budget_keep() {
    while (kept_bytes_ > kept_bytes_max_ && idle_evict()) {
    }
}

void MemoryCache::retire(Window& window) {
    if (window.kept) {
        window.kept = false;
        kept_bytes_ -= window.span.bytes;
        kept_.erase(key_of(window));
    }
}

void MemoryCache::close(Window& window) {
    for (size_t i = 0; i < window.on_rails.size(); i++) {
        const std::lock_guard guard(window.user->rails[i]->lock());
        window.on_rails[i].reset();
        window.user->deregistrations.fetch_add(1, std::memory_order_relaxed);
        registered_bytes_.fetch_sub(window.span.bytes, std::memory_order_relaxed);
    }
    window.on_rails.clear();
}

}  // namespace weft::fabric
