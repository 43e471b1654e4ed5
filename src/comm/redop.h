// The PreMulSum operators of one communicator. A handle is an index mangled with the communicator's
// salt, so that an operator of another communicator is recognised as foreign. Thread rule:
// thread-safe. Lifetime: an operator may be destroyed as soon as the call that used it returned,
// because look-up copies it.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "src/base/result.h"
#include "src/base/types.h"
#include "src/reduce/reduce.h"

namespace weft {

struct ReduceChoice {
    RedOp op = RedOp::sum;
    Scalar scalar;
    const void* scalar_at = nullptr;  // read the scalar here when the operation starts
};

class RedOpTable {
  public:
    explicit RedOpTable(uint64_t salt) : salt_(static_cast<uint32_t>(salt) & 0x7fffffff) {}

    // immediate: the scalar is copied now; else it is read from `scalar` when an operation starts.
    int create(DataType type, const void* scalar, bool immediate);
    Result<void> destroy(int handle);
    // The operator that `handle` (built in or made here) means for data of `type`.
    Result<ReduceChoice> look_up(int handle, DataType type) const;

  private:
    struct Entry {
        bool live = false;
        DataType type = DataType::float32;
        ReduceChoice choice;
    };
    int mangle(int op) const;
    const Entry* find(int handle) const;

    const uint32_t salt_;
    mutable std::mutex mutex_;
    std::vector<Entry> entries_;
};

}  // namespace weft
