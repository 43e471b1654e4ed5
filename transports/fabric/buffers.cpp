#include "transports/fabric/buffers.h"

#include <cerrno>
#include <new>

namespace weft::fabric {

namespace {
constexpr size_t slab_buffers = 32;
constexpr Nanos grow_again_after = nanos_per_s;
constexpr size_t buffer_stride = (message_bytes_max + 63) / 64 * 64;
}  // namespace

Buffer* BufferPool::take(size_t leave) {
    std::lock_guard guard(lock_);
    if (free_.size() <= leave && (!may_grow() || !grow())) {
        return nullptr;
    }
    Buffer* buffer = free_.back();
    free_.pop_back();
    return buffer;
}

void BufferPool::give(Buffer* buffer) {
    std::lock_guard guard(lock_);
    free_.push_back(buffer);
}

void BufferPool::posted_reclaim() {
    std::lock_guard guard(lock_);
    for (Slab& slab : slabs_) {
        for (size_t i = 0; i < slab_buffers; ++i) {
            Buffer& buffer = slab.buffers[i];
            if (buffer.posted) {
                buffer.posted = false;
                free_.push_back(&buffer);
            }
        }
    }
}

bool BufferPool::slab_register(Slab& slab, size_t bytes) {
    fid_mr* registration = nullptr;
    int rc = fi_mr_reg(domain_, slab.memory.get(), bytes, FI_SEND | FI_RECV, 0, 0, 0, &registration,
                       nullptr);
    if (rc != 0) {
        refusal_ = -rc;
        LOG(info, net,
            "registering %zu bytes of message buffers failed: error %d; goes on with %zu", bytes,
            -rc, slabs_.size() * slab_buffers);
        return false;
    }
    slab.registration.reset(registration);
    if (endpoint_ == nullptr) {
        return true;
    }
    return fi_mr_bind(registration, &endpoint_->fid, 0) == 0 && fi_mr_enable(registration) == 0;
}

bool BufferPool::may_grow() const {
    return refused_at_ == 0 || clock_now() - refused_at_ > grow_again_after;
}

bool BufferPool::grow() {
    refusal_ = ENOMEM;
    refused_at_ = clock_now();
    Slab slab;
    slab.memory.reset(new (std::nothrow) std::byte[slab_buffers * buffer_stride]);
    slab.buffers.reset(new (std::nothrow) Buffer[slab_buffers]);
    if (!slab.memory || !slab.buffers ||
        (local_keys_ && !slab_register(slab, slab_buffers * buffer_stride))) {
        return false;
    }
    free_.reserve(free_.capacity() + slab_buffers);
    for (size_t i = 0; i < slab_buffers; ++i) {
        Buffer& buffer = slab.buffers[i];
        buffer.data = slab.memory.get() + i * buffer_stride;
        buffer.descriptor = slab.registration ? fi_mr_desc(slab.registration.get()) : nullptr;
        buffer.pool = this;
        free_.push_back(&buffer);
    }
    slabs_.push_back(std::move(slab));
    refused_at_ = 0;
    return true;
}

}  // namespace weft::fabric
