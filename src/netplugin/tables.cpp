// The exported tables. What versions have in common is a function; what a version has of its own
// is a template that calls it.
#include <span>

#include "src/netplugin/abi_tables.h"
#include "src/netplugin/border.h"
#include "src/netplugin/connect.h"
#include "src/netplugin/memory.h"

namespace weft::netplugin {

namespace {

constexpr const char* plugin_name = "Weft";
constexpr int comms_max = 1 << 16;  // wires of one process
constexpr size_t coll_bytes_max = message_bytes_max;

// Before and from contexts on: init and its end.

ncclResult_t init_process(LogFunction log) {
    return at_border([&]() -> Result<void> {
        Process& process = Process::get();
        process.keep(TRY(process.open(log)));
        return {};
    });
}

ncclResult_t init_process_profiled(LogFunction log, ProfilerFunction) {
    return init_process(log);
}

ncclResult_t init_context(void** context, uint64_t, CommConfig*, LogFunction log,
                          ProfilerFunction) {
    return at_border([&]() -> Result<void> {
        TRY(given(context, "init"));
        Process& process = Process::get();
        auto shared = TRY(process.open(log));
        *context = process.context_make(std::move(shared));
        return {};
    });
}

ncclResult_t finalize(void* context) {
    return at_border([&]() -> Result<void> {
        TRY(given(context, "finalize"));
        Process::get().context_end(static_cast<Process::Context*>(context));
        return {};
    });
}

ncclResult_t attributes_ignore(void*, NetAttributes*) {
    return ncclSuccess;  // hints that change nothing here
}

// Devices.

ncclResult_t devices(int* count) {
    return at_border([&]() -> Result<void> {
        TRY(given(count, "devices"));
        const auto shared = TRY(Process::get().current());
        *count = shared->devices.physical_count();
        return {};
    });
}

template <class Properties>
void virtual_properties_fill(const Device& device, Properties* properties) {
    properties->force_flush = 0;
    properties->devices.count = static_cast<int>(device.physical.size());
    for (size_t i = 0; i < device.physical.size() && i < std::size(properties->devices.devices);
         i++) {
        properties->devices.devices[i] = device.physical[i];
    }
    properties->p2p_bytes_max = message_bytes_max;
    properties->coll_bytes_max = coll_bytes_max;
}

template <class Properties>
ncclResult_t properties(int index, Properties* properties) {
    return at_border([&]() -> Result<void> {
        TRY(given(properties, "getProperties"));
        const auto shared = TRY(Process::get().current());
        const Device& device = *TRY(shared->devices.get(index));
        *properties = Properties{};
        properties->name = const_cast<char*>(device.name_kept);
        properties->pci_path = const_cast<char*>(device.path_kept);
        properties->guid = device.guid;
        properties->pointer_kinds = pointer_kinds_of(device);
        properties->reg_is_global = 1;
        properties->speed_mbps = device.speed_mbps;
        properties->port = 1;
        properties->comms_max = comms_max;
        properties->recvs_max = receives_max;
        properties->device_kind = device_host;
        if constexpr (requires { properties->devices; }) {
            virtual_properties_fill(device, properties);
        }
        if constexpr (requires { properties->multi_request_max; }) {
            properties->multi_request_max = 1;
        }
        if constexpr (requires { properties->rail_id; }) {
            const bool one = device.physical.size() == 1;
            properties->rail_id = static_cast<int16_t>(one ? device.physical[0] : rail_id_none);
            properties->plane_id = rail_id_none;
        }
        return {};
    });
}

template <class Set>
ncclResult_t virtual_device(int* index, Set* set) {
    return at_border([&]() -> Result<void> {
        TRY(given(index, "makeVDevice"));
        TRY(given(set, "makeVDevice"));
        constexpr int merge_max = static_cast<int>(std::size(Set{}.devices));
        const bool counts = set->count >= 0 && set->count <= merge_max;
        // Beyond its room only the number is read, for the refusal.
        const std::span<const int> members(set->devices,
                                           static_cast<size_t>(counts ? set->count : 0));
        const auto shared = TRY(Process::get().current());
        if (!counts) {
            return make_error(
                Code::invalid_argument, Scope::call,
                format("a device of %d NICs: 1 to %d can be merged", set->count, merge_max));
        }
        *index = TRY(shared->devices.merge(members, merge_max));
        return {};
    });
}

// Connections. A void* of NCCL's is a Connection*, whichever its direction.

ncclResult_t listen(int device, void* handle, void** listen_comm) {
    return at_border([&]() -> Result<void> {
        TRY(given(handle, "listen"));
        TRY(given(listen_comm, "listen"));
        auto shared = TRY(Process::get().current());
        *listen_comm = TRY(ListenComm::make(std::move(shared), device, handle)).release();
        return {};
    });
}

ncclResult_t listen_context(void*, int device, void* handle, void** listen_comm) {
    return listen(device, handle, listen_comm);
}

ncclResult_t connect(int device, void* handle, void** send_comm, DeviceHandle** device_comm) {
    return at_border([&]() -> Result<void> {
        TRY(given(handle, "connect"));
        TRY(given(send_comm, "connect"));
        *send_comm = nullptr;
        if (device_comm != nullptr) {
            *device_comm = nullptr;
        }
        const auto shared = TRY(Process::get().current());
        auto made = TRY(connect(shared, device, handle));
        *send_comm = static_cast<Connection*>(made.release());
        return {};
    });
}

ncclResult_t connect_config(int device, CommConfig*, void* handle, void** send_comm,
                            DeviceHandle** device_comm) {
    return connect(device, handle, send_comm, device_comm);
}

ncclResult_t connect_context(void*, int device, void* handle, void** send_comm,
                             DeviceHandle** device_comm) {
    return connect(device, handle, send_comm, device_comm);
}

ncclResult_t accept(void* listen_comm, void** recv_comm, DeviceHandle** device_comm) {
    return at_border([&]() -> Result<void> {
        TRY(given(listen_comm, "accept"));
        TRY(given(recv_comm, "accept"));
        *recv_comm = nullptr;
        if (device_comm != nullptr) {
            *device_comm = nullptr;
        }
        auto made = TRY(static_cast<ListenComm*>(listen_comm)->accept());
        *recv_comm = static_cast<Connection*>(made.release());
        return {};
    });
}

ncclResult_t close_comm(void* comm) {
    return at_border([&]() -> Result<void> {
        TRY(given(comm, "close"));
        delete static_cast<Connection*>(comm);
        return {};
    });
}

ncclResult_t close_listen(void* comm) {
    return at_border([&]() -> Result<void> {
        TRY(given(comm, "closeListen"));
        delete static_cast<ListenComm*>(comm);
        return {};
    });
}

// Memory.

ncclResult_t registered(void* comm, const Memory::Ask& ask, void** mr) {
    return at_border([&]() -> Result<void> {
        TRY(given(comm, "regMr"));
        TRY(given(mr, "regMr"));
        *mr = nullptr;
        *mr = TRY(Memory::make(*static_cast<Connection*>(comm), ask)).release();
        return {};
    });
}

ncclResult_t reg_mr(void* comm, void* data, size_t size, int kind, void** mr) {
    return registered(comm, {data, size, kind}, mr);
}

// NCCL says of what kind the memory behind it is; dma-bufs of hosts there are none.
ncclResult_t reg_dma_buf(void* comm, void* data, size_t size, int, uint64_t offset, int fd,
                         void** mr) {
    return registered(comm, {data, size, pointer_dmabuf, fd, offset}, mr);
}

ncclResult_t dereg_mr(void* comm, void* mr) {
    return at_border([&]() -> Result<void> {
        TRY(given(comm, "deregMr"));
        TRY(given(mr, "deregMr"));
        const std::unique_ptr<Memory> memory(static_cast<Memory*>(mr));
        memory->end(*static_cast<Connection*>(comm));
        return {};
    });
}

ncclResult_t device_mr(void*, void*, void** device_mr) {
    return at_border([&]() -> Result<void> {
        TRY(given(device_mr, "getDeviceMr"));
        *device_mr = nullptr;
        return make_error(Code::unsupported, Scope::call,
                          "getDeviceMr: this plugin has no code on the GPU");
    });
}

// The data path.

template <class Comm>
Result<Comm*> directed(void* comm, bool sends, const char* what) {
    TRY(given(comm, what));
    auto* connection = static_cast<Connection*>(comm);
    if (connection->sends() != sends) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s on a connection of the other direction", what));
    }
    return static_cast<Comm*>(connection);
}

template <class Size>
ncclResult_t isend(void* comm, void* data, Size size, int tag, void* mr, void** request) {
    return at_border([&]() -> Result<void> {
        TRY(given(request, "isend"));
        *request = nullptr;
        SendComm* connection = TRY(directed<SendComm>(comm, true, "isend"));
        const Buffer from =
            TRY(Memory::buffer(static_cast<Memory*>(mr), data, static_cast<uint64_t>(size)));
        *request = TRY(connection->isend(from, tag));
        return {};
    });
}

ncclResult_t isend_profiled(void* comm, void* data, size_t size, int tag, void* mr, void*,
                            void** request) {
    return isend<size_t>(comm, data, size, tag, mr, request);
}

// What a call on `n` buffers names, in `buffers`, which has room for as many as may be.
template <class Size>
Result<std::span<const Buffer>> group_of(const char* what, int n, void** data, const Size* sizes,
                                         void** mrs, Buffer* buffers) {
    const bool fits = n > 0 && n <= receives_max;
    if (!fits) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("%s of %d buffers in one group: 1 to %d (maxRecvs)", what, n, receives_max));
    }
    for (int i = 0; i < n; i++) {
        buffers[i] = TRY(
            Memory::buffer(static_cast<Memory*>(mrs[i]), data[i], static_cast<uint64_t>(sizes[i])));
    }
    return std::span<const Buffer>(buffers, static_cast<size_t>(n));
}

