#include "src/netplugin/memory.h"

#include <dlfcn.h>

#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/netplugin/abi.h"

namespace weft::netplugin {

namespace {

// Of CUDA's driver interface (cuda.h).
constexpr int attribute_device_ordinal = 9;

// NCCL says that memory is a GPU's and not which; the driver that it has loaded knows. Where it
// does not tell, the first: to a NIC the address is enough.
int device_of(const void* memory) {
    const std::string& path = settings().libcuda;
    void* driver = dlopen(path.empty() ? "libcuda.so.1" : path.c_str(), RTLD_NOLOAD | RTLD_LAZY);
    if (driver == nullptr) {
        return 0;
    }
    using Get = int (*)(void*, int, unsigned long long);
    const auto get = reinterpret_cast<Get>(dlsym(driver, "cuPointerGetAttribute"));
    int device = 0;
    const bool told = get != nullptr && get(&device, attribute_device_ordinal,
                                            reinterpret_cast<uintptr_t>(memory)) == 0;
    dlclose(driver);
    return told ? device : 0;
}

Error refusal(const Device& device, const Memory::Ask& ask) {
    const char* why =
        ask.kind == pointer_dmabuf ? "dma-bufs, which take libfabric 1.20 and memory of GPUs"
        : settings().gpudirect     ? "that: libfabric's provider offers it no memory of GPUs"
                                   : "that, for WEFT_GPUDIRECT=0 is set";
    return make_error(Code::unsupported, Scope::call,
                      format("device %s cannot register memory of kind %d (%zu bytes at %p): it "
                             "takes no %s; its ptrSupport says so",
                             device.name.c_str(), ask.kind, ask.bytes, ask.data, why));
}

}  // namespace

Memory::Memory(std::shared_ptr<Shared> shared, const Ask& ask, std::unique_ptr<KeptMemory> kept)
    : shared_(std::move(shared)),
      base_(static_cast<std::byte*>(ask.data)),
      bytes_(ask.bytes),
      host_(ask.kind == pointer_host),
      kept_(std::move(kept)) {
}

Result<std::unique_ptr<Memory>> Memory::make(const Connection& connection, const Ask& ask) {
    const Device& device = connection.device();
    const bool one =
        ask.kind == pointer_host || ask.kind == pointer_cuda || ask.kind == pointer_dmabuf;
    if (!one || (pointer_kinds_of(device) & ask.kind) == 0) {
        return refusal(device, ask);
    }
    MemoryRequest request{MemoryKind::host, ask.data, ask.bytes};
    if (ask.kind != pointer_host) {
        request.kind = ask.kind == pointer_cuda ? MemoryKind::cuda : MemoryKind::dmabuf;
        request.device = device_of(ask.data);
        request.dmabuf_fd = ask.fd;
        request.dmabuf_offset = ask.offset;
    }
    const auto& shared = connection.shared();
    auto kept = TRY(shared->hub->keep(request, device.rails));
    return std::unique_ptr<Memory>(new Memory(shared, ask, std::move(kept)));
}

Result<Buffer> Memory::buffer(const Memory* memory, void* data, uint64_t bytes) {
    const auto* at = static_cast<const std::byte*>(data);
    const bool outside =
        memory != nullptr && (at < memory->base_ || bytes > memory->bytes_ ||
                              at - memory->base_ > static_cast<ptrdiff_t>(memory->bytes_ - bytes));
    if (bytes != 0 && (data == nullptr || outside)) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("%llu bytes at %p are not in the memory they were said to be in: "
                   "%zu bytes at %p",
                   static_cast<unsigned long long>(bytes), data,
                   memory != nullptr ? memory->bytes_ : 0,
                   static_cast<const void*>(memory != nullptr ? memory->base_ : nullptr)));
    }
    return Buffer{static_cast<std::byte*>(data), bytes, memory == nullptr || memory->host_};
}

}  // namespace weft::netplugin
