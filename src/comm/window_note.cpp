#include "src/comm/window_note.h"

namespace weft {

std::string WindowNote::encode() const {
    ByteWriter writer;
    writer.u8(symmetric ? 1 : 0).raw(memory.encode());
    for (const HandoverTicket& ticket : tickets) {
        writer.raw(ticket.encode());
    }
    return writer.take();
}

Result<WindowNote> WindowNote::decode(std::string_view text) {
    ByteReader reader(text);
    WindowNote note;
    const uint8_t symmetric = TRY(reader.u8());
    note.symmetric = symmetric != 0;
    note.memory = TRY(gpu::UserNote::read(reader));
    const size_t descriptors = reader.left() == 0 ? 0 : note.memory.descriptor_count();
    for (size_t i = 0; i < descriptors; i++) {
        note.tickets.push_back(TRY(HandoverTicket::read(reader)));
    }
    TRY(reader.end());
    return note;
}

}  // namespace weft