template <class Size>
ncclResult_t irecv(void* comm, int n, void** data, Size* room, int* tags, void** mrs,
                   void** request) {
    return at_border([&]() -> Result<void> {
        TRY(given(request, "irecv"));
        *request = nullptr;
        RecvComm* connection = TRY(directed<RecvComm>(comm, false, "irecv"));
        Buffer into[receives_max];
        const auto group = TRY(group_of("irecv", n, data, room, mrs, into));
        *request = TRY(connection->irecv(group, tags));
        return {};
    });
}

ncclResult_t irecv_profiled(void* comm, int n, void** data, size_t* room, int* tags, void** mrs,
                            void**, void** request) {
    return irecv<size_t>(comm, n, data, room, tags, mrs, request);
}

// Host memory is seen by the CPU as soon as the completion is: no request then, for it is done.
ncclResult_t iflush(void* comm, int n, void** data, int* sizes, void** mrs, void** request) {
    return at_border([&]() -> Result<void> {
        TRY(given(request, "iflush"));
        *request = nullptr;
        RecvComm* connection = TRY(directed<RecvComm>(comm, false, "iflush"));
        Buffer received[receives_max];
        const auto group = TRY(group_of("iflush", n, data, sizes, mrs, received));
        *request = TRY(connection->iflush(group));
        return {};
    });
}

