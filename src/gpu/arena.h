// Parts of one range of memory, first fit. Knows addresses and touches nothing, so the memory may
// be of any kind. Thread rule: thread-bound. Failure rule: null when nothing is large enough.
#pragma once

#include <cstddef>
#include <map>

namespace weft::gpu {

class Arena {
  public:
    Arena() = default;
    Arena(void* begin, size_t bytes);
    // Begins at a multiple of 64 bytes if the range does.
    void* take(size_t bytes);
    void give_back(void* part);
    size_t bytes_free() const;

  private:
    static constexpr size_t unit = 64;
    std::map<char*, size_t> free_;   // by address; neighbours are joined
    std::map<char*, size_t> taken_;  // by address
};

}  // namespace weft::gpu
