// Message buffers of one rail, registered once and used for both directions. Thread-safe. Grows by
// slabs with what is in flight and never shrinks. Lifetime: domain before pool before buffers.
// Failure rule: take() returns null when memory or registration is refused.
#pragma once

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "src/base/clock.h"
#include "transports/fabric/library.h"
#include "transports/fabric/message.h"

namespace weft::fabric {

// What a completion points back to: the provider's scratch words first, as mode FI_CONTEXT2 asks.
struct Op {
    fi_context2 context{};
    bool transmit = false;
};

class BufferPool;

struct Buffer : Op {
    std::byte* data = nullptr;  // message_bytes_max bytes
    void* descriptor = nullptr;
    BufferPool* pool = nullptr;
    bool posted = false;  // as a receive: the provider's until it completes
};

class BufferPool {
  public:
    // `local_keys`: the provider wants registered buffers (FI_MR_LOCAL).
    BufferPool(fid_domain* domain, fid_ep* bound_endpoint, bool local_keys)
        : domain_(domain), endpoint_(bound_endpoint), local_keys_(local_keys) {}
    // Null: none is free and no more can be had, see refusal(). The last `leave` are
    // not for this caller.
    Buffer* take(size_t leave = 0);
    void give(Buffer* buffer);
    // Those posted to an endpoint that is closed now come back.
    void posted_reclaim();
    int refusal() const { return refusal_; }  // errno of the last take() that returned null

  private:
    struct Slab {
        std::unique_ptr<std::byte[]> memory;
        std::unique_ptr<Buffer[]> buffers;
        FidHandle<fid_mr> registration;
    };
    bool may_grow() const;
    bool grow();
    bool slab_register(Slab& slab, size_t bytes);

    fid_domain* domain_;  // owned by the rail
    fid_ep* endpoint_;    // owned by the rail; null unless registrations bind to it
    bool local_keys_;
    std::mutex lock_;
    std::vector<Slab> slabs_;
    std::vector<Buffer*> free_;
    std::atomic<int> refusal_{0};
    Nanos refused_at_ = 0;  // 0: never; not asked again at once
};

struct BufferReturn {
    void operator()(Buffer* buffer) const { buffer->pool->give(buffer); }
};
using BufferPtr = std::unique_ptr<Buffer, BufferReturn>;

}  // namespace weft::fabric
