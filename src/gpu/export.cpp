#include "src/gpu/export.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "src/base/log.h"
#include "src/gpu/seat.h"

namespace weft::gpu {

namespace {

constexpr uint64_t note_bytes_max = uint64_t{1} << 46;  // more than any device's addresses hold
constexpr size_t uuid_bytes_max = 48;

MemoryProperties properties_of(const DevicePlace& at) {
    int rdma = 0;
    at.driver->cuDeviceGetAttribute(&rdma, device_attribute::rdma_with_virtual_memory, at.device);
    MemoryProperties wanted{};
    wanted.type = allocation_type::pinned;
    wanted.handle_types = handle_type::posix_descriptor;
    wanted.location = {location_type::device, at.device};
    // NICs refuse memory that was made without it.
    wanted.flags.rdma = rdma != 0 ? 1 : 0;
    return wanted;
}

Result<uint64_t> granularity_of(const DevicePlace& at, const MemoryProperties& wanted) {
    size_t unit = 0;
    TRY(driver_check(
        *at.driver,
        at.driver->cuMemGetAllocationGranularity(&unit, &wanted, granularity::recommended),
        format("asking for the granularity of memory of CUDA device %d", at.device)));
    return uint64_t{std::max<size_t>(unit, 1)};
}

void log_end(const char* what, Status result) {
    if (result != status::success) {
        LOG(info, alloc, "%s: status %d", what, result);
    }
}

bool uuid_good(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ||
               c == ':' || c == '.';
    });
}

Error unreachable(const DevicePlace& at, const std::string& uuid, const std::string& why) {
    return make_error(Code::device, Scope::peer,
                      format("CUDA device %d cannot reach memory of the device %s of another "
                             "process: %s; such ranks go through host memory",
                             at.device, uuid.c_str(), why.c_str()));
}

}  // namespace

std::string ExportNote::encode() const {
    ByteWriter writer;
    writer.u8(static_cast<uint8_t>(kind)).u64(bytes).text(device);
    if (kind == ExportKind::legacy) {
        writer.raw(std::string_view(handle.bytes, sizeof(handle.bytes)));
    }
    return writer.take();
}

Result<ExportNote> ExportNote::read(ByteReader& reader) {
    ExportNote note;
    const uint8_t kind = TRY(reader.u8());
    note.kind = static_cast<ExportKind>(kind);
    note.bytes = TRY(reader.u64());
    note.device = TRY(reader.text(uuid_bytes_max));
    if ((note.kind != ExportKind::descriptor && note.kind != ExportKind::legacy) ||
        note.bytes == 0 || note.bytes > note_bytes_max || !uuid_good(note.device)) {
        return make_error(Code::remote, Scope::peer,
                          format("a peer describes device memory of kind %u and %llu bytes, which "
                                 "no rank of this version has: run one version everywhere",
                                 kind, static_cast<unsigned long long>(note.bytes)));
    }
    if (note.kind == ExportKind::legacy) {
        const std::string_view handle = TRY(reader.raw(sizeof(note.handle.bytes)));
        std::copy(handle.begin(), handle.end(), note.handle.bytes);
    }
    return note;
}

Result<ExportNote> ExportNote::decode(std::string_view text) {
    ByteReader reader(text);
    ExportNote note = TRY(read(reader));
    TRY(reader.end());
    return note;
}

bool descriptors_supported(const Driver& driver, Device device) {
    const auto has = [&](int attribute) {
        int value = 0;
        return driver.cuDeviceGetAttribute(&value, attribute, device) == status::success &&
               value != 0;
    };
    return driver.cuMemGetAllocationGranularity != nullptr && driver.cuMemCreate != nullptr &&
           driver.cuMemRelease != nullptr && driver.cuMemAddressReserve != nullptr &&
           driver.cuMemAddressFree != nullptr && driver.cuMemMap != nullptr &&
           driver.cuMemUnmap != nullptr && driver.cuMemSetAccess != nullptr &&
           driver.cuMemExportToShareableHandle != nullptr &&
           driver.cuMemImportFromShareableHandle != nullptr &&
           has(device_attribute::virtual_memory) && has(device_attribute::posix_descriptors);
}

Result<void> device_reaches(const DevicePlace& at, const std::string& uuid) {
    int count = 0;
    TRY(driver_check(*at.driver, at.driver->cuDeviceGetCount(&count), "cuDeviceGetCount"));
    for (int ordinal = 0; ordinal < count; ordinal++) {
        Device other = 0;
        if (at.driver->cuDeviceGet(&other, ordinal) != status::success || other == at.device ||
            device_uuid(*at.driver, other) != uuid) {
            continue;
        }
        int can = 0;
        TRY(driver_check(*at.driver, at.driver->cuDeviceCanAccessPeer(&can, at.device, other),
                         format("asking whether CUDA device %d reaches %d", at.device, other)));
        if (can == 0) {
            return unreachable(at, uuid,
                               format("the driver has no peer access to it (device %d)", ordinal));
        }
    }
    return {};
}

// --- VirtualRange

