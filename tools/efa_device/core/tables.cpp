#include "tools/efa_device/core/tables.h"

#include <cerrno>

namespace weft::efa {

namespace {

uint64_t pages_of(uint64_t address, uint64_t length) {
    return length == 0 ? 0 : (address + length - 1) / page_bytes - address / page_bytes + 1;
}

}  // namespace

// The limit on the pages of one region holds where others may write: that is what the device has to
// keep a list of.
uint32_t MrTable::add(uint64_t address, uint64_t length, uint32_t access, int& error) {
    if (length == 0 || address + length < address) {
        error = EINVAL;
        return 0;
    }
    const uint64_t pages = pages_of(address, length);
    const bool too_large = (access & access_remote_write) != 0 && pages > limits_.pages + 1;
    const uint64_t most = std::min(limits_.total_pages, fail_pages_);
    if (too_large || regions_.size() >= limits_.mrs || pages > most - std::min(most, pages_)) {
        error = ENOMEM;
        return 0;
    }
    while (next_ == 0 || regions_.count(next_) != 0) {
        ++next_;
    }
    pages_ += pages;
    regions_[next_] = {address, length, access, pages};
    return next_++;
}

bool MrTable::remove(uint32_t key) {
    const auto found = regions_.find(key);
    if (found == regions_.end()) {
        return false;
    }
    pages_ -= found->second.pages;
    regions_.erase(found);
    return true;
}

bool MrTable::allows(uint32_t key, uint64_t address, uint64_t length, uint32_t access) const {
    const auto found = regions_.find(key);
    if (found == regions_.end()) {
        return false;
    }
    const Region& region = found->second;
    const uint64_t offset = address - region.address;
    return (region.access & access) == access && address >= region.address &&
           offset <= region.length && length <= region.length - offset;
}

uint16_t AhTable::add(const Gid& gid) {
    const auto found = numbers_.find(gid);
    if (found != numbers_.end()) {
        ++entries_[found->second].uses;
        return found->second;
    }
    if (entries_.size() >= most_) {
        return ah_unknown;
    }
    uint16_t number = 0;
    while (entries_.count(number) != 0) {
        ++number;
    }
    numbers_[gid] = number;
    entries_[number] = {gid, 1};
    return number;
}

void AhTable::remove(uint16_t number) {
    const auto found = entries_.find(number);
    if (found != entries_.end() && --found->second.uses == 0) {
        numbers_.erase(found->second.gid);
        entries_.erase(found);
    }
}

uint16_t AhTable::find(const Gid& gid) const {
    const auto found = numbers_.find(gid);
    return found == numbers_.end() ? ah_unknown : found->second;
}

std::optional<Gid> AhTable::gid(uint16_t number) const {
    const auto found = entries_.find(number);
    return found == entries_.end() ? std::nullopt : std::optional(found->second.gid);
}

}  // namespace weft::efa
