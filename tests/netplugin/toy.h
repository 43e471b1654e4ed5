// A net plugin over TCP, simple on purpose: what NCCL's contract asks for, and nothing else. A test
// fixture for the checker, not a product. Thread rule: as NCCL calls; a connection has no lock, for
// its data path belongs to one thread. Failure rule: NCCL's codes; a warning through the logger.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "src/netplugin/abi.h"

namespace toy {

inline constexpr int device_count = 2;
inline constexpr int recvs_max = 4;
inline constexpr size_t sends_max = weft::netplugin::requests_max * recvs_max;

extern weft::netplugin::LogFunction log_function;
ncclResult_t fail(ncclResult_t code, const char* what);  // logs

// In the 128 bytes: where the listener is, and how far connect has come.
struct Handle {
    uint64_t magic;
    uint64_t nonce;
    uint32_t address;
    uint16_t port;
    int fd;  // of the connection under way, plus 1
    uint32_t greeted;
};
static_assert(sizeof(Handle) <= weft::netplugin::handle_bytes);

struct Listener {
    int fd = -1;
    uint64_t nonce = 0;
    Handle* seen = nullptr;  // only a mutant looks
    struct Caller {
        int fd;
        uint64_t nonce;
        size_t got;
    };
    std::vector<Caller> callers;  // their greetings are on the way
};

struct Header {
    uint64_t size;
    int32_t tag;
    uint32_t magic;
};

struct Connection;
struct Request {
    Connection* owner = nullptr;
    bool sends = false;
    bool done = false;
    ncclResult_t code = ncclSuccess;
    struct Part {
        char* data;
        size_t room;
        int tag;
        size_t size;
        bool taken;
    };
    std::vector<Part> parts;
    size_t open_parts = 0;
    Header header{};
    size_t moved = 0;  // bytes of header and data
};

struct Connection {
    int fd = -1;
    bool sends = false;
    std::deque<Request*> queue;  // oldest first
    Header header{};             // of the message that is coming in
    size_t got = 0;
    Request::Part* part = nullptr;
    ncclResult_t broken = ncclSuccess;
};

bool device_known(int device);

ncclResult_t listen(int device, void* handle, void** comm);
ncclResult_t connect(int device, void* handle, void** comm);
ncclResult_t accept(void* listener, void** comm);
ncclResult_t close_listen(void* comm);
ncclResult_t close_connection(void* comm);

ncclResult_t reg_mr(void* comm, void* data, size_t size, int kind, void** mr);
ncclResult_t dereg_mr(void* comm, void* mr);

ncclResult_t isend(void* comm, void* data, size_t size, int tag, void** request);
ncclResult_t irecv(void* comm, int n, void** data, const size_t* sizes, const int* tags,
                   void** request);
ncclResult_t iflush(void* comm, void** request);
ncclResult_t test(void* request, int* done, int* sizes);

}  // namespace toy