Result<void> VirtualRange::reserve(uint64_t bytes) {
    TRY(driver_check(*at_.driver, at_.driver->cuMemAddressReserve(&address_, bytes, 0, 0, 0),
                     format("reserving %llu bytes of device addresses",
                            static_cast<unsigned long long>(bytes))));
    reserved_ = bytes;
    return {};
}

Result<void> VirtualRange::map(MemoryHandle handle, uint64_t bytes) {
    ASSERT(bytes <= reserved_ - mapped_);
    TRY(driver_check(
        *at_.driver, at_.driver->cuMemMap(address_ + mapped_, bytes, 0, handle, 0),
        format("mapping %llu bytes of device memory", static_cast<unsigned long long>(bytes))));
    parts_.push_back(bytes);
    mapped_ += bytes;
    return {};
}

Result<void> VirtualRange::access(Device device) {
    const MemoryAccess wanted{{location_type::device, device}, access_flag::read_write};
    return driver_check(*at_.driver, at_.driver->cuMemSetAccess(address_, mapped_, &wanted, 1),
                        format("letting CUDA device %d access %llu bytes of device memory", device,
                               static_cast<unsigned long long>(mapped_)));
}

VirtualRange::~VirtualRange() {
    if (reserved_ == 0) {
        return;
    }
    const RelaxedCapture relaxed(*at_.driver);
    const Result<ContextGuard> guard = ContextGuard::push(*at_.driver, at_.context);
    if (!guard.ok()) {
        return;  // the program has reset its device, and with it everything here
    }
    Address at = address_;
    for (const uint64_t bytes : parts_) {
        log_end("unmapping device memory", at_.driver->cuMemUnmap(at, bytes));
        at += bytes;
    }
    log_end("freeing device addresses", at_.driver->cuMemAddressFree(address_, reserved_));
}

// --- ExportedMemory

Result<std::unique_ptr<ExportedMemory>> ExportedMemory::create(const DevicePlace& at,
                                                               uint64_t bytes) {
    // Not make_unique: the constructor is private.
    std::unique_ptr<ExportedMemory> memory(new ExportedMemory(at));
    const ContextGuard guard = TRY(ContextGuard::push(*at.driver, at.context));
    if (descriptors_supported(*at.driver, at.device)) {
        TRY(memory->make_apart(bytes));
    } else {
        TRY(memory->make_plain(bytes));
    }
    return memory;
}

Result<void> ExportedMemory::make_apart(uint64_t bytes) {
    const MemoryProperties wanted = properties_of(at_);
    const uint64_t unit = TRY(granularity_of(at_, wanted));
    if (bytes == 0 || bytes > note_bytes_max) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%llu bytes of device memory cannot be had: ask for 1 to %llu",
                                 static_cast<unsigned long long>(bytes),
                                 static_cast<unsigned long long>(note_bytes_max)));
    }
    const uint64_t rounded = (bytes + unit - 1) / unit * unit;
    TRY(driver_check(*at_.driver, at_.driver->cuMemCreate(&handle_, rounded, &wanted, 0),
                     format("allocating %llu bytes on CUDA device %d",
                            static_cast<unsigned long long>(rounded), at_.device)));
    TRY(range_.reserve(rounded));
    TRY(range_.map(handle_, rounded));
    TRY(range_.access(at_.device));
    TRY(peers_access());
    address_ = range_.address();
    bytes_ = rounded;
    return {};
}

Result<void> ExportedMemory::peers_access() {
    int count = 0;
    TRY(driver_check(*at_.driver, at_.driver->cuDeviceGetCount(&count), "cuDeviceGetCount"));
    for (int ordinal = 0; ordinal < count; ordinal++) {
        Device other = 0;
        int can = 0;
        if (at_.driver->cuDeviceGet(&other, ordinal) == status::success && other != at_.device &&
            at_.driver->cuDeviceCanAccessPeer(&can, other, at_.device) == status::success &&
            can != 0) {
            TRY(range_.access(other));
        }
    }
    return {};
}

Result<void> ExportedMemory::make_plain(uint64_t bytes) {
    TRY(driver_check(*at_.driver, at_.driver->cuMemAlloc(&address_, bytes),
                     format("allocating %llu bytes on CUDA device %d",
                            static_cast<unsigned long long>(bytes), at_.device)));
    bytes_ = bytes;
    return {};
}

ExportedMemory::~ExportedMemory() {
    if (handle_ == 0 && address_ == 0) {
        return;
    }
    const RelaxedCapture relaxed(*at_.driver);
    const Result<ContextGuard> guard = ContextGuard::push(*at_.driver, at_.context);
    if (!guard.ok()) {
        return;  // as VirtualRange's end
    }
    // The mapping goes after the handle, with range_; the memory goes with the last of both.
    log_end("freeing device memory",
            handle_ != 0 ? at_.driver->cuMemRelease(handle_) : at_.driver->cuMemFree(address_));
}

