// Which send goes to which receive: the j-th send of a tag to the j-th buffer posted for it. Both
// sides count by themselves, so a message that names (tag, j) is matched alike whatever either has
// heard so far. Where sends serve the oldest grouped receive first this is NCCL's rule.
//
// Pure. Thread rule: as the connection's. A tag costs one counter for the life of a connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

namespace weft::netplugin {

struct Label {
    uint32_t tag = 0;
    uint32_t ordinal = 0;  // of its tag
    bool operator==(const Label&) const = default;
};

// What one side has posted.
class TagOrder {
  public:
    Label next(int tag) {
        const auto key = static_cast<uint32_t>(tag);
        return {key, counts_[key]++};
    }
    // next() gave it out. Ordinals wrap: those of half the circle are behind.
    bool posted(Label label) const {
        const auto found = counts_.find(label.tag);
        return found != counts_.end() && static_cast<int32_t>(found->second - label.ordinal) > 0;
    }

  private:
    std::unordered_map<uint32_t, uint32_t> counts_;
};

// What has come of the other side and waits for this one.
template <class Item, size_t items_max>
class LabelTable {
  public:
    // False: it is full.
    bool add(Label label, const Item& item) {
        if (count_ == items_max) {
            return false;
        }
        entries_[count_++] = {label, item};
        return true;
    }
    std::optional<Item> take(Label label) {
        for (size_t i = 0; i < count_; i++) {
            if (entries_[i].label == label) {
                const Item item = entries_[i].item;
                entries_[i] = entries_[--count_];
                return item;
            }
        }
        return std::nullopt;
    }
    size_t size() const { return count_; }

  private:
    struct Entry {
        Label label;
        Item item;
    };
    std::array<Entry, items_max> entries_{};
    size_t count_ = 0;
};

}  // namespace weft::netplugin
