// Memory apart from its addresses: files that are mapped where addresses were reserved. What was
// mapped cannot be touched before access is set, nor after it was unmapped, which waits for nobody;
// a file lives as long as a handle, a mapping or a descriptor of any process does.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

#include "tests/fake_cuda/calls.h"
#include "tests/fake_cuda/control.h"
#include "tests/fake_cuda/hostile.h"
#include "tests/fake_cuda/memory.h"

namespace weft::gpu {

namespace {

constexpr size_t granularity_bytes = 2 << 20;

struct Physical {
    int file = -1;
    FileNote note;
    bool rdma = false;
    int handles = 0, mappings = 0;
};

struct MappedPart {
    size_t bytes = 0;
    MemoryHandle handle = 0;
    uint64_t devices = 0;  // a bit each: they may access it
};

// Never destroyed: the library may let go of a device while the process ends.
std::mutex& mutex = *new std::mutex;
std::map<MemoryHandle, Physical>& physicals = *new std::map<MemoryHandle, Physical>;
struct Space {
    size_t bytes = 0;
    uint64_t id = 0;
};
std::map<Address, Space>& reservations = *new std::map<Address, Space>;
std::map<Address, MappedPart>& parts = *new std::map<Address, MappedPart>;
MemoryHandle next_handle = 0x7000;

using Lock = std::lock_guard<std::mutex>;

bool supported() {
    return fake_cuda_control.no_virtual_memory == 0;
}

bool good(const MemoryProperties* wanted) {
    return wanted != nullptr && wanted->type == allocation_type::pinned &&
           (wanted->handle_types & ~handle_type::posix_descriptor) == 0 &&
           wanted->location.type == location_type::device && device_valid(wanted->location.id) &&
           wanted->windows == nullptr && wanted->flags.compression == 0 && wanted->flags.usage == 0;
}

// Under the mutex, as all below.
void let_go(std::map<MemoryHandle, Physical>::iterator at) {
    if (at->second.handles == 0 && at->second.mappings == 0) {
        close(at->second.file);
        physicals.erase(at);
        fake_cuda_control.live_physicals--;
    }
}

MemoryHandle physical_add(int file, const FileNote& note, bool rdma) {
    const MemoryHandle handle = next_handle++;
    physicals[handle] = {file, note, rdma, 1, 0};
    fake_cuda_control.live_physicals++;
    return handle;
}

// The parts from `address` on, side by side, make up exactly so many bytes.
bool parts_cover(Address address, size_t bytes) {
    const Address end = address + bytes;
    while (address < end) {
        const auto part = parts.find(address);
        if (part == parts.end()) {
            return false;
        }
        address += part->second.bytes;
    }
    return bytes != 0 && address == end;
}

bool reserved_free(Address address, size_t bytes) {
    const auto after = reservations.upper_bound(address);
    if (after == reservations.begin() ||
        address + bytes > std::prev(after)->first + std::prev(after)->second.bytes) {
        return false;
    }
    const auto next = parts.lower_bound(address);
    if (next != parts.end() && next->first < address + bytes) {
        return false;
    }
    return next == parts.begin() ||
           std::prev(next)->first + std::prev(next)->second.bytes <= address;
}

Status access_add(Address address, MappedPart& part) {
    const Physical& physical = physicals.at(part.handle);
    if (!file_map(physical.file, address, part.bytes)) {
        return status::out_of_memory;
    }
    // One number for all that is ever mapped in these addresses.
    const uint64_t id = std::prev(reservations.upper_bound(address))->second.id;
    return memory_add(address, part.bytes, physical.note.device, MemoryUse::mapped, id);
}

}  // namespace

Reserved reserved_find(Address address) {
    const Lock lock(mutex);
    const auto after = reservations.upper_bound(address);
    if (after == reservations.begin()) {
        return {};
    }
    const auto [begin, space] = *std::prev(after);
    return address - begin < space.bytes ? Reserved{begin, space.bytes} : Reserved{};
}

Status VirtualCalls::cuMemGetAllocationGranularity(size_t* granularity,
                                                   const MemoryProperties* properties, int) {
    FAKE_REQUIRE(in_context());
    *granularity = granularity_bytes;
    return good(properties) ? status::success : status::invalid_value;
}

Status VirtualCalls::cuMemCreate(MemoryHandle* handle, size_t bytes,
                                 const MemoryProperties* properties, unsigned long long flags) {
    FAKE_REQUIRE(in_context_unsafe(false));
    if (!supported()) {
        return status::not_supported;
    }
    if (!good(properties) || bytes == 0 || bytes % granularity_bytes != 0 || flags != 0) {
        return status::invalid_value;
    }
    const int file = file_make(bytes, properties->location.id, properties->handle_types);
    if (file < 0) {
        return status::out_of_memory;
    }
    const Address scratch = space_reserve(bytes);
    file_map(file, scratch, bytes);
    memory_poison(reinterpret_cast<void*>(scratch), bytes);
    space_close(scratch, bytes);
    FileNote note;
    file_note(file, &note);
    const Lock lock(mutex);
    *handle = physical_add(file, note, properties->flags.rdma != 0);
    return status::success;
}

Status VirtualCalls::cuMemRelease(MemoryHandle handle) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const Lock lock(mutex);
    const auto found = physicals.find(handle);
    if (found == physicals.end() || found->second.handles == 0) {
        return status::invalid_value;
    }
    found->second.handles--;
    let_go(found);
    return status::success;
}