Result<ExportNote> ExportedMemory::note() const {
    ExportNote note;
    note.kind = kind();
    note.bytes = bytes_;
    note.device = device_uuid(*at_.driver, at_.device);
    if (note.kind == ExportKind::descriptor) {
        return note;
    }
    if (at_.driver->cuIpcGetMemHandle == nullptr) {
        return make_error(Code::unsupported, Scope::communicator,
                          format("the CUDA driver %s can give device memory to no other process; "
                                 "ranks go through host memory",
                                 at_.driver->path.c_str()));
    }
    const ContextGuard guard = TRY(ContextGuard::push(*at_.driver, at_.context));
    TRY(driver_check(*at_.driver, at_.driver->cuIpcGetMemHandle(&note.handle, address_),
                     format("a handle for memory of CUDA device %d", at_.device)));
    return note;
}

Result<Fd> ExportedMemory::descriptor() const {
    ASSERT(kind() == ExportKind::descriptor);
    const ContextGuard guard = TRY(ContextGuard::push(*at_.driver, at_.context));
    return memory_export(*at_.driver, handle_,
                         format("a descriptor of memory of CUDA device %d", at_.device));
}

Result<Fd> memory_export(const Driver& driver, MemoryHandle handle, const std::string& what) {
    int file = -1;
    TRY(driver_check(
        driver,
        driver.cuMemExportToShareableHandle(&file, handle, handle_type::posix_descriptor, 0),
        what));
    Fd descriptor(file);
    ::fcntl(file, F_SETFD, FD_CLOEXEC);
    return descriptor;
}

// --- ImportedMemory

Result<std::unique_ptr<ImportedMemory>> ImportedMemory::open(const DevicePlace& at,
                                                             std::vector<ExportedPart> parts) {
    ASSERT(!parts.empty());
    const ExportNote& first = parts.front().note;
    for (const ExportedPart& part : parts) {
        const bool described = part.note.kind == ExportKind::descriptor;
        if (part.note.device != first.device || described != bool{part.descriptor} ||
            (!described && parts.size() != 1)) {
            return make_error(
                Code::remote, Scope::peer,
                format("%zu parts of a peer's device memory do not belong together", parts.size()));
        }
    }
    TRY(device_reaches(at, first.device));
    std::unique_ptr<ImportedMemory> memory(new ImportedMemory(at));
    const ContextGuard guard = TRY(ContextGuard::push(*at.driver, at.context));
    const Result<void> opened =
        first.kind == ExportKind::legacy ? memory->open_legacy(first) : memory->map(parts);
    if (!opened.ok()) {
        return unreachable(at, first.device, opened.error().what);
    }
    return memory;
}

Result<void> ImportedMemory::map(const std::vector<ExportedPart>& parts) {
    const Driver& driver = *at_.driver;
    if (!descriptors_supported(driver, at_.device)) {
        return make_error(Code::unsupported, Scope::peer,
                          "driver or device have no virtual memory management");
    }
    uint64_t bytes = 0;
    for (const ExportedPart& part : parts) {
        bytes += part.note.bytes;  // each at most note_bytes_max, and there are few
    }
    TRY(range_.reserve(bytes));
    for (const ExportedPart& part : parts) {
        MemoryHandle handle = 0;
        void* const file = reinterpret_cast<void*>(static_cast<intptr_t>(part.descriptor.get()));
        TRY(driver_check(
            driver,
            driver.cuMemImportFromShareableHandle(&handle, file, handle_type::posix_descriptor),
            "importing a descriptor"));
        const Result<void> mapped = range_.map(handle, part.note.bytes);
        driver.cuMemRelease(handle);  // the mapping keeps the memory
        if (!mapped.ok()) {
            return mapped;
        }
    }
    TRY(range_.access(at_.device));
    address_ = range_.address();
    bytes_ = bytes;
    return {};
}

Result<void> ImportedMemory::open_legacy(const ExportNote& note) {
    if (at_.driver->cuIpcOpenMemHandle == nullptr || at_.driver->cuIpcCloseMemHandle == nullptr) {
        return make_error(Code::unsupported, Scope::peer, "the driver opens no handles");
    }
    TRY(driver_check(
        *at_.driver,
        at_.driver->cuIpcOpenMemHandle(&address_, note.handle, ipc_flag::lazy_peer_access),
        "opening a handle of device memory"));
    legacy_ = true;
    bytes_ = note.bytes;
    Address base = 0;
    size_t bytes = 0;
    if (at_.driver->cuMemGetAddressRange(&base, &bytes, address_) == status::success &&
        address_ - base + bytes_ > bytes) {
        return make_error(Code::remote, Scope::peer,
                          format("the handle is of %zu bytes, the peer said %llu", bytes,
                                 static_cast<unsigned long long>(bytes_)));
    }
    return {};
}

ImportedMemory::~ImportedMemory() {
    if (!legacy_) {
        return;
    }
    const RelaxedCapture relaxed(*at_.driver);
    const Result<ContextGuard> guard = ContextGuard::push(*at_.driver, at_.context);
    if (guard.ok()) {
        log_end("closing a handle of device memory", at_.driver->cuIpcCloseMemHandle(address_));
    }
}

}  // namespace weft::gpu
