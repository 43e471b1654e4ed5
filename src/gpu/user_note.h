// A range of a program's device memory as its owner describes it to other processes of the host.
// Thread rule: values. Failure rule: reading refuses what is cut, too long or of no sense, in one
// line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/gpu/export.h"

namespace weft::gpu {

inline constexpr size_t user_parts_max = 256;

struct UserPart {
    ExportNote note;
    // The owner's number for the memory, never used again there: of plain memory the driver's
    // BUFFER_ID, of mapped memory its own, for one BUFFER_ID may stand for all that is ever mapped
    // at an address.
    uint64_t buffer = 0;
};

// `bytes` from `offset` on in the parts, which lie side by side. A range of several parts is made
// of memory with descriptors only.
struct UserNote {
    std::string process;  // the owner's process_identity()
    Address address = 0;  // there, of the range
    uint64_t bytes = 0;
    uint64_t offset = 0;
    std::vector<UserPart> parts;

    size_t descriptor_count() const;
    uint64_t parts_bytes() const;
    // Equal for ranges of the same parts; differs when any of them was freed and made again.
    std::string parts_key() const;
    std::string encode() const;
    static Result<UserNote> decode(std::string_view text);
    static Result<UserNote> read(ByteReader& reader);
};

}  // namespace weft::gpu
