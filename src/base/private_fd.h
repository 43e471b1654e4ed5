// Descriptors that a child made by fork() must not keep. A child that held a copy of a connection
// would hide its parent's death from the other side for as long as the child lives. The child
// closes them before fork() returns in it, from a table of bits, so with close() alone; close on
// exec is the opener's to ask for. Thread-safe: no fork happens between opening and marking, or
// unmarking and closing. Failure rule: a descriptor beyond `private_fd_count_max` is simply
// inherited.
#pragma once

#include <functional>

#include "src/base/handle.h"

namespace weft {

inline constexpr int private_fd_count_max = 1 << 16;

struct PrivateFdTraits {
    using type = int;
    static int null() { return -1; }
    static void close(int fd) noexcept;
};
using PrivateFd = Handle<PrivateFdTraits>;

// What `open` returned, errno untouched. It must not block, and not fork.
PrivateFd private_fd(const std::function<int()>& open);

}  // namespace weft
