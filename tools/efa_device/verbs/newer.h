// What newer rdma-core headers say and those of this build need not: structs that grow at their
// end, as EFA's and libibverbs' interface of 2026 has them. Sizes and offsets are the interface.
#pragma once

#include <infiniband/verbs.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace weft::efa {

struct DeviceAttr {  // efadv_device_attr
    uint64_t comp_mask;
    uint32_t max_sq_wr;
    uint32_t max_rq_wr;
    uint16_t max_sq_sge;
    uint16_t max_rq_sge;
    uint16_t inline_buf_size;
    uint16_t inline_buf_size_ex;
    uint32_t device_caps;
    uint32_t max_rdma_size;
};
static_assert(offsetof(DeviceAttr, device_caps) == 24 && sizeof(DeviceAttr) == 32);

struct QpAttr {  // efadv_qp_init_attr
    uint64_t comp_mask;
    uint32_t driver_qp_type;
    uint16_t flags;
    uint8_t sl;
    uint8_t reserved;
    uint64_t wr_flags;
};
static_assert(offsetof(QpAttr, flags) == 12 && sizeof(QpAttr) == 24);
inline constexpr uint16_t qp_unsolicited = 1;

struct CqOps {  // efadv_cq
    uint64_t comp_mask;
    int (*wc_read_sgid)(CqOps* cq, ibv_gid* sgid);
    bool (*wc_is_unsolicited)(CqOps* cq);
};
static_assert(offsetof(CqOps, wc_is_unsolicited) == 16);

struct QpOps {  // efadv_qp
    uint64_t comp_mask;
    void (*wr_set_processing_hints)(QpOps* qp, uint32_t hints);
};

struct DepthAttr {  // efadv_sq_depth_attr
    uint64_t comp_mask;
    uint32_t flags;
    uint32_t max_send_sge;
    uint32_t max_rdma_sge;
    uint32_t max_inline_data;
};

// Callers give the size that they know of a struct.
template <class T>
T taken(const void* from, size_t length) {
    T value{};
    if (from != nullptr) {
        std::memcpy(&value, from, std::min(length, sizeof value));
    }
    return value;
}

template <class T>
void given(void* to, size_t length, const T& value) {
    std::memset(to, 0, length);
    std::memcpy(to, &value, std::min(length, sizeof value));
}

}  // namespace weft::efa
