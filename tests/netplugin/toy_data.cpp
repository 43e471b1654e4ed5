// Messages of the toy: a header, then the bytes, in the order of posting. What arrives is read only
// when a receive wants it; until then TCP holds the sender back.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "tests/netplugin/toy.h"
#include "tests/netplugin/toy_mutants.h"

namespace toy {

namespace {

constexpr uint32_t header_magic = 0x746f7921;
// What the faults of long load wait for, and what they keep.
constexpr size_t late = 600;  // two rounds of a soak of three connections
constexpr size_t leaked_bytes = 16384;
std::atomic<size_t> messages_done = 0;

bool late_mutant(const char* name) {
    return messages_done > late && mutant(name);
}

// How many bytes went; -1 when the connection is broken.
ssize_t write_some(int fd, const void* data, size_t size) {
    const ssize_t put = ::send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return put >= 0 || errno != EAGAIN ? put : 0;
}

ssize_t read_some(int fd, void* data, size_t size) {
    const ssize_t got = ::recv(fd, data, size, MSG_DONTWAIT);
    if (got == 0) {
        return mutant("eof-ignored") ? 0 : -1;
    }
    return got > 0 || errno != EAGAIN ? got : 0;
}

void break_off(Connection& connection, ncclResult_t code, const char* what) {
    connection.broken = fail(code, what);
}

// Whether the request is through.
bool send_step(Connection& connection, Request& request) {
    const Request::Part& part = request.parts[0];
    while (request.moved < sizeof(Header) + part.size) {
        const bool in_header = request.moved < sizeof(Header);
        const size_t at = in_header ? request.moved : request.moved - sizeof(Header);
        const char* from = in_header ? reinterpret_cast<char*>(&request.header) : part.data;
        const size_t size = in_header ? sizeof(Header) : part.size;
        const ssize_t put = write_some(connection.fd, from + at, size - at);
        if (put < 0 && mutant("pipe-ignored")) {
            return false;
        }
        if (put < 0) {
            break_off(connection, ncclRemoteError, "send: the peer has gone");
        }
        if (put <= 0) {
            return false;
        }
        request.moved += static_cast<size_t>(put);
    }
    return true;
}

Request::Part* part_of(Request& request, int tag) {
    for (Request::Part& part : request.parts) {
        if (!part.taken && (part.tag == tag || mutant("tag-ignored"))) {
            return &part;
        }
    }
    return nullptr;
}

// The header has come: where the message goes.
void part_choose(Connection& connection, Request& request) {
    Request::Part* part = part_of(request, connection.header.tag);
    if (connection.header.magic != header_magic || part == nullptr) {
        break_off(connection, ncclInternalError, "recv: a message that no receive is for");
        return;
    }
    if (connection.header.size > part->room && mutant("oversize-overruns")) {
        part->room = connection.header.size;
    }
    if (connection.header.size > part->room) {
        break_off(connection, ncclInvalidArgument, "recv: the message is longer than its receive");
        if (mutant("oversize-cut")) {
            connection.broken = ncclSuccess;
            connection.header.size = part->room;
        }
    }
    part->taken = true;
    part->size = connection.header.size;
    connection.part = part;
}

// As read_some, for the message under way; 0 bytes to read are no end.
ssize_t message_read(Connection& connection, char* to, size_t size) {
    const ssize_t got = size == 0 ? 0 : read_some(connection.fd, to, size);
    if (got < 0) {
        break_off(connection, ncclRemoteError, "recv: the peer has gone");
    } else {
        connection.got += static_cast<size_t>(got);
    }
    return got;
}

// Where a message goes; none of the places of a connection is used by two.
char* destination(const Request::Part& part) {
    static std::vector<char> nowhere(1 << 20);
    return late_mutant("late-stale") && part.size <= nowhere.size() ? nowhere.data() : part.data;
}

void bytes_spoil(const Request::Part& part) {
    const bool odd = reinterpret_cast<uintptr_t>(part.data) % 64 != 0;
    if (part.size > 0 &&
        ((mutant("unaligned-wrong") && odd) || (mutant("large-wrong") && part.size > 900'000))) {
        part.data[part.size - 1] ^= 1;
    }
    if (mutant("writes-behind") && part.size < part.room) {
        part.data[part.size] ^= 1;
    }
}

// Whether the oldest receive is through.
bool recv_step(Connection& connection, Request& request) {
    while (connection.broken == ncclSuccess && request.open_parts > 0) {
        if (connection.part == nullptr) {
            auto* header = reinterpret_cast<char*>(&connection.header);
            if (message_read(connection, header + connection.got,
                             sizeof(Header) - connection.got) <= 0) {
                return false;
            }
            if (connection.got == sizeof(Header)) {
                connection.got = 0;
                part_choose(connection, request);
            }
            continue;
        }
        Request::Part& part = *connection.part;
        if (connection.got < part.size &&
            message_read(connection, destination(part) + connection.got,
                         part.size - connection.got) <= 0) {
            return false;
        }
        if (connection.got == part.size) {
            bytes_spoil(part);
            connection.got = 0;
            connection.part = nullptr;
            request.open_parts--;
        }
    }
    return request.open_parts == 0;
}

void progress(Connection& connection) {
    for (Request* request : connection.queue) {
        if (request->done || connection.broken != ncclSuccess) {
            continue;
        }
        request->done =
            request->sends ? send_step(connection, *request) : recv_step(connection, *request);
        if (!request->done) {
            return;
        }
    }
}

Request* enqueue(Connection& connection, std::vector<Request::Part> parts) {
    auto* request = new Request;
    request->owner = &connection;
    request->sends = connection.sends;
    request->open_parts = parts.size();
    request->parts = std::move(parts);
    connection.queue.push_back(request);
    return request;
}

void backlog_drop(const Connection& connection) {
    char bytes[4096];
    while (::recv(connection.fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
}

// The faults of sending that show as codes.
bool send_refused(const Connection& connection) {
    static thread_local bool here = false;
    static std::atomic<bool> anywhere = false;
    const bool other_thread = anywhere && !here;
    here = true;
    anywhere = true;
    return (mutant("one-thread") && other_thread) ||
           (mutant("few-sends") && connection.queue.size() >= 16);
}

}  // namespace

ncclResult_t isend(void* comm, void* data, size_t size, int tag, void** request) {
    auto& connection = *static_cast<Connection*>(comm);
    *request = nullptr;
    if (connection.broken != ncclSuccess) {
        return connection.broken;
    }
    if (send_refused(connection)) {
        return fail(ncclInternalError, "isend: no");
    }
    if (mutant("isend-crashes")) {
        std::abort();
    }
    static bool slept = false;
    if (mutant("isend-slow") && !slept) {
        slept = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    }
    if (connection.queue.size() >= sends_max || (mutant("zero-dropped") && size == 0)) {
        return ncclSuccess;
    }
    Request* made = enqueue(connection, {{static_cast<char*>(data), size, tag, size, true}});
    made->header = {size, tag, header_magic};
    if (!mutant("send-done-early")) {
        progress(connection);
    }
    *request = made;
    static bool said_no = false;
    if (mutant("null-but-sent") && !said_no && !made->done) {
        said_no = true;
        *request = nullptr;
    }
    return connection.broken;
}

ncclResult_t irecv(void* comm, int n, void** data, const size_t* sizes, const int* tags,
                   void** request) {
    auto& connection = *static_cast<Connection*>(comm);
    if (n < 1 || (n > recvs_max && !mutant("any-group"))) {
        return fail(ncclInvalidArgument, "irecv: not that many receives in a group");
    }
    if (mutant("backlog-dropped") && connection.queue.empty()) {
        backlog_drop(connection);
    }
    const size_t most = mutant("few-receives") ? 5 : weft::netplugin::requests_max;
    if (connection.queue.size() >= most) {
        *request = nullptr;
        return ncclSuccess;
    }
    std::vector<Request::Part> parts;
    for (int i = 0; i < n; i++) {
        parts.push_back({static_cast<char*>(data[i]), sizes[i], tags[i], 0, false});
    }
    Request* made = enqueue(connection, std::move(parts));
    made->done = mutant("recv-done-early");
    if (mutant("receives-swapped") && connection.queue.size() == 2) {
        std::swap(connection.queue[0], connection.queue[1]);
    }
    if (!mutant("hint-kept") || *request == nullptr) {
        *request = made;
    }
    return ncclSuccess;
}

ncclResult_t iflush(void* comm, void** request) {
    if (mutant("flush-stays")) {
        *request = enqueue(*static_cast<Connection*>(comm), {{nullptr, 1, -1, 0, false}});
        return ncclSuccess;
    }
    *request = nullptr;  // host memory is visible once it is written
    return ncclSuccess;
}

ncclResult_t test(void* pointer, int* done, int* sizes) {
    auto& request = *static_cast<Request*>(pointer);
    Connection& connection = *request.owner;
    *done = 0;
    progress(connection);
    if (request.sends && mutant("send-done-early")) {
        *done = 1;  // and close forgets it
        return ncclSuccess;
    }
    if (!request.done || late_mutant("late-stuck")) {
        return connection.broken;
    }
    messages_done++;
    if (mutant("memory-kept")) {
        std::memset(std::malloc(leaked_bytes), 1, leaked_bytes);
    }
    for (size_t i = 0; i < request.parts.size(); i++) {
        const Request::Part& part = request.parts[i];
        if (sizes != nullptr || mutant("sizes-unchecked")) {
            sizes[i] = static_cast<int>(mutant("room-as-size") ? part.room : part.size);
        }
    }
    *done = 1;
    connection.queue.erase(std::find(connection.queue.begin(), connection.queue.end(), &request));
    delete &request;
    return ncclSuccess;
}

}  // namespace toy
