// Completion queues: made with and without EFA's extension, polled through the members that
// libibverbs' inline calls use.
#include <infiniband/efadv.h>

#include <cerrno>

#include "tools/efa_device/verbs/device.h"

namespace weft::efa {

namespace {

Cq* cq_of(ibv_cq_ex* cq) {
    return reinterpret_cast<Cq*>(cq);
}

Cq* cq_of(CqOps* ops) {
    return reinterpret_cast<Cq*>(reinterpret_cast<char*>(ops) - offsetof(Cq, ops));
}

bool is_receive(const Completion& completion) {
    return completion.operation == Operation::receive ||
           completion.operation == Operation::receive_write;
}

// As rdma-core maps them: a read completes as a send does.
ibv_wc_opcode opcode_of(const Completion& completion) {
    switch (completion.operation) {
        case Operation::send:
        case Operation::read:
            return IBV_WC_SEND;
        case Operation::write:
            return IBV_WC_RDMA_WRITE;
        case Operation::receive:
            return IBV_WC_RECV;
        case Operation::receive_write:
            return IBV_WC_RECV_RDMA_WITH_IMM;
    }
    return IBV_WC_SEND;
}

unsigned flags_of(const Completion& completion) {
    return completion.has_immediate ? unsigned{IBV_WC_WITH_IMM} : 0U;
}

bool take(Cq& cq, Completion& completion) {
    if (cq.queue->pop(completion)) {
        return true;
    }
    Process* process = Process::get();
    if (process == nullptr) {
        return false;
    }
    process->polled_in_vain();
    return cq.queue->pop(completion);
}

int next(ibv_cq_ex* ex) {
    Cq* cq = cq_of(ex);
    if (!take(*cq, cq->current)) {
        return ENOENT;
    }
    ex->wr_id = cq->current.wr_id;
    ex->status = static_cast<ibv_wc_status>(wc_status(cq->current.status));
    return 0;
}

int poll_start(ibv_cq_ex* ex, ibv_poll_cq_attr* attr) {
    return attr->comp_mask != 0 ? EINVAL : next(ex);
}

int sgid_read(CqOps* ops, ibv_gid* gid) {
    const Completion& completion = cq_of(ops)->current;
    if (completion.ah != ah_unknown) {
        return -ENOENT;
    }
    std::memcpy(gid->raw, completion.source.data(), completion.source.size());
    return 0;
}

void members_set(Cq& cq) {
    ibv_cq_ex& ex = cq.ex;
    ex.start_poll = poll_start;
    ex.next_poll = next;
    ex.end_poll = [](ibv_cq_ex*) {};
    ex.read_opcode = [](ibv_cq_ex* x) { return opcode_of(cq_of(x)->current); };
    ex.read_vendor_err = [](ibv_cq_ex* x) { return uint32_t(cq_of(x)->current.status); };
    ex.read_byte_len = [](ibv_cq_ex* x) { return cq_of(x)->current.bytes; };
    ex.read_imm_data = [](ibv_cq_ex* x) { return __be32{cq_of(x)->current.immediate}; };
    ex.read_qp_num = [](ibv_cq_ex* x) { return cq_of(x)->current.qpn; };
    ex.read_src_qp = [](ibv_cq_ex* x) { return cq_of(x)->current.source_qpn; };
    ex.read_wc_flags = [](ibv_cq_ex* x) { return flags_of(cq_of(x)->current); };
    ex.read_slid = [](ibv_cq_ex* x) { return uint32_t{cq_of(x)->current.ah}; };
    ex.read_sl = [](ibv_cq_ex*) { return uint8_t{0}; };
    ex.read_dlid_path_bits = [](ibv_cq_ex*) { return uint8_t{0}; };
    cq.ops.wc_read_sgid = sgid_read;
    cq.ops.wc_is_unsolicited = [](CqOps* ops) { return cq_of(ops)->current.unsolicited; };
}

}  // namespace

// The map of rdma-core's EFA provider (providers/efa/verbs.c).
int wc_status(Status status) {
    switch (status) {
        case Status::ok:
            return IBV_WC_SUCCESS;
        case Status::flushed:
            return IBV_WC_WR_FLUSH_ERR;
        case Status::unsupported_op:
        case Status::invalid_ah:
            return IBV_WC_LOC_QP_OP_ERR;
        case Status::invalid_lkey:
            return IBV_WC_LOC_PROT_ERR;
        case Status::local_bad_length:
            return IBV_WC_LOC_LEN_ERR;
        case Status::bad_address:
            return IBV_WC_REM_ACCESS_ERR;
        case Status::remote_abort:
            return IBV_WC_REM_ABORT_ERR;
        case Status::bad_dest_qpn:
            return IBV_WC_REM_INV_RD_REQ_ERR;
        case Status::rnr:
            return IBV_WC_RNR_RETRY_EXC_ERR;
        case Status::remote_bad_length:
            return IBV_WC_REM_INV_REQ_ERR;
        case Status::bad_status:
            return IBV_WC_BAD_RESP_ERR;
        case Status::unresponsive:
        case Status::unreachable:
            return IBV_WC_RESP_TIMEOUT_ERR;
        case Status::unknown_peer:
            return IBV_WC_REM_OP_ERR;
    }
    return IBV_WC_GENERAL_ERR;
}

ibv_cq_ex* cq_make(ibv_context* context, ibv_cq_init_attr_ex* attr) {
    Process* process = Process::get();
    const uint32_t nic = context_of(context)->nic;
    if (process == nullptr) {
        return nullptr;
    }
    if (attr->cqe == 0 || attr->cqe > process->node().spec().limits.cqes) {
        errno = EINVAL;
        return nullptr;
    }
    if (const int error = process->node().cq_add(nic)) {
        errno = error;
        return nullptr;
    }
    auto* cq = new Cq;
    cq->nic = nic;
    cq->queue = std::make_unique<CompletionQueue>(attr->cqe);
    cq->ex.context = context;
    cq->ex.channel = attr->channel;
    cq->ex.cq_context = attr->cq_context;
    cq->ex.cqe = static_cast<int>(attr->cqe);
    members_set(*cq);
    return &cq->ex;
}

int cq_poll(ibv_cq* plain, int count, ibv_wc* wc) {
    Cq* cq = reinterpret_cast<Cq*>(plain);
    Completion completion;
    int found = 0;
    for (; found < count && take(*cq, completion); ++found) {
        ibv_wc& to = wc[found];
        to = {};
        to.wr_id = completion.wr_id;
        to.status = static_cast<ibv_wc_status>(wc_status(completion.status));
        to.vendor_err = static_cast<uint32_t>(completion.status);
        to.opcode = opcode_of(completion);
        to.byte_len = is_receive(completion) ? completion.bytes : 0;
        to.imm_data = completion.immediate;
        to.qp_num = completion.qpn;
        to.src_qp = completion.source_qpn;
        to.wc_flags = flags_of(completion);
        to.slid = completion.ah;
    }
    return found;
}

}  // namespace weft::efa

using namespace weft::efa;

extern "C" {

ibv_cq_ex* efadv_create_cq(ibv_context* context, ibv_cq_init_attr_ex* attr, efadv_cq_init_attr*,
                           uint32_t) {
    return cq_make(context, attr);
}

efadv_cq* efadv_cq_from_ibv_cq_ex(ibv_cq_ex* cq) {
    return reinterpret_cast<efadv_cq*>(&cq_of(cq)->ops);
}

ibv_cq* ibv_create_cq(ibv_context* context, int entries, void* cq_context,
                      ibv_comp_channel* channel, int) {
    ibv_cq_init_attr_ex attr{};
    attr.cqe = entries > 0 ? static_cast<uint32_t>(entries) : 0;
    attr.cq_context = cq_context;
    attr.channel = channel;
    ibv_cq_ex* cq = cq_make(context, &attr);
    return cq != nullptr ? ibv_cq_ex_to_cq(cq) : nullptr;
}

int ibv_destroy_cq(ibv_cq* plain) {
    Cq* cq = reinterpret_cast<Cq*>(plain);
    if (Process* process = Process::get()) {
        process->node().cq_remove(cq->nic);
    }
    delete cq;
    return 0;
}
}
