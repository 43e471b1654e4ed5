// Devices, contexts, protection domains, memory regions and address handles, as libibverbs calls
// them. A call without a device to speak of fails as on a machine without one.
#include <infiniband/efadv.h>

#include <cerrno>
#include <cstdlib>

#include "tools/efa_device/verbs/device.h"

using namespace weft::efa;

namespace {

// libfabric makes a link's speed of lanes and the speed of one.
constexpr uint8_t speed_25_gbit = 32;
constexpr uint8_t width_4x = 2;
constexpr uint8_t width_8x = 4;
constexpr int64_t rate_100_gbit = 12'500'000'000;

int port_query(ibv_context* context, uint8_t, ibv_port_attr* attr, size_t size) {
    Process* process = Process::get();
    if (process == nullptr) {
        return errno;
    }
    const bool up = process->node().rail_up(context_of(context)->nic, weft::clock_now());
    ibv_port_attr port{};
    port.state = up ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
    port.max_mtu = port.active_mtu = IBV_MTU_4096;
    port.gid_tbl_len = 1;
    port.pkey_tbl_len = 1;
    port.max_msg_sz = packet_payload_max;
    const int64_t rate = process->node().spec().nics[context_of(context)->nic].rate;
    port.active_speed = speed_25_gbit;
    port.active_width = rate > rate_100_gbit ? width_8x : width_4x;
    port.phys_state = 5;
    port.link_layer = IBV_LINK_LAYER_UNSPECIFIED;
    given(attr, size, port);
    return 0;
}

int gid_read(ibv_context* context, ibv_gid* gid) {
    Process* process = Process::get();
    if (process == nullptr) {
        return errno;
    }
    const Gid own = gid_make(process->node().spec().host, context_of(context)->nic);
    std::memcpy(gid->raw, own.data(), own.size());
    return 0;
}

ibv_mr* region_make(ibv_pd* pd, void* address, size_t length, uint64_t iova, unsigned access) {
    Process* process = Process::get();
    if (process == nullptr) {
        return nullptr;
    }
    if (iova != reinterpret_cast<uint64_t>(address)) {
        errno = EOPNOTSUPP;
        return nullptr;
    }
    const uint32_t nic = reinterpret_cast<ProtectionDomain*>(pd)->nic;
    const auto bits = [access](unsigned verbs, uint32_t core) {
        return (access & verbs) != 0 ? core : 0;
    };
    const uint32_t core_access = bits(IBV_ACCESS_LOCAL_WRITE, access_local_write) |
                                 bits(IBV_ACCESS_REMOTE_WRITE, access_remote_write) |
                                 bits(IBV_ACCESS_REMOTE_READ, access_remote_read);
    int error = 0;
    const uint32_t key = process->node().mr_add(nic, iova, length, core_access, error);
    if (key == 0) {
        errno = error;
        return nullptr;
    }
    auto* region = new MemoryRegion;
    region->nic = nic;
    region->mr.context = pd->context;
    region->mr.pd = pd;
    region->mr.addr = address;
    region->mr.length = length;
    region->mr.handle = region->mr.lkey = region->mr.rkey = key;
    return &region->mr;
}

ibv_qp* ud_make(ibv_context* context, ibv_qp_init_attr_ex* attr) {
    return qp_make(context, attr, QpType::ud, {});
}

}  // namespace

