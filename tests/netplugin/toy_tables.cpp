// The toy's five tables over one implementation, its properties, contexts and registrations.
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <type_traits>

#include "src/netplugin/abi_tables.h"
#include "tests/netplugin/toy.h"
#include "tests/netplugin/toy_mutants.h"

namespace toy {

using namespace weft::netplugin;

LogFunction log_function = nullptr;

ncclResult_t fail(ncclResult_t code, const char* what) {
    if (log_function != nullptr) {
        log_function(LogLevel::warn, log_net, __FILE__, __LINE__, "toy: %s", what);
    }
    return code;
}

namespace {

std::atomic<int> contexts = 0;
std::atomic<int> connections = 0;
bool closed_once = false;
std::atomic<bool> joined_made = false;

struct Region {
    void* comm;
    void* data;
    size_t size;
};
std::mutex regions_mutex;
std::set<Region*> regions;

ncclResult_t start(LogFunction log) {
    log_function = log;
    if (mutant("loads-once") && ::getenv("TOY_LOADED") != nullptr && contexts == 0) {
        return fail(ncclInternalError, "init: loaded before");
    }
    ::setenv("TOY_LOADED", "1", 1);
    if (mutant("init-once") && closed_once) {
        return fail(ncclInternalError, "init: finalised before");
    }
    contexts++;
    return ncclSuccess;
}

ncclResult_t init_8(LogFunction log) {
    return start(log);
}
ncclResult_t init_10(LogFunction log, ProfilerFunction) {
    return start(log);
}
ncclResult_t init_11(void** context, uint64_t comm_id, CommConfig*, LogFunction log,
                     ProfilerFunction) {
    *context = new uint64_t(comm_id);
    return start(log);
}
ncclResult_t finalize(void* context) {
    delete static_cast<uint64_t*>(context);
    contexts--;
    closed_once = true;
    return ncclSuccess;
}
ncclResult_t attributes(void*, NetAttributes* hints) {
    return hints->send.peers_max > 0 && !mutant("attributes-refused")
               ? ncclSuccess
               : fail(ncclInvalidArgument, "setNetAttr");
}

ncclResult_t devices(int* count) {
    static int times = 0;
    *count = device_count + (mutant("devices-change") ? times++ : 0);
    return ncclSuccess;
}

// What all versions have; their order differs, their names do not.
template <class P>
ncclResult_t properties(int device, P* p) {
    static std::atomic<uint64_t> times = 0;
    static char name[] = "toy";
    static char nowhere[] = "/sys/devices/there/is/none";
    const bool joined = device == device_count;
    if (!device_known(device)) {
        return fail(ncclInvalidArgument, "getProperties: no such device");
    }
    std::memset(static_cast<void*>(p), 0, sizeof *p);
    p->name = name;
    p->pci_path = mutant("path-wrong") ? nowhere : nullptr;
    p->guid = 100 + static_cast<uint64_t>(device) + (mutant("guid-changes") ? times++ : 0);
    p->pointer_kinds = pointer_host;
    p->reg_is_global = 1;
    p->speed_mbps = mutant("speed-none") ? 0 : 10'000;
    p->comms_max = 1 << 16;
    p->recvs_max = mutant("recvs-none") ? 0 : recvs_max;
    p->device_kind = mutant("kind-unknown") ? device_gdaki : device_host;
    if constexpr (!std::is_same_v<P, PropertiesV8>) {
        p->devices.count = joined && !mutant("virtual-forgets") ? 2 : 1;
        p->devices.devices[0] = joined ? 0 : device;
        p->devices.devices[1] = joined ? 1 : 0;
        p->p2p_bytes_max = mutant("bytes-unlimited") ? ~size_t{0} : size_t{1} << 30;
        p->coll_bytes_max = 1 << 30;
    }
    if constexpr (std::is_same_v<P, PropertiesV11> || std::is_same_v<P, PropertiesV12>) {
        p->multi_request_max = 1;
    }
    if constexpr (std::is_same_v<P, PropertiesV12>) {
        p->rail_id = static_cast<int16_t>(device);
        p->plane_id = rail_id_none;
    }
    return ncclSuccess;
}

template <class Set>
ncclResult_t join(int* device, Set* set) {
    if (set->count != 2 || set->devices[0] != 0 || set->devices[1] != 1) {
        return fail(ncclInvalidArgument, "makeVDevice: only devices 0 and 1");
    }
    *device = device_count;
    joined_made = true;
    return ncclSuccess;
}

ncclResult_t listen_8(int device, void* handle, void** comm) {
    if (mutant("second-device-dead") && device == 1) {
        return fail(ncclSystemError, "listen: device 1");
    }
    return listen(device, handle, comm);
}
ncclResult_t listen_11(void* context, int device, void* handle, void** comm) {
    if (mutant("contexts-shared") && closed_once) {
        return fail(ncclInternalError, "listen: finalised");
    }
    return context == nullptr ? ncclInternalError : listen_8(device, handle, comm);
}

ncclResult_t connect_8(int device, void* handle, void** comm, DeviceHandle** device_comm) {
    if (mutant("device-handle-needed") && device_comm == nullptr) {
        return fail(ncclInternalError, "connect: no place for a device handle");
    }
    if (device_comm != nullptr) {
        *device_comm = nullptr;
    }
    const ncclResult_t code = connect(device, handle, comm);
    if (*comm != nullptr && ++connections > 40 && mutant("few-connections")) {
        return fail(ncclInternalError, "connect: too many");
    }
    return code;
}
ncclResult_t connect_10(int device, CommConfig* config, void* handle, void** comm,
                        DeviceHandle** device_comm) {
    return config == nullptr ? ncclInternalError : connect_8(device, handle, comm, device_comm);
}
ncclResult_t connect_11(void* context, int device, void* handle, void** comm,
                        DeviceHandle** device_comm) {
    return context == nullptr ? ncclInternalError : connect_8(device, handle, comm, device_comm);
}
ncclResult_t accept_8(void* listener, void** comm, DeviceHandle** device_comm) {
    if (device_comm != nullptr) {
        *device_comm = nullptr;
    }
    return accept(listener, comm);
}
ncclResult_t dma_buf(void*, void*, size_t, int, uint64_t, int, void**) {
    return fail(ncclInvalidUsage, "regMrDmaBuf: host memory only");
}

// The data path knows no registrations: TCP copies. One is wanted all the same.
bool region_good(void* comm, void* mr) {
    const std::lock_guard lock(regions_mutex);
    const auto at = regions.find(static_cast<Region*>(mr));
    return at != regions.end() && (!mutant("regions-private") || (*at)->comm == comm);
}
// A process that has sent may not receive: a mutant's idea of a direction.
bool direction_wrong(bool sends) {
    static std::atomic<int> first = -1;
    int none = -1;
    first.compare_exchange_strong(none, sends ? 1 : 0);
    return mutant("one-direction") && first != (sends ? 1 : 0);
}

template <class Size>
ncclResult_t isend_8(void* comm, void* data, Size size, int tag, void* mr, void** request) {
    if (!region_good(comm, mr) || direction_wrong(true)) {
        return fail(ncclInvalidArgument, "isend: memory that is not registered");
    }
    return isend(comm, data, static_cast<size_t>(size), tag, request);
}
ncclResult_t isend_10(void* comm, void* data, size_t size, int tag, void* mr, void*,
                      void** request) {
    return isend_8<size_t>(comm, data, size, tag, mr, request);
}
template <class Size>
ncclResult_t irecv_8(void* comm, int n, void** data, Size* sizes, int* tags, void** mrs,
                     void** request) {
    std::array<size_t, 64> rooms{};
    for (int i = 0; i < n; i++) {
        rooms[static_cast<size_t>(i)] = static_cast<size_t>(sizes[i]);
        if (n <= recvs_max && (!region_good(comm, mrs[i]) || direction_wrong(false))) {
            return fail(ncclInvalidArgument, "irecv: memory that is not registered");
        }
    }
    return irecv(comm, n, data, rooms.data(), tags, request);
}
ncclResult_t irecv_10(void* comm, int n, void** data, size_t* sizes, int* tags, void** mrs, void**,
                      void** request) {
    return irecv_8<size_t>(comm, n, data, sizes, tags, mrs, request);
}
ncclResult_t iflush_8(void* comm, int, void**, int*, void**, void** request) {
    return iflush(comm, request);
}
const FlushFn flush_function = iflush_8;

struct Unload {
    ~Unload() {
        if (mutant("unload-crashes")) {
            std::abort();
        }
    }
} at_unload;

// A table of a library under test may lack what a mutant takes away.
FlushFn flush_or_none() {
    return mutant("no-iflush") ? nullptr : flush_function;
}

}  // namespace

bool device_known(int device) {
    return (device >= 0 && device < device_count) || (device == device_count && joined_made) ||
           mutant("device-unchecked");
}

ncclResult_t reg_mr(void* comm, void* data, size_t size, int kind, void** mr) {
    if (kind != pointer_host && !mutant("any-kind")) {
        return fail(ncclInvalidArgument, "regMr: host memory only");
    }
    const std::lock_guard lock(regions_mutex);
    for (const Region* region : regions) {
        const bool same = region->data == data && region->size == size && region->comm == comm;
        if (mutant("register-once") && same) {
            return fail(ncclInternalError, "regMr: registered before");
        }
    }
    if (mutant("register-alone") && !regions.empty() &&
        !static_cast<Connection*>(comm)->queue.empty()) {
        return fail(ncclInternalError, "regMr: requests are under way");
    }
    if (mutant("descriptor-kept")) {
        static_cast<void>(::dup(0));
    }
    *mr = *regions.insert(new Region{comm, data, size}).first;
    return ncclSuccess;
}

ncclResult_t dereg_mr(void*, void* mr) {
    const std::lock_guard lock(regions_mutex);
    auto* region = static_cast<Region*>(mr);
    if (regions.erase(region) == 0) {
        return fail(ncclInvalidArgument, "deregMr: no such registration");
    }
    delete region;
    return ncclSuccess;
}

extern "C" {
// NCCL's names, and tables that are there before the first call.
#define TOY_EXPORT __attribute__((visibility("default")))

TOY_EXPORT NetV8 ncclNetPlugin_v8 = {
    "Toy",           init_8,    devices,          properties<PropertiesV8>,
    listen_8,        connect_8, accept_8,         reg_mr,
    dma_buf,         dereg_mr,  isend_8<int>,     irecv_8<int>,
    flush_or_none(), test,      close_connection, close_connection,
    close_listen,    nullptr,   nullptr,
};
TOY_EXPORT NetV9 ncclNetPlugin_v9 = {
    "Toy",           init_8,    devices,          properties<PropertiesV9>,
    listen_8,        connect_8, accept_8,         reg_mr,
    dma_buf,         dereg_mr,  isend_8<size_t>,  irecv_8<size_t>,
    flush_or_none(), test,      close_connection, close_connection,
    close_listen,    nullptr,   nullptr,          join<DeviceSetV9>,
};
TOY_EXPORT NetV10 ncclNetPlugin_v10 = {
    "Toy",           init_10,    devices,          properties<PropertiesV9>,
    listen_8,        connect_10, accept_8,         reg_mr,
    dma_buf,         dereg_mr,   isend_10,         irecv_10,
    flush_or_none(), test,       close_connection, close_connection,
    close_listen,    nullptr,    nullptr,          join<DeviceSetV9>,
};
TOY_EXPORT NetV11 ncclNetPlugin_v11 = {
    "Toy",           init_11,    devices,          properties<PropertiesV11>,
    listen_11,       connect_11, accept_8,         reg_mr,
    dma_buf,         dereg_mr,   isend_10,         irecv_10,
    flush_or_none(), test,       close_connection, close_connection,
    close_listen,    nullptr,    nullptr,          join<DeviceSetV9>,
    finalize,        attributes,
};
TOY_EXPORT NetV12 ncclNetPlugin_v12 = {
    "Toy",           init_11,    devices,          properties<PropertiesV12>,
    listen_11,       connect_11, accept_8,         reg_mr,
    dma_buf,         dereg_mr,   isend_10,         irecv_10,
    flush_or_none(), test,       close_connection, close_connection,
    close_listen,    nullptr,    nullptr,          join<DeviceSetV12>,
    finalize,        attributes,
};
}

}  // namespace toy
