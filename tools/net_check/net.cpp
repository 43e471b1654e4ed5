#include "tools/net_check/net.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <mutex>
#include <type_traits>

#include "src/base/log.h"
#include "tools/net_check/board.h"

namespace weft::netcheck {

namespace {

using namespace netplugin;

constexpr size_t warnings_max = 4096;
std::mutex warnings_mutex;
std::vector<std::string> warnings_kept;

void log_line(netplugin::LogLevel level, unsigned long, const char* file, int line,
              const char* text, ...) {
    if (level != netplugin::LogLevel::warn && level != netplugin::LogLevel::abort) {
        return;
    }
    char buffer[1024];
    va_list arguments;
    va_start(arguments, text);
    std::vsnprintf(buffer, sizeof buffer, text, arguments);
    va_end(arguments);
    std::fprintf(stderr, "%s:%d %s\n", file, line, buffer);
    const std::lock_guard lock(warnings_mutex);
    if (warnings_kept.size() < warnings_max) {
        warnings_kept.emplace_back(buffer);
    }
}

// NCCL always gives a profiler's function; it ignores events of operations without a parent.
ncclResult_t profile(void**, int, void*, int64_t, void*) {
    return ncclSuccess;
}

template <class Table>
constexpr bool of_contexts = std::is_same_v<Table, NetV11> || std::is_same_v<Table, NetV12>;

template <class Table>
constexpr int version_of = std::is_same_v<Table, NetV8>    ? 8
                           : std::is_same_v<Table, NetV9>  ? 9
                           : std::is_same_v<Table, NetV10> ? 10
                           : std::is_same_v<Table, NetV11> ? 11
                                                           : 12;

template <class Of>
struct PropertiesIn;
template <class P>
struct PropertiesIn<PropertiesFn<P>> {
    using type = P;
};

template <class Table>
class NetOf final : public Net {
  public:
    explicit NetOf(const Table* table) : table_(*table) {}

    int version() const override { return version_of<Table>; }
    const char* name() const override { return table_.name; }
    std::string missing() const override;
    bool has_virtual_devices() const override {
        if constexpr (version_of<Table> >= 9) {
            return table_.make_virtual_device != nullptr;
        }
        return false;
    }
    bool has_attributes() const override {
        if constexpr (of_contexts<Table>) {
            return table_.set_attributes != nullptr;
        }
        return false;
    }

