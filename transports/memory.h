// Memory whose lifetime the library owns: memfd-backed, so that local peers can map it
// (ncclMemAlloc on hosts, landing pools). Thread-safe. A range is never used again once freed: its
// pages go back at once, and a peer that still maps it reaches nobody's memory.
//
// Known memory is this and what ncclCommRegister names: the library hears of its end, so what is
// derived from it (registrations with NICs) may outlive an operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft {

struct SharedRange {
    void* base = nullptr;  // start of the allocation in this process
    size_t bytes = 0;
    int memfd = -1;   // borrowed
    uint64_t id = 0;  // never reused in this process
};

Result<void*> shared_alloc(size_t bytes);  // zeroed, page aligned
Result<void> shared_free(void* memory);    // invalid_argument if it is not the start of a range
std::optional<SharedRange> shared_find(const void* memory);  // the range that contains the address
std::optional<SharedRange> shared_get(uint64_t id);
Fd shared_dup(uint64_t id);  // a descriptor of its own to hand to a peer; none if the range is gone
size_t shared_bytes_in_use();

// What NICs must be told of memory. Nothing but a NIC or a GPU touches what is not the host's.
enum class MemoryKind : uint8_t { host, cuda, dmabuf };

struct MemoryRequest {
    MemoryKind kind = MemoryKind::host;
    void* address = nullptr;  // of a dma-buf: where its range is mapped, or the device's address
    size_t bytes = 0;
    int device = 0;              // cuda and dmabuf: the device's number in this process
    int dmabuf_fd = -1;          // dmabuf: borrowed for the call
    uint64_t dmabuf_offset = 0;  // of `address` in it
};

struct KnownRange {
    void* base = nullptr;
    size_t bytes = 0;
    uint64_t id = 0;  // never reused in this process
    MemoryKind kind = MemoryKind::host;
    int device = 0;
};

// The known range that holds all of `memory`, if one does.
std::optional<KnownRange> known_find(const void* memory, size_t bytes);
bool known_exists(uint64_t id);
// The caller's word that the memory stays until known_remove(). Equal ranges of one kind are one
// range, counted.
uint64_t known_add(void* base, size_t bytes, MemoryKind kind = MemoryKind::host, int device = 0);
void known_remove(uint64_t id);

// Hears of every known range that ends: after it cannot be found any more, before its pages go, on
// the thread that ends it. May look ranges up, must not end one. After destruction no call is under
// way.
class KnownWatch {
  public:
    explicit KnownWatch(std::function<void(uint64_t id)> ended);
    ~KnownWatch();
    KnownWatch(const KnownWatch&) = delete;
    KnownWatch& operator=(const KnownWatch&) = delete;

  private:
    friend void known_ended(uint64_t id);
    std::function<void(uint64_t id)> ended_;
};

}  // namespace weft
