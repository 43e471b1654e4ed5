// A net plugin behind one interface for all versions of the ABI, as NCCL's own adapters have it:
// what a version lacks is filled in as NCCL does. Thread rule: as the plugin's (abi_tables.h).
// Lifetime rule: a Net is valid as long as its Library. Failure rule: NCCL's codes, untouched.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/netplugin/abi_tables.h"

namespace weft::netcheck {

using Properties = netplugin::PropertiesV12;
using DeviceSet = netplugin::DeviceSetV12;

// One buffer of a grouped receive, or what is sent.
struct Piece {
    void* data;
    size_t size;
    int tag;
    void* mr;
};
inline constexpr int group_max = 64;  // of one irecv here; maxRecvs must not be above it

class Net {
  public:
    virtual ~Net() = default;
    virtual int version() const = 0;
    virtual const char* name() const = 0;
    virtual std::string missing() const = 0;  // functions that must be there and are null
    virtual bool has_virtual_devices() const = 0;
    virtual bool has_attributes() const = 0;

    virtual ncclResult_t init(void** context, uint64_t comm_id) = 0;
    virtual ncclResult_t finalize(void* context) = 0;  // success where the version has none
    virtual ncclResult_t set_attributes(void* context, netplugin::NetAttributes* attributes) = 0;
    virtual ncclResult_t devices(int* count) = 0;
    virtual ncclResult_t properties(int device, Properties* out) = 0;
    virtual ncclResult_t make_virtual_device(int* device, DeviceSet* set) = 0;
    virtual ncclResult_t listen(void* context, int device, void* handle, void** comm) = 0;
    virtual ncclResult_t connect(void* context, int device, void* handle, void** comm,
                                 netplugin::DeviceHandle** device_comm) = 0;
    virtual ncclResult_t accept(void* listener, void** comm,
                                netplugin::DeviceHandle** device_comm) = 0;
    virtual ncclResult_t reg_mr(void* comm, void* data, size_t size, int kind, void** mr) = 0;
    virtual ncclResult_t dereg_mr(void* comm, void* mr) = 0;
    virtual ncclResult_t isend(void* comm, const Piece& piece, void** request) = 0;
    virtual ncclResult_t irecv(void* comm, int n, const Piece* pieces, void** request) = 0;
    virtual ncclResult_t iflush(void* comm, int n, const Piece* pieces, void** request) = 0;
    virtual ncclResult_t test(void* request, int* done, int* sizes) = 0;
    virtual ncclResult_t close_send(void* comm) = 0;
    virtual ncclResult_t close_recv(void* comm) = 0;
    virtual ncclResult_t close_listen(void* comm) = 0;
};

// The file, opened as NCCL opens it.
class Library {
  public:
    static Result<std::unique_ptr<Library>> open(const std::string& path);
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;
    bool exports(int version) const;
    Result<std::unique_ptr<Net>> net(int version) const;  // must not outlive this
    Result<void> close();

  private:
    explicit Library(void* handle) : handle_(handle) {}
    void* handle_;
};

const char* code_name(ncclResult_t code);  // "ncclSystemError"
// What the plugin logged at level WARN so far, and the last of it, or empty. Thread-safe.
std::vector<std::string> warnings();
std::string last_warning();

}  // namespace weft::netcheck
