// Messages and rosters of any content are refused or mean something: what was understood is
// written and understood again in the same way.
#include "src/bootstrap/wire.h"

#include <cstdlib>

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto message = message_decode(bytes);
    if (message.ok()) {
        const std::string again = message_encode(message.value());
        const auto second = message_decode(again);
        if (!second.ok() || message_encode(second.value()) != again) {
            std::abort();
        }
    }
    const auto roster = roster_decode(bytes);
    if (roster.ok() && roster_encode(roster.value()) != bytes) {
        std::abort();
    }
    return 0;
}
