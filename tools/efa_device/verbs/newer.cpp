// Calls that newer rdma-core has and that libfabric 2.x imports. Their C++ names differ from the
// exported ones, so that this compiles whether or not the headers declare them. What would hand out
// the device's own queues is refused: libfabric then posts by verbs (FI_EFA_USE_DATA_PATH_DIRECT=0
// where it does not find out by itself).
#include "tools/efa_device/verbs/newer.h"

#include <cerrno>

#include "tools/efa_device/verbs/device.h"

using namespace weft::efa;

#define EXPORTED(name) __asm__(#name) __attribute__((visibility("default"), used))

extern "C" {

int newer_data_in_order(ibv_qp*, int, uint32_t) EXPORTED(ibv_query_qp_data_in_order);
int newer_query_qp_wqs(ibv_qp*, void*, void*, uint32_t) EXPORTED(efadv_query_qp_wqs);
int newer_query_cq(ibv_cq*, void*, uint32_t) EXPORTED(efadv_query_cq);
int newer_query_mr(ibv_mr*, void*, uint32_t) EXPORTED(efadv_query_mr);
int newer_sq_depth(ibv_context*, void*, uint32_t) EXPORTED(efadv_get_max_sq_depth);
int newer_rq_depth(ibv_context*, void*, uint32_t) EXPORTED(efadv_get_max_rq_depth);
QpOps* newer_qp_ops(ibv_qp_ex*) EXPORTED(efadv_qp_from_ibv_qp_ex);
void* newer_comp_cntr(ibv_context*, void*, void*, uint32_t) EXPORTED(efadv_create_comp_cntr);
int newer_cntr_caps(ibv_context*, void*, size_t) EXPORTED(_ibv_query_comp_cntr_caps);

// Pieces of 128 bytes come in any order and more than once.
int newer_data_in_order(ibv_qp*, int, uint32_t) {
    return 0;
}

int newer_query_qp_wqs(ibv_qp*, void*, void*, uint32_t) {
    return EOPNOTSUPP;
}

int newer_query_cq(ibv_cq*, void*, uint32_t) {
    return EOPNOTSUPP;
}

int newer_query_mr(ibv_mr*, void*, uint32_t) {
    return EOPNOTSUPP;
}

int newer_sq_depth(ibv_context*, void* attr, uint32_t length) {
    Process* process = Process::get();
    if (process == nullptr) {
        return -errno;
    }
    const Limits& limits = process->node().spec().limits;
    const auto wanted = taken<DepthAttr>(attr, length);
    const bool possible = wanted.max_send_sge <= limits.send_sges &&
                          wanted.max_rdma_sge <= limits.rdma_sges &&
                          wanted.max_inline_data <= limits.inline_bytes;
    return possible ? static_cast<int>(limits.send_queue) : -EINVAL;
}

int newer_rq_depth(ibv_context*, void*, uint32_t) {
    Process* process = Process::get();
    return process != nullptr ? static_cast<int>(process->node().spec().limits.receive_queue)
                              : -errno;
}

QpOps* newer_qp_ops(ibv_qp_ex* qp) {
    return &reinterpret_cast<Qp*>(qp)->ops;
}

void* newer_comp_cntr(ibv_context*, void*, void*, uint32_t) {
    errno = EOPNOTSUPP;
    return nullptr;
}

int newer_cntr_caps(ibv_context*, void*, size_t) {
    return EOPNOTSUPP;
}
}
