// Queue pairs: SRD by efadv, UD by verbs; posting by ibv_post_send and by the members of ibv_qp_ex.
#include <infiniband/efadv.h>

#include <cerrno>

#include "tools/efa_device/verbs/device.h"

namespace weft::efa {

namespace {

Qp* qp_of(ibv_qp_ex* qp) {
    return reinterpret_cast<Qp*>(qp);
}

// Takes a request's sources out of the caller's memory where it is small and the caller asks so.
void inline_add(SendRequest& request, const void* data, size_t length) {
    request.is_inline = true;
    request.inlined.append(static_cast<const char*>(data), length);
}

int request_post(Qp& qp, SendRequest request) {
    Process* process = Process::get();
    if (process == nullptr) {
        return errno;
    }
    if (request.inlined.size() > qp.inline_max) {
        return EINVAL;
    }
    return process->node().post_send(qp.pair, std::move(request));
}

// Begins a request of the builder; the one before it is complete now.
SendRequest& begin(ibv_qp_ex* ex, Operation operation) {
    Qp& qp = *qp_of(ex);
    if (qp.has_current) {
        qp.building.push_back(std::move(qp.current));
    }
    qp.current = {};
    qp.has_current = true;
    qp.current.wr_id = ex->wr_id;
    qp.current.operation = operation;
    qp.current.signaled = qp.signal_all || (ex->wr_flags & IBV_SEND_SIGNALED) != 0;
    return qp.current;
}

SendRequest& begin_rdma(ibv_qp_ex* ex, Operation operation, uint32_t rkey, uint64_t address) {
    SendRequest& request = begin(ex, operation);
    request.rkey = rkey;
    request.remote_address = address;
    return request;
}

void with_immediate(SendRequest& request, __be32 immediate) {
    request.has_immediate = true;
    request.immediate = immediate;
}

int build_complete(ibv_qp_ex* ex) {
    Qp& qp = *qp_of(ex);
    if (qp.has_current) {
        qp.building.push_back(std::move(qp.current));
    }
    qp.has_current = false;
    int error = 0;
    for (SendRequest& request : qp.building) {
        error = error != 0 ? error : request_post(qp, std::move(request));
    }
    qp.building.clear();
    if (Process* process = Process::get()) {
        process->posted();
    }
    return error;
}

void sge_add(ibv_qp_ex* ex, const ibv_sge& sge) {
    qp_of(ex)->current.sges.push_back({sge.addr, sge.length, sge.lkey});
}

void operations_set(ibv_qp_ex& ex) {
    ex.wr_send = [](ibv_qp_ex* x) { begin(x, Operation::send); };
    ex.wr_send_imm = [](ibv_qp_ex* x, __be32 immediate) {
        with_immediate(begin(x, Operation::send), immediate);
    };
    ex.wr_rdma_read = [](ibv_qp_ex* x, uint32_t rkey, uint64_t address) {
        begin_rdma(x, Operation::read, rkey, address);
    };
    ex.wr_rdma_write = [](ibv_qp_ex* x, uint32_t rkey, uint64_t address) {
        begin_rdma(x, Operation::write, rkey, address);
    };
    ex.wr_rdma_write_imm = [](ibv_qp_ex* x, uint32_t rkey, uint64_t address, __be32 immediate) {
        with_immediate(begin_rdma(x, Operation::write, rkey, address), immediate);
    };
}

void setters_set(ibv_qp_ex& ex) {
    ex.wr_start = [](ibv_qp_ex* x) {
        qp_of(x)->building.clear();
        qp_of(x)->has_current = false;
    };
    ex.wr_abort = ex.wr_start;
    ex.wr_complete = build_complete;
    ex.wr_set_ud_addr = [](ibv_qp_ex* x, ibv_ah* ah, uint32_t qpn, uint32_t qkey) {
        SendRequest& request = qp_of(x)->current;
        request.ah = reinterpret_cast<AddressHandle*>(ah)->number;
        request.qpn = qpn;
        request.qkey = qkey;
    };
    ex.wr_set_sge = [](ibv_qp_ex* x, uint32_t lkey, uint64_t address, uint32_t length) {
        sge_add(x, {address, length, lkey});
    };
    ex.wr_set_sge_list = [](ibv_qp_ex* x, size_t count, const ibv_sge* list) {
        for (size_t i = 0; i < count; ++i) {
            sge_add(x, list[i]);
        }
    };
    ex.wr_set_inline_data = [](ibv_qp_ex* x, void* data, size_t length) {
        inline_add(qp_of(x)->current, data, length);
    };
    ex.wr_set_inline_data_list = [](ibv_qp_ex* x, size_t count, const ibv_data_buf* list) {
        for (size_t i = 0; i < count; ++i) {
            inline_add(qp_of(x)->current, list[i].addr, list[i].length);
        }
    };
}

int wr_post(Qp& qp, const ibv_send_wr& wr) {
    if (wr.opcode != IBV_WR_SEND && wr.opcode != IBV_WR_SEND_WITH_IMM) {
        return EINVAL;
    }
    SendRequest request;
    request.wr_id = wr.wr_id;
    request.signaled = qp.signal_all || (wr.send_flags & IBV_SEND_SIGNALED) != 0;
    for (int i = 0; i < wr.num_sge; ++i) {
        const ibv_sge& sge = wr.sg_list[i];
        if ((wr.send_flags & IBV_SEND_INLINE) != 0) {
            inline_add(request, reinterpret_cast<const void*>(sge.addr), sge.length);
        } else {
            request.sges.push_back({sge.addr, sge.length, sge.lkey});
        }
    }
    if (wr.opcode == IBV_WR_SEND_WITH_IMM) {
        with_immediate(request, wr.imm_data);
    }
    request.ah = reinterpret_cast<AddressHandle*>(wr.wr.ud.ah)->number;
    request.qpn = wr.wr.ud.remote_qpn;
    request.qkey = wr.wr.ud.remote_qkey;
    return request_post(qp, std::move(request));
}

std::optional<QpState> state_of(ibv_qp_state state) {
    switch (state) {
        case IBV_QPS_RESET:
            return QpState::reset;
        case IBV_QPS_INIT:
            return QpState::init;
        case IBV_QPS_RTR:
            return QpState::ready_to_receive;
        case IBV_QPS_RTS:
            return QpState::ready_to_send;
        case IBV_QPS_ERR:
            return QpState::error;
        default:
            return std::nullopt;
    }
}

}  // namespace

ibv_qp* qp_make(ibv_context* context, ibv_qp_init_attr_ex* attr, QpType type, const QpAttr& efa) {
    Process* process = Process::get();
    if (process == nullptr) {
        return nullptr;
    }
    QpInit init;
    init.nic = context_of(context)->nic;
    init.type = type;
    init.send_cq = reinterpret_cast<Cq*>(attr->send_cq)->queue.get();
    init.receive_cq = reinterpret_cast<Cq*>(attr->recv_cq)->queue.get();
    init.send_depth = attr->cap.max_send_wr;
    init.receive_depth = attr->cap.max_recv_wr;
    init.unsolicited = (efa.flags & qp_unsolicited) != 0;
    const Spec& spec = process->node().spec();
    if (attr->cap.max_inline_data > spec.limits.inline_bytes ||
        (init.unsolicited && (spec.caps & caps_unsolicited) == 0)) {
        errno = EINVAL;
        return nullptr;
    }
    int error = 0;
    QueuePair* pair = process->node().qp_create(init, error);
    if (pair == nullptr) {
        errno = error;
        return nullptr;
    }
    auto* qp = new Qp;
    qp->pair = pair;
    qp->inline_max = spec.limits.inline_bytes;
    qp->signal_all = attr->sq_sig_all != 0;
    qp->ops.wr_set_processing_hints = [](QpOps*, uint32_t) {};
    ibv_qp& base = qp->ex.qp_base;
    base.context = context;
    base.qp_context = attr->qp_context;
    base.pd = attr->pd;
    base.send_cq = attr->send_cq;
    base.recv_cq = attr->recv_cq;
    base.qp_num = base.handle = pair->qpn;
    base.state = IBV_QPS_RESET;
    base.qp_type = attr->qp_type;
    operations_set(qp->ex);
    setters_set(qp->ex);
    return &base;
}

int send_post(ibv_qp* plain, ibv_send_wr* wr, ibv_send_wr** bad) {
    Qp& qp = *reinterpret_cast<Qp*>(plain);
    int error = 0;
    for (; wr != nullptr && error == 0; wr = wr->next) {
        error = wr_post(qp, *wr);
        if (error != 0) {
            *bad = wr;
        }
    }
    if (Process* process = Process::get()) {
        process->posted();
    }
    return error;
}

int receive_post(ibv_qp* plain, ibv_recv_wr* wr, ibv_recv_wr** bad) {
    Qp& qp = *reinterpret_cast<Qp*>(plain);
    Process* process = Process::get();
    int error = process == nullptr ? errno : 0;
    for (; wr != nullptr && error == 0; wr = wr->next) {
        ReceiveRequest request;
        request.wr_id = wr->wr_id;
        for (int i = 0; i < wr->num_sge; ++i) {
            const ibv_sge& sge = wr->sg_list[i];
            request.sges.push_back({sge.addr, sge.length, sge.lkey});
        }
        error = process->node().post_receive(qp.pair, std::move(request));
        if (error != 0) {
            *bad = wr;
        }
    }
    return error;
}

}  // namespace weft::efa

