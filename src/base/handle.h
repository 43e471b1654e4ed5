// Handle<Traits>: owns exactly one foreign object (fd, mapping, libfabric object).
// Traits: `using type`, `static type null()`, `static void close(type) noexcept` (logs, never
// throws). Thread rule: thread-bound to its owner. Declare parents before children so that children
// close first.
#pragma once

#include <unistd.h>

#include <utility>

namespace weft {

template <class Traits>
class Handle {
  public:
    using type = typename Traits::type;
    Handle() = default;
    explicit Handle(type value) : value_(value) {}
    ~Handle() { reset(); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    Handle(Handle&& other) noexcept : value_(other.release()) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            reset(other.release());
        }
        return *this;
    }
    type get() const { return value_; }
    explicit operator bool() const { return value_ != Traits::null(); }
    type release() { return std::exchange(value_, Traits::null()); }
    void reset(type value = Traits::null()) {
        if (value_ != Traits::null()) {
            Traits::close(value_);
        }
        value_ = value;
    }

  private:
    type value_ = Traits::null();
};

struct FdTraits {
    using type = int;
    static int null() { return -1; }
    static void close(int fd) noexcept { ::close(fd); }
};
using Fd = Handle<FdTraits>;

}  // namespace weft
