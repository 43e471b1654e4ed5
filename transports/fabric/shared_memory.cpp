// Registrations that the wires of the same rails share: who makes wires for a caller that registers
// its memory once, apart from any of them, and means all. What is kept is held, so an operation
// finds it in the cache.
#include "transports/fabric/hub.h"
#include "transports/memory.h"

namespace weft::fabric {

namespace {

class Kept final : public KeptMemory {
  public:
    Kept(MemoryCache& cache, uint64_t name, MemoryCache::Held held)
        : cache_(cache), name_(name), held_(std::move(held)) {}
    // Let go first: the end of the name then closes what nobody else holds.
    ~Kept() override {
        cache_.let_go(held_, false);
        known_remove(name_);
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

  private:
    MemoryCache& cache_;  // the hub's
    const uint64_t name_;
    MemoryCache::Held held_;
};

}  // namespace

MemoryCache::User& FabricHub::memory_shared(const std::vector<Rail*>& rails) {
    const std::lock_guard lock(shared_lock_);
    for (const auto& user : shared_) {
        if (user->rails == rails) {
            return *user;
        }
    }
    shared_.push_back(std::make_unique<MemoryCache::User>());
    shared_.back()->rails = rails;
    return *shared_.back();
}

Result<std::unique_ptr<KeptMemory>> FabricHub::keep(const MemoryRequest& memory,
                                                    const std::vector<uint32_t>& rails) {
    if (memory.address == nullptr || memory.bytes == 0) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("cannot register %zu bytes at %p: that is no memory", memory.bytes,
                                 memory.address));
    }
    const std::vector<Rail*> ridden = TRY(rails_for(rails));
    MemoryCache::User& user = memory_shared(ridden);
    const uint64_t name = known_add(memory.address, memory.bytes, memory.kind, memory.device);
    MemoryCache::Held held;
    auto done = memory_.hold_known(user, {memory, name}, &held);
    if (!done.ok()) {
        known_remove(name);
        return std::move(done).error();
    }
    return std::unique_ptr<KeptMemory>(new Kept(memory_, name, std::move(held)));
}

}  // namespace weft::fabric