using namespace weft::efa;

extern "C" {

ibv_qp* efadv_create_qp_ex(ibv_context* context, ibv_qp_init_attr_ex* attr, efadv_qp_init_attr* efa,
                           uint32_t length) {
    return qp_make(context, attr, QpType::srd, taken<QpAttr>(efa, length));
}

ibv_qp* efadv_create_driver_qp(ibv_pd* pd, ibv_qp_init_attr* attr, uint32_t) {
    ibv_qp_init_attr_ex wide{};
    wide.qp_context = attr->qp_context;
    wide.send_cq = attr->send_cq;
    wide.recv_cq = attr->recv_cq;
    wide.cap = attr->cap;
    wide.qp_type = attr->qp_type;
    wide.sq_sig_all = attr->sq_sig_all;
    wide.pd = pd;
    return qp_make(pd->context, &wide, QpType::srd, {});
}

ibv_qp_ex* ibv_qp_to_qp_ex(ibv_qp* qp) {
    return reinterpret_cast<ibv_qp_ex*>(qp);
}

int ibv_modify_qp(ibv_qp* plain, ibv_qp_attr* attr, int mask) {
    Process* process = Process::get();
    if (process == nullptr) {
        return errno;
    }
    QueuePair* pair = reinterpret_cast<Qp*>(plain)->pair;
    std::optional<uint32_t> qkey;
    std::optional<uint32_t> rnr_retry;
    if ((mask & IBV_QP_QKEY) != 0) {
        qkey = attr->qkey;
    }
    if ((mask & IBV_QP_RNR_RETRY) != 0) {
        rnr_retry = attr->rnr_retry;
    }
    process->node().qp_set(pair, qkey, rnr_retry);
    if ((mask & IBV_QP_STATE) == 0) {
        return 0;
    }
    const std::optional<QpState> state = state_of(attr->qp_state);
    const int error = state ? process->node().qp_state(pair, *state) : EINVAL;
    plain->state = error == 0 ? attr->qp_state : plain->state;
    return error;
}

int ibv_destroy_qp(ibv_qp* plain) {
    auto* qp = reinterpret_cast<Qp*>(plain);
    if (Process* process = Process::get()) {
        process->node().qp_destroy(qp->pair);
        process->settle();
    }
    delete qp;
    return 0;
}
}
