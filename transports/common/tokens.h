// The token numbers of one wire's receiving side, handed out once each. Thread rule: thread-bound
// to the wire's driver.
#pragma once

#include <cstdint>

#include "src/base/log.h"
#include "src/base/result.h"
#include "transports/wire.h"

namespace weft {

class TokenSpace {
  public:
    Result<uint32_t> reserve(uint32_t count) {
        if (count > token_count_max - next_) {
            return make_error(Code::unsupported, Scope::communicator,
                              format("no %u tokens left of %u on one wire: too many links", count,
                                     token_count_max));
        }
        const uint32_t first = next_;
        next_ += count;
        return first;
    }

  private:
    uint32_t next_ = 0;
};

}  // namespace weft
