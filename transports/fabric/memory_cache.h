// Which memory is registered with the NICs, and for how long. Known memory (transports/memory.h:
// ncclMemAlloc, ncclCommRegister, the library's pools) is registered window by window when a wire
// first uses it and stays so while the wire lives, the range exists and the budget holds; all other
// memory for as long as somebody holds it. What is idle longest goes first.
//
// A wire shares its registrations with no other, so that one communicator can close its peers'
// access without touching the others'; but wires that were asked to have one User.
//
// Thread-safe. Takes rail locks: the
// caller holds none. Lifetime: rails before cache before users. Failure rule: a registration that
// is refused for want of room is tried again after idle ones went, then reported in one line with
// its size and the limits.
#pragma once

#include <atomic>
#include <compare>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "src/base/result.h"
#include "transports/fabric/rail.h"
#include "transports/fabric/windows.h"
#include "transports/memory.h"

namespace weft::fabric {

class MemoryCache {
  public:
    struct User {
        std::vector<Rail*> rails;  // the hub's
        // One for each rail a window is registered on.
        std::atomic<uint64_t> registrations{0}, deregistrations{0};
        std::atomic<uint64_t> hits{0};  // windows found registered
    };

    struct Window {
        Span span;
        std::vector<FidHandle<fid_mr>> on_rails;  // as the user's

      private:
        friend class MemoryCache;
        User* user = nullptr;
        uint64_t range = 0;  // 0: not known memory
        uint64_t index = 0;
        uint32_t holders = 0;
        bool kept = false;                  // can be found
        std::list<Window*>::iterator idle;  // where holders == 0
    };

    // The windows of one range of memory, held.
    struct Held {
        const Window& at(const void* address) const {
            return *windows[grid.index(address) - first];
        }
        WindowGrid grid;
        uint64_t first = 0;
        // Shared: a window that can be found no more lives until its last holder lets go.
        std::vector<std::shared_ptr<Window>> windows;
    };

    MemoryCache(const WindowLimits& windows, uint64_t kept_bytes_max);
    ~MemoryCache();

    // A known range as it is to be registered.
    struct Whole {
        MemoryRequest memory;
        uint64_t range = 0;  // 0: not known
    };

    Result<void> hold(User& user, Span memory, Held* held);
    // All of a known range, as its owner says, where it is not registered yet.
    Result<void> hold_known(User& user, const Whole& whole, Held* held);
    // `revoke`: peers may still write to it, and must not when this returns. Windows that other
    // holders of the user share stay until these let go too.
    void let_go(Held& held, bool revoke);
    void leave(User& user);  // that holds nothing any more
    uint64_t kept_bytes() const;

  private:
    struct Key {
        const User* user;
        uint64_t range, index;
        auto operator<=>(const Key&) const = default;
    };
    static Key key_of(const Window& window) { return {window.user, window.range, window.index}; }
    std::shared_ptr<Window> find_kept(const Key& key);
    Result<void> hold_windows(User& user, const Whole& whole, Span memory, Held* held);
    Result<std::shared_ptr<Window>> hold_kept(User& user, const Whole& whole, Span span,
                                              uint64_t index);
    Result<std::shared_ptr<Window>> registered(User& user, const MemoryRequest& part);
    Result<void> register_on_rails(Window& window, const MemoryRequest& part);
    void range_ended(uint64_t id);

    // With lock_ held:
    bool idle_evict();  // the oldest; false: nothing is idle
    void budget_keep();
    void retire(Window& window);  // can be found no more
    void close(Window& window);
    void let_go(Window& window, bool revoke);

    const WindowLimits windows_;
    const uint64_t kept_bytes_max_;
    mutable std::mutex lock_;
    std::map<Key, std::shared_ptr<Window>> kept_;
    std::list<Window*> idle_;  // of kept_, the one idle longest first
    uint64_t kept_bytes_ = 0;
    std::atomic<uint64_t> registered_bytes_{0};  // on all rails, known memory or not
    KnownWatch watch_;                           // last: it may call as soon as it is there
};

}  // namespace weft::fabric
