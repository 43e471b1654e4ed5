// What a rank tells the others of its part of a window. Thread rule: values. Failure rule: reading
// refuses what is cut, too long or of no sense, in one line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/comm/handover.h"
#include "src/gpu/user_note.h"

namespace weft {

struct WindowNote {
    bool symmetric = false;
    gpu::UserNote memory;
    std::vector<HandoverTicket> tickets;  // of its descriptors; none where no process asks for any

    std::string encode() const;
    static Result<WindowNote> decode(std::string_view text);
};

}  // namespace weft