ncclResult_t test(void* request, int* done, int* sizes) {
    return at_border([&]() -> Result<void> {
        TRY(given(request, "test"));
        TRY(given(done, "test"));
        *done = 0;
        auto* asked = static_cast<Request*>(request);
        if (!asked->taken) {
            return make_error(Code::invalid_usage, Scope::call,
                              "test of a request that is done already");
        }
        *done = TRY(asked->owner->test(*asked, sizes)) ? 1 : 0;
        return {};
    });
}

ncclResult_t consumed(void*, int, void*) {
    return ncclSuccess;  // nobody reads from buffers of ours
}

template <class Net, class Size>
constexpr Net table_up_to_v9() {
    Net net{};
    net.name = plugin_name;
    net.init = init_process;
    net.devices = devices;
    net.properties = properties;
    net.listen = listen;
    net.connect = connect;
    net.isend = isend<Size>;
    net.irecv = irecv<Size>;
    return net;
}

template <class Net>
constexpr Net with_common(Net net) {
    net.accept = accept;
    net.reg_mr = reg_mr;
    net.reg_dma_buf = reg_dma_buf;
    net.dereg_mr = dereg_mr;
    net.iflush = iflush;
    net.test = test;
    net.close_send = close_comm;
    net.close_recv = close_comm;
    net.close_listen = close_listen;
    net.device_mr = device_mr;
    net.irecv_consumed = consumed;
    if constexpr (requires { net.make_virtual_device; }) {
        net.make_virtual_device = virtual_device;
    }
    return net;
}

constexpr NetV10 table_v10() {
    NetV10 net{};
    net.name = plugin_name;
    net.init = init_process_profiled;
    net.devices = devices;
    net.properties = properties;
    net.listen = listen;
    net.connect = connect_config;
    net.isend = isend_profiled;
    net.irecv = irecv_profiled;
    return net;
}

template <class Net>
constexpr Net table_of_contexts() {
    Net net{};
    net.name = plugin_name;
    net.init = init_context;
    net.devices = devices;
    net.properties = properties;
    net.listen = listen_context;
    net.connect = connect_context;
    net.isend = isend_profiled;
    net.irecv = irecv_profiled;
    net.finalize = finalize;
    net.set_attributes = attributes_ignore;
    return net;
}

}  // namespace

}  // namespace weft::netplugin

// NCCL reads them by dlsym; lib/netplugin.map exports no other names.
extern "C" {

#define NET_EXPORT __attribute__((visibility("default"))) extern const

NET_EXPORT weft::netplugin::NetV8 ncclNetPlugin_v8;
NET_EXPORT weft::netplugin::NetV9 ncclNetPlugin_v9;
NET_EXPORT weft::netplugin::NetV10 ncclNetPlugin_v10;
NET_EXPORT weft::netplugin::NetV11 ncclNetPlugin_v11;
NET_EXPORT weft::netplugin::NetV12 ncclNetPlugin_v12;

const weft::netplugin::NetV8 ncclNetPlugin_v8 =
    weft::netplugin::with_common(weft::netplugin::table_up_to_v9<weft::netplugin::NetV8, int>());
const weft::netplugin::NetV9 ncclNetPlugin_v9 =
    weft::netplugin::with_common(weft::netplugin::table_up_to_v9<weft::netplugin::NetV9, size_t>());
const weft::netplugin::NetV10 ncclNetPlugin_v10 =
    weft::netplugin::with_common(weft::netplugin::table_v10());
const weft::netplugin::NetV11 ncclNetPlugin_v11 =
    weft::netplugin::with_common(weft::netplugin::table_of_contexts<weft::netplugin::NetV11>());
const weft::netplugin::NetV12 ncclNetPlugin_v12 =
    weft::netplugin::with_common(weft::netplugin::table_of_contexts<weft::netplugin::NetV12>());
}
