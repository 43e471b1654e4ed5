#include "src/gpu/user_note.h"

#include "src/base/log.h"

namespace weft::gpu {

namespace {

constexpr size_t process_bytes_max = 128;

Error nonsense(const char* what) {
    return make_error(Code::remote, Scope::peer,
                      format("a peer describes registered device memory with %s: run one version "
                             "everywhere",
                             what));
}

}  // namespace

size_t UserNote::descriptor_count() const {
    return parts.front().note.kind == ExportKind::descriptor ? parts.size() : 0;
}

uint64_t UserNote::parts_bytes() const {
    uint64_t total = 0;  // each is far below 2^64 / user_parts_max
    for (const UserPart& part : parts) {
        total += part.note.bytes;
    }
    return total;
}

std::string UserNote::parts_key() const {
    ByteWriter writer;
    writer.text(process);
    for (const UserPart& part : parts) {
        writer.text(part.note.encode()).u64(part.buffer);
    }
    return writer.take();
}

std::string UserNote::encode() const {
    ByteWriter writer;
    writer.text(process).u64(address).u64(bytes).u64(offset);
    writer.u32(static_cast<uint32_t>(parts.size()));
    for (const UserPart& part : parts) {
        writer.raw(part.note.encode()).u64(part.buffer);
    }
    return writer.take();
}

Result<UserNote> UserNote::read(ByteReader& reader) {
    UserNote note;
    note.process = TRY(reader.text(process_bytes_max));
    note.address = TRY(reader.u64());
    note.bytes = TRY(reader.u64());
    note.offset = TRY(reader.u64());
    const uint32_t count = TRY(reader.count(user_parts_max));
    for (uint32_t i = 0; i < count; i++) {
        UserPart part;
        part.note = TRY(ExportNote::read(reader));
        part.buffer = TRY(reader.u64());
        note.parts.push_back(std::move(part));
    }
    if (count == 0) {
        return nonsense("no parts");
    }
    for (const UserPart& part : note.parts) {
        if (count > 1 && part.note.kind != ExportKind::descriptor) {
            return nonsense("several parts that have no descriptors");
        }
    }
    const uint64_t total = note.parts_bytes();
    if (note.bytes == 0 || note.bytes > total || note.offset > total - note.bytes) {
        return nonsense("a range outside of its parts");
    }
    return note;
}

Result<UserNote> UserNote::decode(std::string_view text) {
    ByteReader reader(text);
    UserNote note = TRY(read(reader));
    TRY(reader.end());
    return note;
}

}  // namespace weft::gpu
