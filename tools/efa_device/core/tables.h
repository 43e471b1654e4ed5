// Memory regions and address handles of one NIC. Keys and numbers count up from fixed starts, so
// that the same calls give the same numbers in every run. Thread rule: under the node's lock.
// Failure rule: 0 or ah_unknown: none left.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>

#include "tools/efa_device/core/packet.h"
#include "tools/efa_device/core/spec.h"

namespace weft::efa {

enum Access : uint32_t { access_local_write = 1, access_remote_write = 2, access_remote_read = 4 };

struct Region {
    uint64_t address = 0;
    uint64_t length = 0;
    uint32_t access = 0;
    uint64_t pages = 0;
};

class MrTable {
  public:
    explicit MrTable(const Limits& limits, uint64_t fail_pages)
        : limits_(limits), fail_pages_(fail_pages) {}
    // errno in `error` when the key is 0.
    uint32_t add(uint64_t address, uint64_t length, uint32_t access, int& error);
    bool remove(uint32_t key);
    // The bytes are inside the region, and it allows this.
    bool allows(uint32_t key, uint64_t address, uint64_t length, uint32_t access) const;
    uint64_t pages() const { return pages_; }

  private:
    Limits limits_;
    uint64_t fail_pages_;  // registration beyond them fails; UINT64_MAX: never
    uint64_t pages_ = 0;
    uint32_t next_ = 0x100;
    std::unordered_map<uint32_t, Region> regions_;
};

// One number for each remote NIC, however many handles name it.
class AhTable {
  public:
    explicit AhTable(uint32_t most) : most_(most) {}
    uint16_t add(const Gid& gid);
    void remove(uint16_t number);
    uint16_t find(const Gid& gid) const;  // ah_unknown: nobody made a handle of it
    std::optional<Gid> gid(uint16_t number) const;

  private:
    struct Entry {
        Gid gid{};
        uint32_t uses = 0;
    };
    uint32_t most_;
    std::map<Gid, uint16_t> numbers_;
    std::map<uint16_t, Entry> entries_;
};

}  // namespace weft::efa