extern "C" {

ibv_device** ibv_get_device_list(int* count) {
    if (count != nullptr) {
        *count = 0;
    }
    Process* process = Process::get();
    if (process == nullptr) {
        return nullptr;
    }
    const auto& devices = process->devices();
    auto** list = static_cast<ibv_device**>(std::calloc(devices.size() + 1, sizeof(ibv_device*)));
    for (size_t i = 0; list != nullptr && i < devices.size(); ++i) {
        list[i] = &devices[i]->device;
    }
    if (count != nullptr && list != nullptr) {
        *count = static_cast<int>(devices.size());
    }
    return list;
}

void ibv_free_device_list(ibv_device** list) {
    std::free(list);
}

const char* ibv_get_device_name(ibv_device* device) {
    return device->name;
}

__be64 ibv_get_device_guid(ibv_device* device) {
    const Gid gid = gid_make(0, reinterpret_cast<Device*>(device)->index);
    __be64 guid = 0;
    std::memcpy(&guid, gid.data() + 8, sizeof guid);
    return guid;
}

int ibv_get_device_index(ibv_device*) {
    return -1;
}

ibv_context* ibv_open_device(ibv_device* device) {
    auto* context = new Context;
    context->nic = reinterpret_cast<Device*>(device)->index;
    verbs_context& verbs = context->verbs;
    verbs.sz = sizeof verbs;
    verbs.query_port = port_query;
    verbs.create_qp_ex = ud_make;
    verbs.create_cq_ex = cq_make;
    ibv_context& plain = verbs.context;
    plain.device = device;
    plain.cmd_fd = plain.async_fd = -1;
    plain.num_comp_vectors = 1;
    plain.abi_compat = __VERBS_ABI_IS_EXTENDED;
    plain.ops.post_send = send_post;
    plain.ops.post_recv = receive_post;
    plain.ops.poll_cq = cq_poll;
    return &plain;
}

int ibv_close_device(ibv_context* context) {
    delete context_of(context);
    return 0;
}

int ibv_query_device(ibv_context* context, ibv_device_attr* attr) {
    Process* process = Process::get();
    if (process == nullptr) {
        return errno;
    }
    const Spec& spec = process->node().spec();
    const Limits& limits = spec.limits;
    *attr = {};
    std::memcpy(attr->fw_ver, "0.0.0.0", 8);
    attr->node_guid = ibv_get_device_guid(context->device);
    attr->vendor_id = weft::topology::vendor_amazon;
    attr->vendor_part_id = spec.nics[context_of(context)->nic].part;
    attr->hw_ver = attr->vendor_part_id;
    attr->max_mr_size = uint64_t{96} << 30;
    attr->page_size_cap = page_bytes;
    attr->max_qp = static_cast<int>(limits.qps);
    attr->max_qp_wr = static_cast<int>(limits.send_queue);
    attr->max_sge = static_cast<int>(limits.send_sges);
    attr->max_sge_rd = static_cast<int>(limits.rdma_sges);
    attr->max_cq = static_cast<int>(limits.cqs);
    attr->max_cqe = static_cast<int>(limits.cqes);
    attr->max_mr = static_cast<int>(limits.mrs);
    attr->max_pd = 256;
    attr->max_ah = static_cast<int>(limits.ahs);
    attr->atomic_cap = IBV_ATOMIC_NONE;
    attr->phys_port_cnt = 1;
    attr->max_pkeys = 1;
    return 0;
}

// The function behind the macro, for programs of the first version of the interface.
int ibv_query_port(ibv_context* context, uint8_t port, _compat_ibv_port_attr* attr) {
    return port_query(context, port, reinterpret_cast<ibv_port_attr*>(attr),
                      offsetof(ibv_port_attr, port_cap_flags2));
}

int ibv_query_gid(ibv_context* context, uint8_t, int index, ibv_gid* gid) {
    if (index != 0) {
        errno = EINVAL;
        return -1;
    }
    return gid_read(context, gid) == 0 ? 0 : -1;
}

int ibv_query_pkey(ibv_context*, uint8_t, int, __be16* pkey) {
    *pkey = 0xffff;
    return 0;
}

ibv_pd* ibv_alloc_pd(ibv_context* context) {
    auto* domain = new ProtectionDomain;
    domain->pd.context = context;
    domain->nic = context_of(context)->nic;
    return &domain->pd;
}

int ibv_dealloc_pd(ibv_pd* pd) {
    delete reinterpret_cast<ProtectionDomain*>(pd);
    return 0;
}

ibv_mr* ibv_reg_mr(ibv_pd* pd, void* address, size_t length, int access) {
    return region_make(pd, address, length, reinterpret_cast<uint64_t>(address),
                       static_cast<unsigned>(access));
}

ibv_mr* ibv_reg_mr_iova2(ibv_pd* pd, void* address, size_t length, uint64_t iova, unsigned access) {
    return region_make(pd, address, length, iova, access);
}

ibv_mr* ibv_reg_dmabuf_mr(ibv_pd*, uint64_t, size_t, uint64_t, int, int) {
    errno = EOPNOTSUPP;
    return nullptr;
}

int ibv_dereg_mr(ibv_mr* mr) {
    auto* region = reinterpret_cast<MemoryRegion*>(mr);
    if (Process* process = Process::get()) {
        process->node().mr_remove(region->nic, mr->lkey);
    }
    delete region;
    return 0;
}

ibv_ah* ibv_create_ah(ibv_pd* pd, ibv_ah_attr* attr) {
    Process* process = Process::get();
    if (process == nullptr) {
        return nullptr;
    }
    Gid gid;
    std::memcpy(gid.data(), attr->grh.dgid.raw, gid.size());
    const uint32_t nic = reinterpret_cast<ProtectionDomain*>(pd)->nic;
    const uint16_t number = process->node().ah_add(nic, gid);
    if (number == ah_unknown) {
        errno = ENOMEM;
        return nullptr;
    }
    auto* handle = new AddressHandle;
    handle->nic = nic;
    handle->number = number;
    handle->ah.context = pd->context;
    handle->ah.pd = pd;
    return &handle->ah;
}

int ibv_destroy_ah(ibv_ah* ah) {
    auto* handle = reinterpret_cast<AddressHandle*>(ah);
    if (Process* process = Process::get()) {
        process->node().ah_remove(handle->nic, handle->number);
    }
    delete handle;
    return 0;
}

int efadv_query_ah(ibv_ah* ah, efadv_ah_attr* attr, uint32_t length) {
    efadv_ah_attr number{};
    number.ahn = reinterpret_cast<AddressHandle*>(ah)->number;
    given(attr, length, number);
    return 0;
}

int efadv_query_device(ibv_context*, efadv_device_attr* attr, uint32_t length) {
    Process* process = Process::get();
    if (process == nullptr) {
        return errno;
    }
    const Spec& spec = process->node().spec();
    DeviceAttr device{};
    device.max_sq_wr = spec.limits.send_queue;
    device.max_rq_wr = spec.limits.receive_queue;
    device.max_sq_sge = static_cast<uint16_t>(spec.limits.send_sges);
    device.max_rq_sge = static_cast<uint16_t>(spec.limits.receive_sges);
    device.inline_buf_size = static_cast<uint16_t>(spec.limits.inline_bytes);
    device.device_caps = spec.caps;
    device.max_rdma_size = rdma_bytes_max;
    given(attr, length, device);
    return 0;
}

// Memory is copied by the NIC thread, which a child does not have: nothing to protect from fork.
int ibv_fork_init() {
    return 0;
}

ibv_fork_status ibv_is_fork_initialized() {
    return IBV_FORK_UNNEEDED;
}
}
