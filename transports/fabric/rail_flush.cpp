// A read of our own memory over the NIC: what the NIC wrote before is then where a GPU sees it, for
// the read is answered behind the writes on the bus.
#include <rdma/fi_errno.h>

#include "transports/fabric/rail.h"

namespace weft::fabric {

Result<RemoteEndpoint*> Rail::own_endpoint() {
    if (flush_self_ == nullptr) {
        flush_self_ = TRY(endpoint_acquire(endpoint_name_));
    }
    return flush_self_;
}

// The word lands in one of the rail's own; nobody reads it.
Result<Post> Rail::flush(const OwnRead& read, const TxOwner& owner) {
    ASSERT(read.bytes <= sizeof flush_word_);
    RemoteEndpoint* own = TRY(own_endpoint());
    fi_addr_t self = TRY(address_of(*own));
    bool local_keys = (info_->domain_attr->mr_mode & FI_MR_LOCAL) != 0;
    if (local_keys && !flush_memory_) {
        flush_memory_ = TRY(memory_register({MemoryKind::host, &flush_word_, sizeof flush_word_},
                                            FI_READ | FI_WRITE));
    }
    TxOp* op = tx_take(owner, *own, 0);
    if (op == nullptr) {
        return Post::again;
    }
    uint64_t address = virtual_addresses() ? reinterpret_cast<uintptr_t>(read.at)
                                           : static_cast<uint64_t>(read.at - read.base);
    ssize_t rc = fi_read(endpoint_.get(), &flush_word_, read.bytes,
                         flush_memory_ ? fi_mr_desc(flush_memory_.get()) : nullptr, self, address,
                         fi_mr_key(read.memory), static_cast<Op*>(op));
    return posted(*op, rc, "a read of our own memory");
}

}  // namespace weft::fabric