    ncclResult_t init(void** context, uint64_t comm_id) override {
        const CallNote note(Call::init);
        if constexpr (of_contexts<Table>) {
            CommConfig config{traffic_class_none};
            return table_.init(context, comm_id, &config, log_line, profile);
        } else if constexpr (version_of<Table> == 10) {
            return table_.init(log_line, profile);
        } else {
            return table_.init(log_line);
        }
    }
    ncclResult_t finalize(void* context) override {
        if constexpr (of_contexts<Table>) {
            const CallNote note(Call::finalize);
            return table_.finalize(context);
        }
        return ncclSuccess;
    }
    ncclResult_t set_attributes(void* context, NetAttributes* attributes) override {
        if constexpr (of_contexts<Table>) {
            const CallNote note(Call::set_attributes);
            return table_.set_attributes(context, attributes);
        }
        return ncclInvalidUsage;
    }
    ncclResult_t devices(int* count) override {
        const CallNote note(Call::devices);
        return table_.devices(count);
    }
    ncclResult_t properties(int device, Properties* out) override;
    ncclResult_t make_virtual_device(int* device, DeviceSet* set) override {
        if constexpr (version_of<Table> >= 9) {
            const CallNote note(Call::make_virtual_device);
            if constexpr (version_of<Table> == 12) {
                return table_.make_virtual_device(device, set);
            } else {
                DeviceSetV9 fewer{set->count, {}};
                std::copy_n(set->devices, 4, fewer.devices);
                return table_.make_virtual_device(device, &fewer);
            }
        }
        return ncclInvalidUsage;
    }
    ncclResult_t listen(void* context, int device, void* handle, void** comm) override {
        const CallNote note(Call::listen);
        if constexpr (of_contexts<Table>) {
            return table_.listen(context, device, handle, comm);
        } else {
            return table_.listen(device, handle, comm);
        }
    }
    ncclResult_t connect(void* context, int device, void* handle, void** comm,
                         DeviceHandle** device_comm) override {
        const CallNote note(Call::connect);
        if constexpr (of_contexts<Table>) {
            return table_.connect(context, device, handle, comm, device_comm);
        } else if constexpr (version_of<Table> == 10) {
            CommConfig config{traffic_class_none};
            return table_.connect(device, &config, handle, comm, device_comm);
        } else {
            return table_.connect(device, handle, comm, device_comm);
        }
    }
    ncclResult_t accept(void* listener, void** comm, DeviceHandle** device_comm) override {
        const CallNote note(Call::accept);
        return table_.accept(listener, comm, device_comm);
    }
    ncclResult_t reg_mr(void* comm, void* data, size_t size, int kind, void** mr) override {
        const CallNote note(Call::reg_mr);
        return table_.reg_mr(comm, data, size, kind, mr);
    }
    ncclResult_t dereg_mr(void* comm, void* mr) override {
        const CallNote note(Call::dereg_mr);
        return table_.dereg_mr(comm, mr);
    }
    ncclResult_t isend(void* comm, const Piece& piece, void** request) override {
        const CallNote note(Call::isend);
        if constexpr (version_of<Table> >= 10) {
            return table_.isend(comm, piece.data, piece.size, piece.tag, piece.mr, nullptr,
                                request);
        } else if constexpr (version_of<Table> == 9) {
            return table_.isend(comm, piece.data, piece.size, piece.tag, piece.mr, request);
        } else {
            return table_.isend(comm, piece.data, static_cast<int>(piece.size), piece.tag, piece.mr,
                                request);
        }
    }
    ncclResult_t irecv(void* comm, int n, const Piece* pieces, void** request) override {
        using Size = std::conditional_t<version_of<Table> == 8, int, size_t>;
        const CallNote note(Call::irecv);
        void* data[group_max];
        void* mrs[group_max];
        void* parents[group_max] = {};
        Size sizes[group_max];
        int tags[group_max];
        for (int i = 0; i < n; i++) {
            data[i] = pieces[i].data;
            mrs[i] = pieces[i].mr;
            sizes[i] = static_cast<Size>(pieces[i].size);
            tags[i] = pieces[i].tag;
        }
        if constexpr (version_of<Table> >= 10) {
            return table_.irecv(comm, n, data, sizes, tags, mrs, parents, request);
        } else {
            return table_.irecv(comm, n, data, sizes, tags, mrs, request);
        }
    }
    ncclResult_t iflush(void* comm, int n, const Piece* pieces, void** request) override {
        const CallNote note(Call::iflush);
        void* data[group_max];
        void* mrs[group_max];
        int sizes[group_max];
        for (int i = 0; i < n; i++) {
            data[i] = pieces[i].data;
            mrs[i] = pieces[i].mr;
            sizes[i] = static_cast<int>(pieces[i].size);
        }
        return table_.iflush(comm, n, data, sizes, mrs, request);
    }
    ncclResult_t test(void* request, int* done, int* sizes) override {
        const CallNote note(Call::test);
        return table_.test(request, done, sizes);
    }
    ncclResult_t close_send(void* comm) override {
        const CallNote note(Call::close_send);
        return table_.close_send(comm);
    }
    ncclResult_t close_recv(void* comm) override {
        const CallNote note(Call::close_recv);
        return table_.close_recv(comm);
    }
    ncclResult_t close_listen(void* comm) override {
        const CallNote note(Call::close_listen);
        return table_.close_listen(comm);
    }

