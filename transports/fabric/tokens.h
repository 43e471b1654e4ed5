// Ranges of the 20-bit token space of one process endpoint. A freed range is reused as late as
// possible: reservation goes round, so a stale arrival meets no owner rather than a new one. Not
// thread-safe. Failure rule: an Error when no gap is wide enough.
#pragma once

#include <cstdint>
#include <map>

#include "src/base/result.h"
#include "transports/wire.h"

namespace weft::fabric {

inline constexpr uint32_t token_block = 16;  // granularity of ranges

class TokenSpace {
  public:
    TokenSpace() { free_[0] = token_count_max; }
    Result<uint32_t> reserve(uint32_t count);  // first token; multiples of token_block
    void release(uint32_t first, uint32_t count);
    static uint32_t rounded(uint32_t count) {
        return (count + token_block - 1) / token_block * token_block;
    }

  private:
    std::map<uint32_t, uint32_t> free_;  // first -> count
    uint32_t cursor_ = 0;
};

}  // namespace weft::fabric
