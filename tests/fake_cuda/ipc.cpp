// Handles of plain memory for other processes, and memory of the device's pool, which has none. A
// handle names a descriptor of its process; it may be equal to that of memory that was freed.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "tests/fake_cuda/calls.h"
#include "tests/fake_cuda/control.h"
#include "tests/fake_cuda/memory.h"

namespace weft::gpu {

namespace {

struct HandleBody {
    uint64_t magic = 0;
    Address address = 0;
    uint64_t bytes = 0;
    int process = 0;
    int file = -1;
};
static_assert(sizeof(HandleBody) <= sizeof(IpcHandle));
constexpr uint64_t magic = 0x63756461'69706368;

struct Opened {
    Address address = 0;
    size_t bytes = 0;
    int references = 0;
};

// Never destroyed, as the memory's table.
std::mutex& mutex = *new std::mutex;
std::map<std::string, Opened>& opened = *new std::map<std::string, Opened>;  // by handle

int file_of(const HandleBody& body) {
    char path[64];
    std::snprintf(path, sizeof(path), "/proc/%d/fd/%d", body.process, body.file);
    return open(path, O_RDWR | O_CLOEXEC);
}

Status map_new(const HandleBody& body, Opened* made) {
    const int file = file_of(body);
    FileNote note;
    Status result = status::success;
    if (file < 0 || !file_note(file, &note) || note.handle_types != 0 || note.bytes != body.bytes) {
        result = status::invalid_value;
    } else if (note.device != context_current()->device && fake_cuda_control.no_peers != 0) {
        result = status::peer_access_unsupported;
    } else {
        *made = {space_reserve(note.bytes), note.bytes, 0};
        result = made->address != 0 && file_map(file, made->address, note.bytes)
                     ? memory_add(made->address, note.bytes, note.device, MemoryUse::opened)
                     : status::out_of_memory;
    }
    if (file >= 0) {
        close(file);
    }
    return result;
}

}  // namespace

Status IpcCalls::cuIpcGetMemHandle(IpcHandle* handle, Address address) {
    FAKE_REQUIRE(in_context_unsafe());
    const Allocation found = memory_find(address);
    if (found.begin == 0 || found.use != MemoryUse::plain) {
        return status::invalid_value;
    }
    const HandleBody body{magic, found.begin, found.bytes, getpid(), found.file};
    *handle = {};
    std::memcpy(handle->bytes, &body, sizeof(body));
    return status::success;
}

Status IpcCalls::cuIpcOpenMemHandle(Address* address, IpcHandle handle, unsigned flags) {
    FAKE_REQUIRE(in_context_unsafe());
    HandleBody body;
    std::memcpy(&body, handle.bytes, sizeof(body));
    if (body.magic != magic || flags != ipc_flag::lazy_peer_access) {
        return status::invalid_value;
    }
    if (body.process == getpid()) {
        return status::invalid_context;
    }
    const std::lock_guard lock(mutex);
    Opened& one = opened[std::string(handle.bytes, sizeof(handle.bytes))];
    if (one.references == 0) {
        FAKE_REQUIRE(map_new(body, &one));
    }
    one.references++;
    *address = one.address;
    return status::success;
}

Status IpcCalls::cuIpcCloseMemHandle(Address address) {
    FAKE_REQUIRE(in_context_unsafe(false));
    const std::lock_guard lock(mutex);
    for (auto& [handle, one] : opened) {
        if (one.references > 0 && one.address == address) {
            if (--one.references == 0) {
                memory_remove(address, MemoryUse::opened);
                space_close(address, one.bytes);
            }
            return status::success;
        }
    }
    return status::invalid_value;
}

Status pool_take(Address* address, size_t bytes, Stream) {
    FAKE_REQUIRE(in_context());
    return memory_take(address, bytes, context_current()->device, MemoryUse::pool);
}

Status pool_free(Address address, Stream) {
    FAKE_REQUIRE(in_context());
    return memory_free(address, MemoryUse::pool);
}

}  // namespace weft::gpu