  private:
    Table table_;  // a copy: the library's goes with it
};

template <class Table>
std::string NetOf<Table>::missing() const {
    std::string names;
    const auto need = [&names](bool there, const char* name) {
        if (!there) {
            names.append(names.empty() ? "" : ", ").append(name);
        }
    };
    need(table_.name != nullptr, "name");
    need(table_.init != nullptr, "init");
    need(table_.devices != nullptr, "devices");
    need(table_.properties != nullptr, "getProperties");
    need(table_.listen != nullptr, "listen");
    need(table_.connect != nullptr, "connect");
    need(table_.accept != nullptr, "accept");
    need(table_.reg_mr != nullptr, "regMr");
    need(table_.dereg_mr != nullptr, "deregMr");
    need(table_.isend != nullptr, "isend");
    need(table_.irecv != nullptr, "irecv");
    need(table_.iflush != nullptr, "iflush");
    need(table_.test != nullptr, "test");
    need(table_.close_send != nullptr, "closeSend");
    need(table_.close_recv != nullptr, "closeRecv");
    need(table_.close_listen != nullptr, "closeListen");
    if constexpr (of_contexts<Table>) {
        need(table_.finalize != nullptr, "finalize");
    }
    return names;
}

template <class Table>
ncclResult_t NetOf<Table>::properties(int device, Properties* out) {
    using Own = typename PropertiesIn<decltype(table_.properties)>::type;
    const CallNote note(Call::properties);
    Own own;
    std::memset(static_cast<void*>(&own), 0xee, sizeof own);  // what is not written shows
    const ncclResult_t code = table_.properties(device, &own);
    if (code != ncclSuccess) {
        return code;
    }
    std::memset(static_cast<void*>(out), 0, sizeof *out);  // padding, too: it is compared
    out->name = own.name;
    out->pci_path = own.pci_path;
    out->guid = own.guid;
    out->pointer_kinds = own.pointer_kinds;
    out->reg_is_global = own.reg_is_global;
    out->speed_mbps = own.speed_mbps;
    out->port = own.port;
    out->latency_us = own.latency_us;
    out->comms_max = own.comms_max;
    out->recvs_max = own.recvs_max;
    out->device_kind = own.device_kind;
    out->device_version = own.device_version;
    out->devices = {1, {device}};
    out->p2p_bytes_max = out->coll_bytes_max = bytes_max_untold;
    out->multi_request_max = 1;
    out->rail_id = out->plane_id = rail_id_none;
    if constexpr (version_of<Table> >= 9) {
        out->force_flush = own.force_flush;
        out->devices.count = own.devices.count;
        constexpr size_t places = std::size(decltype(own.devices.devices){});
        std::copy_n(own.devices.devices, places, out->devices.devices);
        out->p2p_bytes_max = own.p2p_bytes_max;
        out->coll_bytes_max = own.coll_bytes_max;
    }
    if constexpr (version_of<Table> >= 11) {
        out->multi_request_max = own.multi_request_max;
    }
    if constexpr (version_of<Table> >= 12) {
        out->rail_id = own.rail_id;
        out->plane_id = own.plane_id;
    }
    return code;
}

}  // namespace

Result<std::unique_ptr<Library>> Library::open(const std::string& path) {
    const CallNote note(Call::load);
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        const char* why = ::dlerror();
        return make_error(Code::system, Scope::process,
                          std::string("cannot load: ") + (why != nullptr ? why : "no reason"));
    }
    return std::unique_ptr<Library>(new Library(handle));
}

Library::~Library() {
    if (handle_ != nullptr) {
        (void)close();
    }
}

bool Library::exports(int version) const {
    return ::dlsym(handle_, table_symbol(version)) != nullptr;
}

Result<std::unique_ptr<Net>> Library::net(int version) const {
    const void* table = ::dlsym(handle_, table_symbol(version));
    if (table == nullptr) {
        return make_error(Code::invalid_argument, Scope::process,
                          std::string("the plugin does not export ") + table_symbol(version));
    }
    switch (version) {
        case 8:
            return std::unique_ptr<Net>(new NetOf<NetV8>(static_cast<const NetV8*>(table)));
        case 9:
            return std::unique_ptr<Net>(new NetOf<NetV9>(static_cast<const NetV9*>(table)));
        case 10:
            return std::unique_ptr<Net>(new NetOf<NetV10>(static_cast<const NetV10*>(table)));
        case 11:
            return std::unique_ptr<Net>(new NetOf<NetV11>(static_cast<const NetV11*>(table)));
        default:
            return std::unique_ptr<Net>(new NetOf<NetV12>(static_cast<const NetV12*>(table)));
    }
}

Result<void> Library::close() {
    const CallNote note(Call::unload);
    void* handle = handle_;
    handle_ = nullptr;
    if (::dlclose(handle) != 0) {
        const char* why = ::dlerror();
        return make_error(Code::system, Scope::process,
                          std::string("dlclose: ") + (why != nullptr ? why : "no reason"));
    }
    return {};
}

const char* code_name(ncclResult_t code) {
    static constexpr const char* names[] = {
        "ncclSuccess",         "ncclUnhandledCudaError", "ncclSystemError", "ncclInternalError",
        "ncclInvalidArgument", "ncclInvalidUsage",       "ncclRemoteError", "ncclInProgress",
    };
    const auto index = static_cast<size_t>(code);
    return index < std::size(names) ? names[index] : "a code that NCCL does not have";
}

std::vector<std::string> warnings() {
    const std::lock_guard lock(warnings_mutex);
    return warnings_kept;
}

std::string last_warning() {
    const std::lock_guard lock(warnings_mutex);
    return warnings_kept.empty() ? "" : warnings_kept.back();
}

}  // namespace weft::netcheck
