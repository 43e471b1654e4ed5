#include "src/comm/redop.h"

#include <cstring>

#include "src/base/log.h"

namespace weft {

// Exclusive or is its own inverse. A value that would collide with a built-in operator stays as it
// is; then the plain value cannot be the image of another one either.
int RedOpTable::mangle(int op) const {
    const auto mangled = static_cast<int>(static_cast<uint32_t>(op) ^ salt_);
    return mangled < red_op_builtin_count ? op : mangled;
}

int RedOpTable::create(DataType type, const void* scalar, bool immediate) {
    const std::lock_guard lock(mutex_);
    size_t index = 0;
    while (index < entries_.size() && entries_[index].live) {
        index++;
    }
    if (index == entries_.size()) {
        entries_.emplace_back();
    }
    Entry& entry = entries_[index];
    entry = Entry{true, type, {RedOp::pre_mul_sum, {}, nullptr}};
    if (immediate) {
        std::memcpy(entry.choice.scalar.bytes, scalar, size_of(type));
    } else {
        entry.choice.scalar_at = scalar;
    }
    return mangle(red_op_builtin_count + static_cast<int>(index));
}

const RedOpTable::Entry* RedOpTable::find(int handle) const {
    const int index = mangle(handle) - red_op_builtin_count;
    if (handle < red_op_builtin_count || index < 0 || index >= static_cast<int>(entries_.size()) ||
        !entries_[index].live) {
        return nullptr;
    }
    return &entries_[index];
}

Result<void> RedOpTable::destroy(int handle) {
    const std::lock_guard lock(mutex_);
    if (handle >= 0 && handle < red_op_builtin_count) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("ncclRedOpDestroy : operator %d is built in, it cannot be "
                                 "destroyed",
                                 handle));
    }
    const Entry* entry = find(handle);
    if (entry == nullptr) {
        return make_error(
            Code::invalid_argument, Scope::call,
            format("ncclRedOpDestroy : operator %d was not made on this communicator or has been "
                   "destroyed",
                   handle));
    }
    entries_[static_cast<size_t>(entry - entries_.data())].live = false;
    return {};
}

Result<ReduceChoice> RedOpTable::look_up(int handle, DataType type) const {
    if (handle >= 0 && handle < red_op_builtin_count) {
        return ReduceChoice{static_cast<RedOp>(handle), {}, nullptr};
    }
    const std::lock_guard lock(mutex_);
    const Entry* entry = find(handle);
    if (entry == nullptr) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("reduction operator %d is unknown to this communicator", handle));
    }
    if (entry->type != type) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("reduction operator %d was made for data type %s, not %s", handle,
                                 to_string(entry->type), to_string(type)));
    }
    return entry->choice;
}

}  // namespace weft