Status VirtualCalls::cuMemAddressReserve(Address* address, size_t bytes, size_t alignment, Address,
                                         unsigned long long flags) {
    FAKE_REQUIRE(in_context_unsafe(false));
    if (bytes == 0 || bytes % granularity_bytes != 0 || alignment > granularity_bytes ||
        flags != 0) {
        return status::invalid_value;
    }
    const Lock lock(mutex);
    *address = space_reserve(bytes);
    if (*address == 0) {
        return status::out_of_memory;
    }
    reservations[*address] = {bytes, memory_id()};
    fake_cuda_control.live_reservations++;
    return status::success;
}

Status VirtualCalls::cuMemAddressFree(Address address, size_t bytes) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const Lock lock(mutex);
    const auto found = reservations.find(address);
    if (found == reservations.end() || found->second.bytes != bytes ||
        !reserved_free(address, bytes)) {
        return status::invalid_value;
    }
    reservations.erase(found);
    fake_cuda_control.live_reservations--;
    return status::success;
}

Status VirtualCalls::cuMemMap(Address address, size_t bytes, size_t offset, MemoryHandle handle,
                              unsigned long long flags) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const Lock lock(mutex);
    const auto found = physicals.find(handle);
    if (found == physicals.end() || found->second.handles == 0 || bytes == 0 ||
        bytes % granularity_bytes != 0 || bytes > found->second.note.bytes || offset != 0 ||
        flags != 0 || !reserved_free(address, bytes)) {
        return status::invalid_value;
    }
    found->second.mappings++;
    parts[address] = {bytes, handle, false};
    return status::success;
}

// It does not wait: whoever still uses the memory has lost it.
Status VirtualCalls::cuMemUnmap(Address address, size_t bytes) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const Lock lock(mutex);
    if (!parts_cover(address, bytes)) {
        return status::invalid_value;
    }
    for (const Address end = address + bytes; address < end;) {
        const MappedPart part = parts.at(address);
        if (part.devices != 0) {
            memory_remove(address, MemoryUse::mapped);
        }
        space_close(address, part.bytes);
        parts.erase(address);
        const auto physical = physicals.find(part.handle);
        physical->second.mappings--;
        let_go(physical);
        address += part.bytes;
    }
    return status::success;
}

