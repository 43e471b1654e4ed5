#include "src/netplugin/memory.h"

#include "src/base/log.h"
#include "src/netplugin/abi.h"

namespace weft::netplugin {

Memory::Memory(std::shared_ptr<Shared> shared, std::byte* base, size_t bytes,
               std::unique_ptr<KeptMemory> kept)
    : shared_(std::move(shared)), base_(base), bytes_(bytes), kept_(std::move(kept)) {
}

Result<std::unique_ptr<Memory>> Memory::make(const Connection& connection, void* data, size_t bytes,
                                             int kind) {
    const Device& device = connection.device();
    if (kind != pointer_host) {
        return make_error(Code::unsupported, Scope::call,
                          format("device %s cannot register memory of kind %d (%zu bytes at %p): "
                                 "it takes host memory only, as its ptrSupport says",
                                 device.name.c_str(), kind, bytes, data));
    }
    const auto& shared = connection.shared();
    auto kept = TRY(shared->hub->keep(data, bytes, device.rails));
    return std::unique_ptr<Memory>(
        new Memory(shared, static_cast<std::byte*>(data), bytes, std::move(kept)));
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
    return Buffer{static_cast<std::byte*>(data), bytes, true};
}

}  // namespace weft::netplugin
