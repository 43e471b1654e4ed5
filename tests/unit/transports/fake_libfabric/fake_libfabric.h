// A libfabric that answers what a test tells it to, loaded like a real one: through its symbol by
// tests of the same process, by the variable FAKE_LIBFABRIC in others, words such as
// "version=2.4 providers=efa info=efa/efa-direct emulated". Whole enough to open a rail; nothing is
// moved but where `moves` says so: endpoints of this process then reach each other, in order.
// Thread rule: told before it is used; what it was asked is read when nothing runs, or with lock().
#pragma once

#include <rdma/fi_eq.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace weft::test {

// One fi_info that it knows.
struct FakeInfo {
    std::string provider = "efa";
    std::string fabric = "efa-direct";
    std::string domain = "rdmap0s6-rdm";
    uint64_t caps = 0;   // FI_HMEM where device memory is offered
    uint64_t mode = 0;   // FI_RX_CQ_DATA: offered to those only who accept it
    int mr_mode = 0;     // wanted of the caller beside the usual ones
    size_t cq_data = 4;  // bytes of an immediate
};

struct FakeOption {
    int option = 0;
    std::vector<unsigned char> value;
};

struct FakeLibfabric {
    uint32_t version = 0;
    std::vector<FakeInfo> infos;
    std::vector<std::string> providers;  // in a list of all there are
    bool emulated_write = false;
    bool in_order = false;
    bool newer_options = true;                 // knows what came after 1.17
    int open_error = 0;                        // of fi_domain
    int enable_error = 0;                      // of fi_enable
    bool cuda_calls = false;                   // wants them, and refuses to do without
    int register_error = 0;                    // of every registration
    int registrations_max = INT32_MAX;         // open at a time: ENOMEM beyond
    int receive_error = 0;                     // of every fi_recv
    int read_error = 0;                        // of every fi_cq_read
    int linger_ms = 0;                         // how long it takes to go when the process ends
    std::deque<int> write_errors;              // of the next fi_writemsg each; then of none
    std::deque<fi_cq_data_entry> completions;  // what the queue is about to say
    std::deque<fi_cq_err_entry> errors;        // before those
    std::deque<fi_eq_err_entry> events;        // what the event queue is about to say

    // What it was asked.
    int getinfo_calls = 0;
    uint32_t api_version = 0;
    std::vector<FakeOption> options_set;
    bool enabled = false;
    int events_bound = 0;          // event queues bound to endpoints before these were enabled
    bool options_late = false;     // one was set when it was enabled already
    std::vector<void*> receives;   // contexts of fi_recv
    std::vector<void*> transmits;  // of fi_writemsg and fi_send
    struct Written {
        size_t bytes = 0, bytes_there = 0;
        uint64_t address = 0, key = 0, immediate = 0, flags = 0;
    };
    std::vector<Written> written;                // by fi_writemsg
    std::map<const void*, const void*> sent_by;  // of those, the queue of the endpoint
    struct Registration {
        uint64_t flags = 0, access = 0, key = 0;
        int iface = 0, device = 0, dmabuf_fd = -1;
        uint64_t dmabuf_offset = 0;
        size_t bytes = 0;
        const void* base = nullptr;
    };
    std::vector<Registration> registrations;
    int registrations_open = 0;

    // Endpoints reach each other, and memory that is registered for it.
    bool moves = false;
    // Addresses that only a NIC may touch, as a GPU's: where it does. What was registered as host
    // memory is not looked up here, so touching it ends the process.
    struct DeviceMemory {
        const std::byte* base = nullptr;
        size_t bytes = 0;
        std::byte* at = nullptr;
    };
    std::vector<DeviceMemory> device_memory;
    bool reads_held = false;  // reads do not end until reads_release()
    int read_fails = 0;       // with this error
    int reads_refused = 0;    // so many are not taken, for want of room
    struct Read {
        const void* from = nullptr;
        size_t bytes = 0;
        const void* queue = nullptr;
        void* context = nullptr;
    };
    std::vector<Read> reads;            // all that were asked for
    std::deque<Read> reads_waiting;     // that are held
    std::vector<const void*> refusals;  // addresses of transfers that no registration allowed

    struct Receive {
        void* into = nullptr;
        void* context = nullptr;
    };
    std::vector<const void*> endpoints;                          // by number
    std::map<const void*, std::deque<Receive>> receives_of;      // by endpoint
    std::map<const void*, std::deque<fi_cq_data_entry>> queues;  // what moved, by queue
    std::map<uint64_t, Registration> open_by_key;
    std::map<const void*, uint64_t> keys_of;  // by descriptor
    uint64_t next_key = 1;
};

// Of what moves.
using FakeLibfabricLock = std::mutex& (*)();
inline constexpr const char* fake_libfabric_lock = "weft_fake_libfabric_lock";

using FakeLibfabricGet = FakeLibfabric* (*)();
inline constexpr const char* fake_libfabric_get = "weft_fake_libfabric";

}  // namespace weft::test