Status VirtualCalls::cuMemSetAccess(Address address, size_t bytes, const MemoryAccess* access,
                                    size_t count) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const Lock lock(mutex);
    if (count != 1 || access->location.type != location_type::device ||
        access->flags != access_flag::read_write || !parts_cover(address, bytes)) {
        return status::invalid_value;
    }
    for (const Address end = address + bytes; address < end;) {
        MappedPart& part = parts.at(address);
        const int home = physicals.at(part.handle).note.device;
        if (!device_valid(access->location.id) ||
            (home != access->location.id && fake_cuda_control.no_peers != 0)) {
            return status::invalid_device;
        }
        if (part.devices == 0) {
            FAKE_REQUIRE(access_add(address, part));
        }
        part.devices |= uint64_t{1} << access->location.id;
        memory_allow(address, part.devices);
        address += part.bytes;
    }
    fake_cuda_control.accesses_set++;
    return status::success;
}

Status VirtualCalls::cuMemGetAccess(unsigned long long* flags, const MemoryLocation* location,
                                    Address address) {
    FAKE_REQUIRE(in_context());
    const Lock lock(mutex);
    const auto after = parts.upper_bound(address);
    if (after == parts.begin() ||
        address - std::prev(after)->first >= std::prev(after)->second.bytes ||
        location->type != location_type::device || !device_valid(location->id)) {
        return status::invalid_value;
    }
    const bool may = (std::prev(after)->second.devices >> location->id & 1) != 0;
    *flags = may ? access_flag::read_write : 0;
    return status::success;
}

Status VirtualCalls::cuMemExportToShareableHandle(void* shared, MemoryHandle handle, int type,
                                                  unsigned long long flags) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const Lock lock(mutex);
    const auto found = physicals.find(handle);
    if (found == physicals.end() || type != handle_type::posix_descriptor || flags != 0 ||
        (found->second.note.handle_types & type) == 0) {
        return status::invalid_value;
    }
    const int file = dup(found->second.file);  // stays open across exec, as a driver's may
    std::memcpy(shared, &file, sizeof(file));
    return file >= 0 ? status::success : status::out_of_memory;
}

Status VirtualCalls::cuMemImportFromShareableHandle(MemoryHandle* handle, void* shared, int type) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const auto file = static_cast<int>(reinterpret_cast<intptr_t>(shared));
    FileNote note;
    if (!supported() || type != handle_type::posix_descriptor || !file_note(file, &note) ||
        note.handle_types == 0) {
        return status::invalid_value;
    }
    const int own = fcntl(file, F_DUPFD_CLOEXEC, 0);
    if (own < 0) {
        return status::out_of_memory;
    }
    const Lock lock(mutex);
    *handle = physical_add(own, note, false);
    return status::success;
}

Status VirtualCalls::cuMemRetainAllocationHandle(MemoryHandle* handle, void* address) {
    FAKE_REQUIRE(in_context());
    const auto at = reinterpret_cast<Address>(address);
    const Lock lock(mutex);
    const auto after = parts.upper_bound(at);
    if (after == parts.begin() || at - std::prev(after)->first >= std::prev(after)->second.bytes) {
        return status::invalid_value;
    }
    *handle = std::prev(after)->second.handle;
    physicals.at(*handle).handles++;
    return status::success;
}

Status VirtualCalls::cuMemGetAllocationPropertiesFromHandle(MemoryProperties* properties,
                                                            MemoryHandle handle) {
    FAKE_REQUIRE(in_context());
    const Lock lock(mutex);
    const auto found = physicals.find(handle);
    if (found == physicals.end()) {
        return status::invalid_value;
    }
    const Physical& physical = found->second;
    *properties = {};
    properties->type = allocation_type::pinned;
    properties->handle_types = physical.note.handle_types & handle_type::posix_descriptor;
    properties->location = {location_type::device, physical.note.device};
    properties->flags.rdma = physical.rdma ? 1 : 0;
    return status::success;
}

}  // namespace weft::gpu
