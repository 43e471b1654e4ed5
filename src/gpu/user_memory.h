// A program's own device memory, reached by other processes of the host. Only what the program has
// named (ncclCommRegister, windows) is exported, because the library hears of its end. Plain
// memory (cuMemAlloc) goes as its legacy handle and an offset; mapped memory (cuMemMap) part by
// part, as descriptors, if it was made so that it can be. Pools, managed memory and the rest are
// refused, counted and logged once each: they go through staging.
//
// Both sides keep what they made, because the calls are slow and may wait for the device: never
// between a communicator's making and its end but when memory is registered and deregistered.
//
// Thread rule: thread-safe. Lifetime: the context is held by the owner for longer; a program
// deregisters memory before it frees it. Failure rule: Result; a refusal is Code::unsupported and
// breaks nothing.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "src/base/handle.h"
#include "src/gpu/user_note.h"

namespace weft::gpu {

// Why memory is not exported.
enum class UserRefusal : uint8_t { not_device, managed, other_device, pool, no_handle, parts };
inline constexpr size_t user_refusal_count = 6;

// One mapped part of it: while this exists the memory does, even if the program has let go of it,
// and the driver gives its handle to no other.
class UserChunk {
  public:
    UserChunk(const DevicePlace& at, MemoryHandle handle, uint64_t number)
        : at_(at), handle_(handle), number_(number) {}
    ~UserChunk();
    UserChunk(const UserChunk&) = delete;
    UserChunk& operator=(const UserChunk&) = delete;
    Result<void> describe(Address address);
    MemoryHandle handle() const { return handle_; }
    uint64_t number() const { return number_; }
    int descriptor() const { return descriptor_.get(); }

  private:
    const DevicePlace at_;
    const MemoryHandle handle_;
    const uint64_t number_;
    Fd descriptor_;
};

// A range that peers may be given.
struct UserExport {
    UserNote note;
    std::vector<std::shared_ptr<UserChunk>> chunks;  // shared by ranges that share a part

    // Of the parts, in their order; the caller's own.
    Result<std::vector<Fd>> descriptors() const;
};

class UserExports {
  public:
    static constexpr size_t kept_max = 256;

    explicit UserExports(const DevicePlace& at, size_t limit = kept_max) : at_(at), limit_(limit) {}
    UserExports(const UserExports&) = delete;
    UserExports& operator=(const UserExports&) = delete;

    // Shared: kept here until the range is forgotten, found changed, or out of use for longest.
    Result<std::shared_ptr<const UserExport>> get(Address address, uint64_t bytes);
    // Every range that shares an address with this one.
    void forget(Address address, uint64_t bytes);

    struct Counts {
        uint64_t made = 0, found = 0, changed = 0;
        std::array<uint64_t, user_refusal_count> refused{};
    };
    Counts counts() const;
    size_t kept() const;

  private:
    Result<UserExport> make(Address address, uint64_t bytes);
    Result<bool> unchanged(const UserExport& known) const;
    Error refuse(UserRefusal why, Address address, const std::string& text);
    Result<void> mapped_add(UserExport& made);
    Result<std::shared_ptr<UserChunk>> chunk_at(Address address);

    const DevicePlace at_;
    const size_t limit_;
    mutable std::mutex mutex_;
    std::list<std::shared_ptr<const UserExport>> kept_;  // the last used first
    std::map<MemoryHandle, std::weak_ptr<UserChunk>> chunks_;
    uint64_t next_chunk_ = 1;
    Counts counts_;
};

// A peer's range, seen from here.
struct UserImport {
    Address address = 0;
    uint64_t bytes = 0;
    std::shared_ptr<const ImportedMemory> memory;  // shared with the cache; null: our own memory
};

class UserImports {
  public:
    static constexpr size_t kept_max = 256;

    explicit UserImports(const DevicePlace& at, size_t limit = kept_max);
    UserImports(const UserImports&) = delete;
    UserImports& operator=(const UserImports&) = delete;

    // Whether get() will want descriptors: not for what is kept, or is our own.
    bool needs_descriptors(const UserNote& note) const;
    Result<UserImport> get(const UserNote& note, std::vector<Fd> descriptors);
    // Who had it uses it no more: closed, unless others do.
    void forget(const UserNote& note);
    size_t kept() const;

  private:
    struct Kept {
        UserNote note;
        std::string key;
        std::shared_ptr<const ImportedMemory> memory;
    };
    Result<void> own_reaches(const UserNote& note) const;
    std::list<Kept>::iterator find(const std::string& key) const;
    Result<void> changed_drop(const UserNote& note);
    Result<void> make_room(const UserNote& note);

    const DevicePlace at_;
    const size_t limit_;
    const std::string self_;
    mutable std::mutex mutex_;
    mutable std::list<Kept> kept_;  // the last used first
};

}  // namespace weft::gpu
