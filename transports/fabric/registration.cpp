#include "transports/fabric/registration.h"

#include <cstring>

#include "src/base/log.h"
#include "transports/fabric/lock_limit.h"
#include "transports/fabric/newer.h"
#include "transports/fabric/windows.h"

namespace weft::fabric {

namespace {

constexpr uint32_t dmabuf_version = FI_VERSION(1, 20);

const char* kind_name(MemoryKind kind) {
    switch (kind) {
        case MemoryKind::host:
            return "host memory";
        case MemoryKind::cuda:
            return "CUDA memory";
        case MemoryKind::dmabuf:
            return "a dma-buf";
    }
    return "memory";
}

Error refusal(const MemoryRequest& request, const char* where, const char* why) {
    return make_error(Code::unsupported, Scope::call,
                      format("%s cannot register %s: %s", where, kind_name(request.kind), why));
}

// Providers that list no direction have all of them (fi_getinfo(3)).
bool reads_own(const fi_info& info) {
    constexpr uint64_t both = FI_READ | FI_REMOTE_READ;
    const uint64_t directions = info.caps & (both | FI_WRITE | FI_REMOTE_WRITE);
    return (info.caps & FI_RMA) != 0 && (directions == 0 || (directions & both) == both);
}

}  // namespace

MemoryAbility memory_ability(const fi_info& info, uint32_t library_version, uint32_t api_version) {
    const bool device = (info.caps & FI_HMEM) != 0 && reads_own(info);
    return {device, device && library_version >= dmabuf_version && api_version >= dmabuf_version};
}

Result<void> memory_allowed(const MemoryRequest& request, const MemoryAbility& ability,
                            const char* where) {
    if (request.bytes == 0) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s: a registration of 0 bytes was asked for", where));
    }
    if (request.kind == MemoryKind::cuda && !ability.cuda) {
        return refusal(request, where,
                       "the provider offers no GPU memory (FI_HMEM): install the EFA installer and "
                       "its peer-memory module, or copy through host memory (WEFT_GPUDIRECT=0)");
    }
    if (request.kind != MemoryKind::host && ability.by_calls) {
        return refusal(request, where,
                       "the provider would copy it by CUDA calls, which may wait for kernels: load "
                       "nvidia-peermem or a driver with dma-buf, or copy through host memory "
                       "(WEFT_GPUDIRECT=0)");
    }
    if (request.kind != MemoryKind::dmabuf) {
        return {};
    }
    if (request.dmabuf_fd < 0) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s: dma-buf descriptor %d is none", where, request.dmabuf_fd));
    }
    if (!ability.dmabuf) {
        return refusal(request, where,
                       "that takes libfabric 1.20 or later and a provider with GPU memory "
                       "(FI_HMEM): install the current EFA installer, or register the pointer");
    }
    return {};
}

int memory_register(fid_domain* domain, const MemoryRequest& request, uint64_t access, uint64_t key,
                    fid_mr** registration) {
    newer::MemoryAttributes attributes;
    const iovec range{request.address, request.bytes};
    const newer::DmaBuf dmabuf{request.dmabuf_fd, request.dmabuf_offset, request.bytes,
                               request.address};
    attributes.iov = &range;
    attributes.iov_count = 1;
    attributes.access = access;
    attributes.requested_key = key;
    uint64_t flags = 0;
    if (request.kind != MemoryKind::host) {
        attributes.iface = FI_HMEM_CUDA;
        attributes.device.cuda = request.device;
    }
    if (request.kind == MemoryKind::dmabuf) {
        attributes.dmabuf = &dmabuf;
        flags = newer::mr_dmabuf;
    }
    return fi_mr_regattr(domain, reinterpret_cast<const fi_mr_attr*>(&attributes), flags,
                         registration);
}

// A peer's reads are for flushes, and those are this process's own.
uint64_t memory_access(MemoryKind kind) {
    return FI_WRITE | FI_REMOTE_WRITE | (kind == MemoryKind::host ? 0 : FI_REMOTE_READ);
}

Error registration_refused(Error cause, const MemoryRequest& request, uint64_t registered_bytes) {
    if (request.kind != MemoryKind::host) {
        cause.what += format(
            " (%s, %zu bytes at %p of device %d): the NIC reaches a GPU through a driver with "
            "dma-buf or the module nvidia-peermem, look whether it is loaded; WEFT_GPUDIRECT=0 "
            "does without",
            kind_name(request.kind), request.bytes, request.address, request.device);
        return cause;
    }
    const auto at = reinterpret_cast<uintptr_t>(request.address);
    const uint64_t pages = (at + request.bytes - 1) / page_bytes - at / page_bytes + 1;
    const LockLimit limit = lock_limit();
    const std::string bound = limit.unlimited
                                  ? "no locked-memory limit, so the NIC's own"
                                  : format("the locked-memory limit is %llu",
                                           static_cast<unsigned long long>(limit.bytes));
    cause.what += format(" (%llu pages of 4 KiB at %p, beside %llu bytes registered; %s)",
                         static_cast<unsigned long long>(pages), request.address,
                         static_cast<unsigned long long>(registered_bytes), bound.c_str());
    return cause;
}

}  // namespace weft::fabric
