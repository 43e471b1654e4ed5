// The function tables that a net plugin exports, one symbol a version (abi.h: table_symbol).
// Sources and rules as in abi.h. Thread rule, as NCCL calls: init, devices, properties,
// make_virtual_device and finalize from threads that set up communicators, one at a time; listen,
// connect, accept, registrations, properties and closes from a service thread a communicator;
// isend, irecv, test, iflush, irecv_consumed and set_attributes from its progress thread, at the
// same time. Lifetime rule: the table is static. Failure rule: a code of nccl.h, never an
// exception.
#pragma once

#include "src/netplugin/abi.h"

namespace weft::netplugin {

using DevicesFn = ncclResult_t (*)(int* count);
template <class Properties>
using PropertiesFn = ncclResult_t (*)(int device, Properties* properties);

// Neither blocks: success with a null comm asks for another call, connect with the same handle,
// where a plugin may keep its state. device_comm may be null.
using AcceptFn = ncclResult_t (*)(void* listen_comm, void** recv_comm, DeviceHandle** device_comm);

// `comm` is of either direction. The descriptor of a dma-buf is NCCL's and closed after the call.
using RegMrFn = ncclResult_t (*)(void* comm, void* data, size_t size, int kind, void** mr);
using RegDmaBufFn = ncclResult_t (*)(void* comm, void* data, size_t size, int kind, uint64_t offset,
                                     int fd, void** mr);
using DeregMrFn = ncclResult_t (*)(void* comm, void* mr);

// A null request after success: not now, try again. Sizes are room when given to irecv.
using SendV8Fn = ncclResult_t (*)(void* send_comm, void* data, int size, int tag, void* mr,
                                  void** request);
using SendV9Fn = ncclResult_t (*)(void* send_comm, void* data, size_t size, int tag, void* mr,
                                  void** request);
using SendV10Fn = ncclResult_t (*)(void* send_comm, void* data, size_t size, int tag, void* mr,
                                   void* profiler_parent, void** request);
using RecvV8Fn = ncclResult_t (*)(void* recv_comm, int n, void** data, int* sizes, int* tags,
                                  void** mrs, void** request);
using RecvV9Fn = ncclResult_t (*)(void* recv_comm, int n, void** data, size_t* sizes, int* tags,
                                  void** mrs, void** request);
using RecvV10Fn = ncclResult_t (*)(void* recv_comm, int n, void** data, size_t* sizes, int* tags,
                                   void** mrs, void** profiler_parents, void** request);

// A null request after success: there is nothing to wait for.
using FlushFn = ncclResult_t (*)(void* recv_comm, int n, void** data, int* sizes, void** mrs,
                                 void** request);
// Done frees the request. `sizes`, null or one for each buffer, gets what has come.
using TestFn = ncclResult_t (*)(void* request, int* done, int* sizes);
using CloseFn = ncclResult_t (*)(void* comm);

// Only for devices of a kind other than device_host.
using DeviceMrFn = ncclResult_t (*)(void* comm, void* mr, void** device_mr);
using ConsumedFn = ncclResult_t (*)(void* recv_comm, int n, void* request);

// May be null: no devices are merged. `device` gets the index of the new one.
template <class Set>
using VirtualDeviceFn = ncclResult_t (*)(int* device, Set* devices);

struct NetV8 {
    const char* name;
    ncclResult_t (*init)(LogFunction log);
    DevicesFn devices;
    PropertiesFn<PropertiesV8> properties;
    ncclResult_t (*listen)(int device, void* handle, void** listen_comm);
    ncclResult_t (*connect)(int device, void* handle, void** send_comm, DeviceHandle** device_comm);
    AcceptFn accept;
    RegMrFn reg_mr;
    RegDmaBufFn reg_dma_buf;
    DeregMrFn dereg_mr;
    SendV8Fn isend;
    RecvV8Fn irecv;
    FlushFn iflush;
    TestFn test;
    CloseFn close_send;
    CloseFn close_recv;
    CloseFn close_listen;
    DeviceMrFn device_mr;
    ConsumedFn irecv_consumed;
};

struct NetV9 {
    const char* name;
    ncclResult_t (*init)(LogFunction log);
    DevicesFn devices;
    PropertiesFn<PropertiesV9> properties;
    ncclResult_t (*listen)(int device, void* handle, void** listen_comm);
    ncclResult_t (*connect)(int device, void* handle, void** send_comm, DeviceHandle** device_comm);
    AcceptFn accept;
    RegMrFn reg_mr;
    RegDmaBufFn reg_dma_buf;
    DeregMrFn dereg_mr;
    SendV9Fn isend;
    RecvV9Fn irecv;
    FlushFn iflush;
    TestFn test;
    CloseFn close_send;
    CloseFn close_recv;
    CloseFn close_listen;
    DeviceMrFn device_mr;
    ConsumedFn irecv_consumed;
    VirtualDeviceFn<DeviceSetV9> make_virtual_device;
};

struct NetV10 {
    const char* name;
    ncclResult_t (*init)(LogFunction log, ProfilerFunction profiler);
    DevicesFn devices;
    PropertiesFn<PropertiesV9> properties;
    ncclResult_t (*listen)(int device, void* handle, void** listen_comm);
    ncclResult_t (*connect)(int device, CommConfig* config, void* handle, void** send_comm,
                            DeviceHandle** device_comm);
    AcceptFn accept;
    RegMrFn reg_mr;
    RegDmaBufFn reg_dma_buf;
    DeregMrFn dereg_mr;
    SendV10Fn isend;
    RecvV10Fn irecv;
    FlushFn iflush;
    TestFn test;
    CloseFn close_send;
    CloseFn close_recv;
    CloseFn close_listen;
    DeviceMrFn device_mr;
    ConsumedFn irecv_consumed;
    VirtualDeviceFn<DeviceSetV9> make_virtual_device;
};

// v11 and v12 differ in what properties and sets of devices hold. init is called once a
// communicator and gives the context that listen, connect, set_attributes and finalize take.
template <class Properties, class Set>
struct NetOfContexts {
    const char* name;
    ncclResult_t (*init)(void** context, uint64_t comm_id, CommConfig* config, LogFunction log,
                         ProfilerFunction profiler);
    DevicesFn devices;
    PropertiesFn<Properties> properties;
    ncclResult_t (*listen)(void* context, int device, void* handle, void** listen_comm);
    ncclResult_t (*connect)(void* context, int device, void* handle, void** send_comm,
                            DeviceHandle** device_comm);
    AcceptFn accept;
    RegMrFn reg_mr;
    RegDmaBufFn reg_dma_buf;
    DeregMrFn dereg_mr;
    SendV10Fn isend;
    RecvV10Fn irecv;
    FlushFn iflush;
    TestFn test;
    CloseFn close_send;
    CloseFn close_recv;
    CloseFn close_listen;
    DeviceMrFn device_mr;
    ConsumedFn irecv_consumed;
    VirtualDeviceFn<Set> make_virtual_device;
    ncclResult_t (*finalize)(void* context);
    ncclResult_t (*set_attributes)(void* context, NetAttributes* attributes);  // may be null
};
using NetV11 = NetOfContexts<PropertiesV11, DeviceSetV9>;
using NetV12 = NetOfContexts<PropertiesV12, DeviceSetV12>;

// All versions agree up to irecv_consumed, and each adds at the end.
template <class Net>
constexpr bool table_begins_right() {
    return offsetof(Net, name) == 0 && offsetof(Net, init) == 8 && offsetof(Net, devices) == 16 &&
           offsetof(Net, properties) == 24 && offsetof(Net, listen) == 32 &&
           offsetof(Net, connect) == 40 && offsetof(Net, accept) == 48 &&
           offsetof(Net, reg_mr) == 56 && offsetof(Net, reg_dma_buf) == 64 &&
           offsetof(Net, dereg_mr) == 72 && offsetof(Net, isend) == 80 &&
           offsetof(Net, irecv) == 88 && offsetof(Net, iflush) == 96 &&
           offsetof(Net, test) == 104 && offsetof(Net, close_send) == 112 &&
           offsetof(Net, close_recv) == 120 && offsetof(Net, close_listen) == 128 &&
           offsetof(Net, device_mr) == 136 && offsetof(Net, irecv_consumed) == 144;
}
static_assert(table_begins_right<NetV8>() && table_begins_right<NetV9>() &&
              table_begins_right<NetV10>() && table_begins_right<NetV11>() &&
              table_begins_right<NetV12>());
static_assert(sizeof(NetV8) == 152 && sizeof(NetV9) == 160 && sizeof(NetV10) == 160 &&
              sizeof(NetV11) == 176 && sizeof(NetV12) == 176);
static_assert(offsetof(NetV9, make_virtual_device) == 152 &&
              offsetof(NetV10, make_virtual_device) == 152 &&
              offsetof(NetV11, make_virtual_device) == 152 && offsetof(NetV11, finalize) == 160 &&
              offsetof(NetV11, set_attributes) == 168 &&
              offsetof(NetV12, make_virtual_device) == 152 && offsetof(NetV12, finalize) == 160 &&
              offsetof(NetV12, set_attributes) == 168);

}  // namespace weft::netplugin
