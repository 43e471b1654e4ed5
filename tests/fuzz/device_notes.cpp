// What ranks tell of device memory that others may map: no bytes crash the readers, and what is
// read is written the same again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "src/comm/window_note.h"

namespace {

template <class Note>
void look(std::string_view text) {
    const weft::Result<Note> note = Note::decode(text);
    if (note.ok() &&
        Note::decode(note.value().encode()).value().encode() != note.value().encode()) {
        abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    const std::string_view text(reinterpret_cast<const char*>(data), bytes);
    look<weft::WindowNote>(text);
    look<weft::gpu::UserNote>(text);
    look<weft::gpu::ExportNote>(text);
    look<weft::HandoverTicket>(text);
    return 0;
}
