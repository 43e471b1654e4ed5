// The prover's symbolic values.
#include <algorithm>

#include "src/base/log.h"
#include "src/plan/verify_detail.h"

namespace weft::plan::prover {

namespace {

// First words of interned keys, so that kinds never collide.
enum : uint32_t { key_input, key_sum, key_made, key_finished };

}  // namespace

size_t Values::Hash::operator()(const std::vector<uint32_t>& key) const {
    uint64_t hash = 0xcbf29ce484222325ull;
    for (const uint32_t word : key) {
        hash = (hash ^ word) * 0x100000001b3ull;
        hash ^= hash >> 29;
    }
    return hash;
}

Values::Values(const Shape& shape, const Rotation& turn) : shape_(shape), turn_(turn) {
    nodes_.emplace_back();
}

uint32_t Values::intern(std::vector<uint32_t> key, Node node) {
    const auto id = static_cast<uint32_t>(nodes_.size());
    node.all_of = all_of(node.contributions);
    ids_.emplace(std::move(key), id);
    nodes_.push_back(std::move(node));
    return id;
}

uint32_t Values::all_of(const std::vector<Contribution>& contributions) const {
    if (contributions.size() != static_cast<size_t>(shape_.rank_count)) {
        return none;
    }
    for (uint32_t rank = 0; rank < contributions.size(); rank++) {
        if (contributions[rank] != Contribution{rank, contributions[0].second}) {
            return none;
        }
    }
    return contributions[0].second;
}

Values::Contribution Values::turned(const Contribution& of, int32_t turn) const {
    return {static_cast<uint32_t>(turn_.rank(static_cast<int32_t>(of.first), turn)),
            turn_.id(of.second, shape_.input_blocks > 1, turn)};
}

Value Values::input(int32_t rank, uint32_t chunk) {
    const auto own = static_cast<uint32_t>(rank);
    std::vector<uint32_t> key = {key_input, own, chunk};
    const auto known = ids_.find(key);
    return {known != ids_.end() ? known->second
                                : intern(std::move(key), Node{{{own, chunk}}, false, none}),
            0};
}

Value Values::sum(const std::vector<Value>& parts, uint32_t chain, uint32_t step) {
    std::vector<uint32_t> key = {key_sum};
    int32_t base = parts[0].turn;
    if (turn_.reordered) {
        key = {key_made, chain, step};
        base = 0;
    }
    for (const Value& part : parts) {
        key.push_back(part.node);
        key.push_back(static_cast<uint32_t>(turn_.sum(part.turn, turn_.back(base))));
    }
    const auto known = ids_.find(key);
    if (known != ids_.end()) {
        return {known->second, base};
    }
    Node node;
    for (const Value& part : parts) {
        const int32_t turn = turn_.sum(part.turn, turn_.back(base));
        for (const Contribution& contribution : nodes_[part.node].contributions) {
            node.contributions.push_back(turned(contribution, turn));
        }
    }
    std::sort(node.contributions.begin(), node.contributions.end());
    return {intern(std::move(key), std::move(node)), base};
}

Value Values::finished(Value value) {
    std::vector<uint32_t> key = {key_finished, value.node};
    const auto known = ids_.find(key);
    return {known != ids_.end()
                ? known->second
                : intern(std::move(key), Node{nodes_[value.node].contributions, true, none}),
            value.turn};
}

bool Values::is(Value value, const Expected& expected) const {
    const Node& node = nodes_[value.node];
    if (expected.all) {
        // Of every rank: that stays so when it is turned. The chunk turns.
        return node.all_of != none &&
               turn_.id(node.all_of, shape_.input_blocks > 1, value.turn) == expected.chunk;
    }
    return node.contributions.size() == 1 &&
           turned(node.contributions[0], value.turn) == Contribution{expected.rank, expected.chunk};
}

std::string Values::text(Value value) const {
    constexpr size_t shown_max = 8;
    std::vector<Contribution> list;
    for (const Contribution& contribution : nodes_[value.node].contributions) {
        list.push_back(turned(contribution, value.turn));
    }
    std::sort(list.begin(), list.end());
    std::string text;
    for (size_t i = 0; i < std::min(list.size(), shown_max); i++) {
        text += format("%srank %u's chunk %u", i > 0 ? ", " : "", list[i].first, list[i].second);
    }
    if (list.size() > shown_max) {
        text += format(" and %zu more", list.size() - shown_max);
    }
    return text.empty() ? "nothing" : text;
}

}  // namespace weft::plan::prover
