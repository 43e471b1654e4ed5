// The prover's symbolic values and memory.
#include <algorithm>

#include "src/base/log.h"
#include "src/plan/verify_detail.h"

namespace weft::plan::prover {

namespace {

// First words of interned keys, so that kinds never collide.
enum : uint32_t { key_input, key_sum, key_finished };

}  // namespace

size_t Values::Hash::operator()(const std::vector<uint32_t>& key) const {
    uint64_t hash = 0xcbf29ce484222325ull;
    for (const uint32_t word : key) {
        hash = (hash ^ word) * 0x100000001b3ull;
        hash ^= hash >> 29;
    }
    return hash;
}

Values::Values() {
    nodes_.emplace_back();
}

Values::Id Values::intern(std::vector<uint32_t> key, Node node) {
    const auto id = static_cast<Id>(nodes_.size());
    ids_.emplace(std::move(key), id);
    nodes_.push_back(std::move(node));
    return id;
}

Values::Id Values::input(uint32_t rank, uint32_t chunk) {
    std::vector<uint32_t> key = {key_input, rank, chunk};
    const auto known = ids_.find(key);
    return known != ids_.end() ? known->second
                               : intern(std::move(key), Node{{{rank, chunk}}, false});
}

Values::Id Values::sum(const std::vector<Id>& parts) {
    std::vector<uint32_t> key = {key_sum};
    key.insert(key.end(), parts.begin(), parts.end());
    const auto known = ids_.find(key);
    if (known != ids_.end()) {
        return known->second;
    }
    Node node;
    for (const Id part : parts) {
        const auto& more = nodes_[part].contributions;
        node.contributions.insert(node.contributions.end(), more.begin(), more.end());
    }
    std::sort(node.contributions.begin(), node.contributions.end());
    return intern(std::move(key), std::move(node));
}

Values::Id Values::finished(Id value) {
    std::vector<uint32_t> key = {key_finished, value};
    const auto known = ids_.find(key);
    return known != ids_.end() ? known->second
                               : intern(std::move(key), Node{nodes_[value].contributions, true});
}

std::string Values::text(Id value) const {
    constexpr size_t shown_max = 8;
    const auto& list = nodes_[value].contributions;
    std::string text;
    for (size_t i = 0; i < std::min(list.size(), shown_max); i++) {
        text += format("%srank %u's chunk %u", i > 0 ? ", " : "", list[i].first, list[i].second);
    }
    if (list.size() > shown_max) {
        text += format(" and %zu more", list.size() - shown_max);
    }
    return text.empty() ? "nothing" : text;
}

bool Memory::over(const Access& access, const Clock& clock) const {
    if (access.use == Use::local) {
        return clock[access.chain] >= access.need;
    }
    const PutState& put = puts_[access.need];
    const bool delivered = put.delivered != 0 && clock[put.sender] >= put.delivered;
    const bool arrived = put.arrived != 0 && clock[put.receiver] >= put.arrived;
    // The source is kept until delivery is known: a piece may be put again after it has arrived.
    return delivered || (access.use == Use::put_target && arrived);
}

std::optional<Access> Memory::read(size_t index, const Access& access, const Clock& clock) {
    Place& place = places_[index];
    if (place.written && !over(place.write, clock)) {
        return place.write;
    }
    if (access.use == Use::local) {
        for (Access& earlier : place.reads) {
            if (earlier.use == Use::local && earlier.chain == access.chain) {
                earlier = access;
                return std::nullopt;
            }
        }
    }
    place.reads.push_back(access);
    return std::nullopt;
}

// Once a write is known to come after all earlier accesses, whatever comes after the write comes
// after them too, so they are forgotten.
std::optional<Access> Memory::write(size_t index, const Access& access, const Clock& clock) {
    Place& place = places_[index];
    if (place.written && !over(place.write, clock)) {
        return place.write;
    }
    for (const Access& earlier : place.reads) {
        const bool same_step = access.use == Use::local && earlier.use == Use::local &&
                               earlier.chain == access.chain && earlier.need == access.need;
        if (!same_step && !over(earlier, clock)) {
            return earlier;
        }
    }
    place.reads.clear();
    place.written = true;
    place.write = access;
    return std::nullopt;
}

std::optional<Access> Memory::settle(size_t index, const Clock& clock) {
    Place& place = places_[index];
    if (place.written && !over(place.write, clock)) {
        return place.write;
    }
    for (const Access& earlier : place.reads) {
        if (!over(earlier, clock)) {
            return earlier;
        }
    }
    place.reads.clear();
    place.written = false;
    return std::nullopt;
}

}  // namespace weft::plan::prover
