#include "src/netplugin/devices.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <set>

#include "src/base/log.h"
#include "src/base/machine.h"

namespace weft::netplugin {

namespace {

// Never freed: what NCCL was told once it may read until it ends.
const char* kept(const std::string& text) {
    static std::mutex lock;
    static auto& texts = *new std::set<std::string>();
    const std::lock_guard guard(lock);
    return texts.insert(text).first->c_str();
}

const char* path_kept(const std::string& path) {
    char real[PATH_MAX] = "";
    return realpath(path.c_str(), real) != nullptr ? kept(real) : nullptr;
}

// FNV-1a: equal on every run, and different hosts need not differ.
uint64_t guid_of(const std::string& text) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
    return hash;
}

Device physical_device(const RailInfo& rail, int index, const std::string& sysfs) {
    Device device;
    device.name = rail.name;
    device.name_kept = kept(rail.name);
    if (!rail.address.empty()) {
        device.path_kept = path_kept(sysfs + "/bus/pci/devices/" + rail.address);
    } else if (!rail.interface.empty()) {
        device.path_kept = path_kept(sysfs + "/class/net/" + rail.interface + "/device");
    }
    device.guid = guid_of(rail.address.empty() ? rail.name : rail.address);
    device.speed_mbps = rail.speed_mbps == 0
                            ? speed_unknown_mbps
                            : static_cast<int>(std::min<uint64_t>(rail.speed_mbps, INT_MAX / 64));
    device.device_memory = rail.device_memory;
    device.dmabuf = rail.dmabuf;
    device.physical = {index};
    device.rails = {static_cast<uint32_t>(index)};
    return device;
}

}  // namespace

Devices::Devices(const std::vector<RailInfo>& rails, const std::string& sysfs)
    : physical_(static_cast<int>(rails.size())) {
    for (int i = 0; i < physical_; i++) {
        devices_.push_back(physical_device(rails[static_cast<size_t>(i)], i, sysfs));
    }
}

Result<const Device*> Devices::get(int index) const {
    const std::lock_guard guard(lock_);
    if (index < 0 || index >= static_cast<int>(devices_.size())) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("device %d: there are %zu, %d of them NICs", index, devices_.size(), physical_));
    }
    return &devices_[static_cast<size_t>(index)];
}

Result<int> Devices::merge(std::span<const int> physical, int merge_max) {
    if (physical.empty() || physical.size() > static_cast<size_t>(merge_max)) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("a device of %zu NICs: 1 to %d can be merged", physical.size(), merge_max));
    }
    Device merged;
    merged.device_memory = merged.dmabuf = true;
    for (const int index : physical) {
        const bool again = std::ranges::count(physical, index) > 1;
        if (again || index < 0 || index >= physical_) {
            return make_error(
                Code::invalid_argument, Scope::call,
                format("a device is to be merged from NIC %d, which %s", index,
                       again ? "is named twice" : format("is none of the %d", physical_).c_str()));
        }
    }
    const std::lock_guard guard(lock_);
    for (const int index : physical) {
        const Device& part = devices_[static_cast<size_t>(index)];
        merged.name += (merged.name.empty() ? "" : "+") + part.name;
        merged.speed_mbps += part.speed_mbps;
        merged.device_memory = merged.device_memory && part.device_memory;
        merged.dmabuf = merged.dmabuf && part.dmabuf;
        merged.physical.push_back(index);
        merged.rails.push_back(static_cast<uint32_t>(index));
    }
    std::ranges::sort(merged.rails);
    const auto made = std::ranges::find_if(
        devices_.begin() + physical_, devices_.end(),
        [&](const Device& device) { return device.physical == merged.physical; });
    if (made != devices_.end()) {
        return static_cast<int>(made - devices_.begin());
    }
    merged.name_kept = kept(merged.name);
    merged.guid = guid_of(merged.name);
    devices_.push_back(std::move(merged));
    return static_cast<int>(devices_.size()) - 1;
}

}  // namespace weft::netplugin
