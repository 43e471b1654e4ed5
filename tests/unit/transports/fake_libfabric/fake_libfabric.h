// A libfabric that answers what a test tells it to, loaded like a real one. Whole enough to open a
// rail; nothing is ever moved. Not thread-safe: one test at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace weft::test {

// One fi_info that it knows.
struct FakeInfo {
    std::string provider = "efa";
    std::string fabric = "efa-direct";
    std::string domain = "rdmap0s6-rdm";
    uint64_t caps = 0;  // FI_HMEM where device memory is offered
    uint64_t mode = 0;  // FI_RX_CQ_DATA: offered to those only who accept it
    bool remote_write = true;
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
    bool newer_options = true;  // knows what came after 1.17
    int open_error = 0;         // of fi_domain
    int register_error = 0;     // of every registration

    // What it was asked.
    int getinfo_calls = 0;
    uint32_t api_version = 0;
    std::vector<FakeOption> options_set;
    bool enabled_before_options = false;
    int receives = 0;
    struct Registration {
        uint64_t flags = 0, access = 0, key = 0;
        int iface = 0, device = 0, dmabuf_fd = -1;
        uint64_t dmabuf_offset = 0;
        size_t bytes = 0;
        const void* base = nullptr;
    };
    std::vector<Registration> registrations;
};

using FakeLibfabricGet = FakeLibfabric* (*)();
inline constexpr const char* fake_libfabric_get = "weft_fake_libfabric";

}  // namespace weft::test
