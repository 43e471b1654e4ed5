// Messages to or from one peer, one after the other, cut into parts: which part of which is next.
// Pure. Thread rule: thread-bound. Failure rule: none; the calls were checked.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "src/exec/engine.h"

namespace weft {

struct MessagePart {
    const Call* call = nullptr;  // whole, as it was called
    uint64_t of = 0;             // bytes of the message
    uint64_t done = 0;           // of them, before this part
    uint64_t width = 0;          // of this part; 0: a message of nothing is one part
    uint64_t user = 0;           // address in the caller's buffer
};

struct MessageWay {
    std::vector<Call> calls;
    size_t at = 0;      // call
    uint64_t done = 0;  // bytes of it

    bool through() const { return at == calls.size(); }
    // Not through: the next part, of `most` bytes or what is left. Good as long as the calls.
    MessagePart next(uint64_t most) {
        const Call& call = calls[at];
        const uint64_t of = call.count * size_of(call.type);
        const auto user = reinterpret_cast<uint64_t>(call.is_send ? call.send : call.recv);
        const MessagePart part{&call, of, done, std::min(most, of - done), user + done};
        done += part.width;
        if (done == of) {
            done = 0;
            at++;
        }
        return part;
    }
};

}  // namespace weft
