// What libfabric's headers define after 1.17, the oldest that this library is built with, so that
// one binary can ask any libfabric: the name, the version it appeared in, the value. The values are
// part of libfabric's ABI (rdma/fi_endpoint.h, fi_ext.h, fi_domain.h of 2.6); where the header has
// a name, its value is compared. A library that does not know an option answers ENOPROTOOPT.
#pragma once

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_ext.h>

#include <cstddef>
#include <cstdint>

namespace weft::fabric::newer {

// Options of FI_OPT_ENDPOINT.
inline constexpr int opt_cuda_api_permitted = 10;       // 1.18, bool
inline constexpr int opt_shared_memory_permitted = 11;  // 1.21, bool
inline constexpr int opt_max_rma_size = 14;             // 1.22, size_t

// Options of the provider efa.
inline constexpr int opt_efa_rnr_retry = -(0xefa << 16);                      // 1.17, size_t
inline constexpr int opt_efa_emulated_write = opt_efa_rnr_retry + 2;          // 1.18, bool
inline constexpr int opt_efa_use_device_rdma = opt_efa_rnr_retry + 4;         // 1.18, bool
inline constexpr int opt_efa_write_in_order_128 = opt_efa_rnr_retry + 6;      // 1.18, bool
inline constexpr int opt_efa_unsolicited_write_recv = opt_efa_rnr_retry + 8;  // 2.5, bool

// A flag of fi_mr_regattr: the memory is a dma-buf. 1.20, in the API asked of fi_getinfo too.
inline constexpr uint64_t mr_dmabuf = uint64_t{1} << 40;

// struct fi_mr_dmabuf of 1.20.
struct DmaBuf {
    int fd = -1;
    uint64_t offset = 0;
    size_t bytes = 0;
    void* base = nullptr;
};

// struct fi_mr_attr of 2.0, of which every older one is a beginning: a library reads as much of it
// as it knows. In place of `dmabuf`, libraries before 1.20 have `iov` only.
struct MemoryAttributes {
    union {
        const iovec* iov;
        const DmaBuf* dmabuf;
    };
    size_t iov_count = 0;
    uint64_t access = 0;
    uint64_t offset = 0;
    uint64_t requested_key = 0;
    void* context = nullptr;
    size_t auth_key_size = 0;
    uint8_t* auth_key = nullptr;
    fi_hmem_iface iface = FI_HMEM_SYSTEM;
    union {
        uint64_t reserved;
        int cuda;
    } device;
    void* hmem_data = nullptr;        // 1.19
    size_t page_size = 0;             // 1.22
    const fid_mr* base_mr = nullptr;  // 2.0
    size_t sub_mr_count = 0;          // 2.0
    MemoryAttributes() : iov(nullptr), device{0} {}
};
static_assert(offsetof(MemoryAttributes, iface) == offsetof(fi_mr_attr, iface));
static_assert(offsetof(MemoryAttributes, device) == offsetof(fi_mr_attr, device));
static_assert(sizeof(MemoryAttributes) >= sizeof(fi_mr_attr));

// An error entry has a source address at its end from API 1.20 on: room for it, and for more.
struct QueueError {
    fi_cq_err_entry entry{};
    uint64_t room[8] = {};
};

static_assert(opt_efa_rnr_retry == FI_OPT_EFA_RNR_RETRY);
#if FI_MAJOR_VERSION > 1 || FI_MINOR_VERSION >= 22
static_assert(opt_cuda_api_permitted == FI_OPT_CUDA_API_PERMITTED);
static_assert(opt_shared_memory_permitted == FI_OPT_SHARED_MEMORY_PERMITTED);
static_assert(opt_max_rma_size == FI_OPT_MAX_RMA_SIZE);
static_assert(opt_efa_emulated_write == FI_OPT_EFA_EMULATED_WRITE);
static_assert(opt_efa_use_device_rdma == FI_OPT_EFA_USE_DEVICE_RDMA);
static_assert(opt_efa_write_in_order_128 == FI_OPT_EFA_WRITE_IN_ORDER_ALIGNED_128_BYTES);
static_assert(mr_dmabuf == FI_MR_DMABUF);
#endif
#if FI_MAJOR_VERSION > 2 || (FI_MAJOR_VERSION == 2 && FI_MINOR_VERSION >= 5)
static_assert(opt_efa_unsolicited_write_recv == FI_OPT_EFA_USE_UNSOLICITED_WRITE_RECV);
#endif

}  // namespace weft::fabric::newer
