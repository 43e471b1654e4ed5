// Writes into a peer's memory, and their end.
//
// Over tcp;ofi_rxm the bytes and the immediate travel as two writes, one behind the other on one
// stream: the first has the bytes and no immediate, the second no bytes. For a write with both of
// which a part has arrived when its connection ends kills the process that receives it. The msg
// provider reports what it has begun to receive as a failed operation that belongs to nobody, and
// rxm_handle_comp_error (prov/rxm/src/rxm_cq.c) reads the state of that operation through its null
// context. Reported it is
//  - 1.17 (prov/tcp): by tcpx_ep_flush_all_queues, on tcpx_ep_close: so where an endpoint is
//    closed, ours here. A connection that breaks is survived: tcpx_process_remote_write reports
//    nothing;
//  - 2.5.1 (prov/tcp, now xnet): by xnet_ep_flush_all_queues on closing, and by xnet_complete_rx
//    when the connection breaks: then a peer that dies in the middle of a write takes all along
//    that it was writing to.
// Both report nothing of a write without an immediate (tcpx_op_write, xnet_handle_write: an
// internal transfer), and a write without bytes is over as soon as its header is read, so no part
// of it can be missing.
//
// Both writes of a put are posted with nothing read in between (the lock is held, progress is
// manual), so they go by the same connection, or the second does not go at all: rxm makes a new
// connection only when it makes progress. So an immediate that arrives follows its bytes.
//
// A small write goes in one where a part of it cannot arrive. Both versions read a header, and the
// bytes that are there behind it, without a look at anything else in between (tcpx_progress_rx,
// xnet_progress_rx; a recv() of up to 9,000 bytes fills an empty buffer), and a part of a header is
// reported by neither. So it is enough that header and bytes come to the peer's socket in one
// segment. libfabric hands them to the kernel in one sendmsg(), and TCP cuts what is in its queue
// at multiples of a segment from where the peer's acknowledgement or its window ends. All that the
// peer may not have read yet, this write with it, is less than the least segment: then there is
// nowhere to cut. That is known where nothing but this is under way:
//  - what we sent: the end of a put says that the peer has read all that went before it;
//  - what libfabric sent by itself, the acknowledgements of the peer's puts: 16 bytes for each
//    immediate that was read, provided that none waits in the queue (answers_known_).
// What is left is a kernel out of memory for sockets (tcp_sendmsg_locked without a page for the
// second half of a hundred bytes, a window that stays smaller than a segment), or a proxy that cuts
// where it likes, at the moment when the connection ends.
#include <rdma/fi_errno.h>

#include <algorithm>

#include "transports/fabric/rail.h"

namespace weft::fabric {

namespace {
constexpr const char* a_write = "a write";
// Linux assumes no smaller path than 552 bytes (net.ipv4.route.min_pmtu); less the headers of IP
// and TCP, with every option.
constexpr uint64_t segment_least = 552 - 20 - 60;
constexpr uint64_t answer_bytes = 16;  // tcpx_queue_ack, xnet_queue_ack
}  // namespace

uint64_t Rail::stream_written(const RemoteEndpoint& to) const {
    return to.stream_written + stream_answers_;
}

bool Rail::arrives_whole(const RemoteWrite& write) const {
    const uint64_t unread = stream_written(*write.to) - write.to->stream_read;
    return write.bytes == 0 ||
           (answers_known_ && unread + stream_headers + write.bytes <= segment_least);
}

// Of what has just been read from the queue, before anything of it is acted on.
void Rail::peers_writes_count(const fi_cq_data_entry* entries, ssize_t count) {
    for (ssize_t i = 0; immediate_apart_ && i < count; ++i) {
        stream_answers_ += peers_write(entries[i]) ? answer_bytes : 0;
    }
}

ssize_t Rail::write_post(TxOp& op, const RemoteWrite& write, fi_addr_t to, uint64_t flags) {
    iovec from{const_cast<void*>(write.from), write.bytes};
    fi_rma_iov at{write.address, write.bytes, write.key};
    void* descriptor = write.descriptor;
    fi_msg_rma message{};
    message.msg_iov = &from;
    message.desc = &descriptor;
    message.iov_count = 1;
    message.addr = to;
    message.rma_iov = &at;
    message.rma_iov_count = 1;
    message.context = static_cast<Op*>(&op);
    message.data = write.imm;
    return fi_writemsg(endpoint_.get(), &message, flags);
}

Result<Post> Rail::write(const RemoteWrite& write, const TxOwner& owner) {
    fi_addr_t address = TRY(address_of(*write.to));
    const bool apart = immediate_apart_ && !arrives_whole(write);
    TxOp* op = tx_take(owner, *write.to, write.bytes);
    if (op == nullptr) {
        return Post::again;
    }
    op->stream_at = stream_written(*write.to);
    if (apart) {
        return write_apart(*op, write, address);
    }
    constexpr uint64_t flags = FI_REMOTE_CQ_DATA | FI_COMPLETION | FI_DELIVERY_COMPLETE;
    return posted(*op, write_post(*op, write, address, flags), a_write);
}

// That the second is placed says that the first is. The first cannot be taken back: where the
// second is refused, which the number of transmissions makes a matter of broken connections, the
// put fails as soon as the first has ended.
Result<Post> Rail::write_apart(TxOp& op, const RemoteWrite& write, fi_addr_t to) {
    auto bytes = posted(op, write_post(op, write, to, FI_COMPLETION), a_write);
    if (!bytes.ok() || bytes.value() == Post::again) {
        return bytes;
    }
    RemoteWrite immediate = write;
    immediate.bytes = 0;
    constexpr uint64_t flags = FI_REMOTE_CQ_DATA | FI_COMPLETION | FI_DELIVERY_COMPLETE;
    const ssize_t rc = write_post(op, immediate, to, flags);
    if (rc == 0) {
        op.parts = 2;
    } else {
        op.failure = std::make_unique<Error>(
            refused(static_cast<int>(-rc), "the end of a write", op.owner.peer));
    }
    return Post::accepted;
}

// A transmission is over when all of it is: till then the provider may use its memory, and a fence
// may not say that it is placed or dead.
void Rail::transmitted(TxOp& op, const Error* error, RailEvents& events) {
    if (error != nullptr && op.failure == nullptr) {
        op.failure = std::make_unique<Error>(*error);
    }
    if (--op.parts != 0) {
        return;
    }
    if (op.to != nullptr && op.failure == nullptr) {
        op.to->stream_read = std::max(op.to->stream_read, op.stream_at);
    }
    const TxOwner owner = op.owner;
    const std::unique_ptr<Error> failure = std::move(op.failure);
    tx_give(op);
    events.on_finished(*this, owner, failure.get());
}

}  // namespace weft::fabric
