// The devices that NCCL chooses from: one for each rail of the hub, and those that were merged from
// several. Thread-safe. Lifetime: a device, once there, stays where it is while the table lives;
// the strings of properties stay for good. Failure rule: one line that says which index of how
// many.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/netplugin/abi.h"
#include "transports/hubs.h"

namespace weft::netplugin {

struct Device {
    std::string name;
    const char* name_kept = nullptr;  // for properties
    const char* path_kept = nullptr;  // in /sys; null if there is none
    uint64_t guid = 0;
    int speed_mbps = 0;
    bool device_memory = false;  // of GPUs
    bool dmabuf = false;
    std::vector<int> physical;    // what it is made of, as asked for; itself if not merged
    std::vector<uint32_t> rails;  // the same, ascending
};

// The bits of ptrSupport.
constexpr int pointer_kinds_of(const Device& device) {
    return pointer_host | (device.device_memory ? pointer_cuda : 0) |
           (device.dmabuf ? pointer_dmabuf : 0);
}

inline constexpr int speed_unknown_mbps = 10'000;

class Devices {
  public:
    // `sysfs`: where it is mounted; tests make their own.
    explicit Devices(const std::vector<RailInfo>& rails, const std::string& sysfs = "/sys");

    int physical_count() const { return physical_; }
    Result<const Device*> get(int index) const;
    // The index of the device made of these, the same for the same ones; at most `merge_max`.
    Result<int> merge(std::span<const int> physical, int merge_max);

  private:
    const int physical_;
    mutable std::mutex lock_;
    std::deque<Device> devices_;  // a deque: they stay where they are
};

}  // namespace weft::netplugin
