// What NCCL and a net plugin tell each other, versions 8 to 12: constants, properties and the
// arguments of calls. The tables of functions are in abi_tables.h. Layouts, values and contracts
// are NCCL's (its plugins/net/example/nccl/net_v8.h to net_v12.h, net_device.h and common.h, and
// src/include/plugin/nccl_net.h, release 2.30); names and words are ours. Nothing here may change.
// Thread rule: values. Lifetime rule: strings in properties belong to the plugin and live as long
// as it is loaded. Failure rule: every function answers with a code of nccl.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "include/weft/nccl.h"

namespace weft::netplugin {

inline constexpr int abi_oldest = 8;
inline constexpr int abi_newest = 12;

// What dlsym is asked for, newest first: a plugin may export any of them.
inline constexpr std::array<const char*, abi_newest - abi_oldest + 1> table_symbols = {
    "ncclNetPlugin_v12", "ncclNetPlugin_v11", "ncclNetPlugin_v10",
    "ncclNetPlugin_v9",  "ncclNetPlugin_v8",
};
constexpr const char* table_symbol(int version) {
    return table_symbols[static_cast<size_t>(abi_newest - version)];
}

inline constexpr size_t handle_bytes = 128;               // what listen may fill
inline constexpr int requests_max = 32;                   // under way on one connection;
                                                          // times maxRecvs when sending
inline constexpr uint64_t bytes_max = uint64_t{1} << 40;  // of maxP2pBytes and maxCollBytes
inline constexpr uint64_t bytes_max_untold = uint64_t{1}
                                             << 30;  // a message of v8, which has no maxP2pBytes
inline constexpr int traffic_class_none = -1;
inline constexpr int rail_id_none = -1;  // also of planes

// Bits of ptrSupport; one of them is the type of a registration.
enum PointerKind : int { pointer_host = 1, pointer_cuda = 2, pointer_dmabuf = 4 };

enum DeviceKind : int {
    device_host = 0,
    device_unpack = 1,
    device_gin_proxy = 2,
    device_gdaki = 3
};

// What irecv may find in *request, from v9 on. A plugin that does not know them overwrites them.
inline constexpr uintptr_t request_completion_optional = 1;  // may be done before the data is there
inline constexpr uintptr_t request_multi = 2;

enum class LogLevel : uint32_t { none, version, warn, info, abort, trace };

// Bits of a log line's flags: who may want to read it.
inline constexpr unsigned long log_init = 1;
inline constexpr unsigned long log_net = 16;
inline constexpr unsigned long log_env = 128;

using LogFunction = void (*)(LogLevel level, unsigned long flags, const char* file, int line,
                             const char* format, ...);

enum ProfilerEvent : int { profiler_start, profiler_stop, profiler_update, profiler_update_stop };

// `handle` is the event's, `parent` what isend or irecv was given.
using ProfilerFunction = ncclResult_t (*)(void** handle, int event, void* parent, int64_t plugin_id,
                                          void* data);

// What a plugin with code on the GPU hands over from connect and accept; else null.
struct DeviceHandle {
    DeviceKind kind;
    int version;
    void* handle;
    size_t size;
    int needs_proxy_progress;
};
static_assert(sizeof(DeviceHandle) == 32 && offsetof(DeviceHandle, handle) == 8 &&
              offsetof(DeviceHandle, size) == 16 &&
              offsetof(DeviceHandle, needs_proxy_progress) == 24);

// The physical devices that one device is made of.
template <int devices_max>
struct DeviceSet {
    int count;
    int devices[devices_max];
};
using DeviceSetV9 = DeviceSet<4>;  // to v11
using DeviceSetV12 = DeviceSet<8>;
static_assert(sizeof(DeviceSetV9) == 20 && sizeof(DeviceSetV12) == 36);
static_assert(offsetof(DeviceSetV9, devices) == 4 && offsetof(DeviceSetV12, devices) == 4);

struct PropertiesV8 {
    char* name;
    char* pci_path;     // in /sys; null if there is none
    uint64_t guid;      // ports with the same one are one NIC
    int pointer_kinds;  // bits of PointerKind
    int reg_is_global;  // a registration serves every connection
    int speed_mbps;
    int port;
    float latency_us;
    int comms_max;
    int recvs_max;  // receives in one group
    DeviceKind device_kind;
    int device_version;
};
static_assert(sizeof(PropertiesV8) == 64);
static_assert(offsetof(PropertiesV8, pci_path) == 8 && offsetof(PropertiesV8, guid) == 16 &&
              offsetof(PropertiesV8, pointer_kinds) == 24 &&
              offsetof(PropertiesV8, reg_is_global) == 28 &&
              offsetof(PropertiesV8, speed_mbps) == 32 && offsetof(PropertiesV8, port) == 36 &&
              offsetof(PropertiesV8, latency_us) == 40 && offsetof(PropertiesV8, comms_max) == 44 &&
              offsetof(PropertiesV8, recvs_max) == 48 &&
              offsetof(PropertiesV8, device_kind) == 52 &&
              offsetof(PropertiesV8, device_version) == 56);

// v9 and v10.
struct PropertiesV9 {
    char* name;
    char* pci_path;
    uint64_t guid;
    int pointer_kinds;
    int reg_is_global;
    int force_flush;  // NCCL calls iflush after receiving into GPU memory
    int speed_mbps;
    int port;
    float latency_us;
    int comms_max;
    int recvs_max;
    DeviceKind device_kind;
    int device_version;
    DeviceSetV9 devices;
    size_t p2p_bytes_max;  // of one message; in (0, bytes_max]
    size_t coll_bytes_max;
};

struct PropertiesV11 {
    char* name;
    char* pci_path;
    uint64_t guid;
    int pointer_kinds;
    int reg_is_global;
    int force_flush;
    int speed_mbps;
    int port;
    float latency_us;
    int comms_max;
    int recvs_max;
    DeviceKind device_kind;
    int device_version;
    DeviceSetV9 devices;
    size_t p2p_bytes_max;
    size_t coll_bytes_max;
    int multi_request_max;
};

struct PropertiesV12 {
    char* name;
    char* pci_path;
    uint64_t guid;
    int pointer_kinds;
    int reg_is_global;
    int force_flush;
    int speed_mbps;
    int port;
    float latency_us;
    int comms_max;
    int recvs_max;
    DeviceKind device_kind;
    int device_version;
    DeviceSetV12 devices;
    size_t p2p_bytes_max;
    size_t coll_bytes_max;
    int multi_request_max;
    int16_t rail_id;  // rail_id_none if there is none
    int16_t plane_id;
};

// From v9 to v12 everything in front of the sizes stays where it is.
template <class Properties>
constexpr bool properties_begin_right() {
    return offsetof(Properties, name) == 0 && offsetof(Properties, pci_path) == 8 &&
           offsetof(Properties, guid) == 16 && offsetof(Properties, pointer_kinds) == 24 &&
           offsetof(Properties, reg_is_global) == 28 && offsetof(Properties, force_flush) == 32 &&
           offsetof(Properties, speed_mbps) == 36 && offsetof(Properties, port) == 40 &&
           offsetof(Properties, latency_us) == 44 && offsetof(Properties, comms_max) == 48 &&
           offsetof(Properties, recvs_max) == 52 && offsetof(Properties, device_kind) == 56 &&
           offsetof(Properties, device_version) == 60 && offsetof(Properties, devices) == 64;
}
static_assert(properties_begin_right<PropertiesV9>() && properties_begin_right<PropertiesV11>() &&
              properties_begin_right<PropertiesV12>());
static_assert(sizeof(PropertiesV9) == 104 && offsetof(PropertiesV9, p2p_bytes_max) == 88 &&
              offsetof(PropertiesV9, coll_bytes_max) == 96);
static_assert(sizeof(PropertiesV11) == 112 && offsetof(PropertiesV11, p2p_bytes_max) == 88 &&
              offsetof(PropertiesV11, coll_bytes_max) == 96 &&
              offsetof(PropertiesV11, multi_request_max) == 104);
static_assert(sizeof(PropertiesV12) == 128 && offsetof(PropertiesV12, p2p_bytes_max) == 104 &&
              offsetof(PropertiesV12, coll_bytes_max) == 112 &&
              offsetof(PropertiesV12, multi_request_max) == 120 &&
              offsetof(PropertiesV12, rail_id) == 124 && offsetof(PropertiesV12, plane_id) == 126);

// Of a communicator: given to connect by v10, to init from v11 on.
struct CommConfig {
    int traffic_class;
};
static_assert(sizeof(CommConfig) == 4);

// What a communicator is going to do, from v11 on: hints.
struct CommAttributes {
    int32_t peers_max;
    int32_t peers_min;
    int32_t flows_per_peer_max;
    int32_t flows_per_peer_min;
};
struct NetAttributes {
    CommAttributes send;
    CommAttributes recv;
    uint32_t op;
    uint32_t algorithm;
    uint32_t protocol;
};
static_assert(sizeof(CommAttributes) == 16 && offsetof(CommAttributes, peers_min) == 4 &&
              offsetof(CommAttributes, flows_per_peer_max) == 8 &&
              offsetof(CommAttributes, flows_per_peer_min) == 12);
static_assert(sizeof(NetAttributes) == 44 && offsetof(NetAttributes, recv) == 16 &&
              offsetof(NetAttributes, op) == 32 && offsetof(NetAttributes, algorithm) == 36 &&
              offsetof(NetAttributes, protocol) == 40);

}  // namespace weft::netplugin
