#include "src/comm/window_note.h"

#include "tests/catch.h"

using namespace weft;

namespace {

WindowNote some(size_t parts) {
    WindowNote note;
    note.symmetric = true;
    note.memory.process = "boot 7";
    note.memory.address = 4096;
    note.memory.bytes = 100;
    for (size_t i = 0; i < parts; i++) {
        note.memory.parts.push_back({{gpu::ExportKind::descriptor, 1 << 21, "01ab", {}}, i + 1});
        note.tickets.push_back({local::channel_name(), i, {}});
    }
    return note;
}

}  // namespace

TEST_CASE("what is told of a window is read as it was written") {
    const WindowNote note = some(3);
    const WindowNote read = WindowNote::decode(note.encode()).value();
    CHECK(read.encode() == note.encode());
    CHECK(read.symmetric);
    CHECK(read.tickets.size() == 3);
    // Within one process nobody asks for descriptors.
    WindowNote near = note;
    near.tickets.clear();
    CHECK(WindowNote::decode(near.encode()).value().tickets.empty());
}

TEST_CASE("the most that a window has fits a round of the control group") {
    CHECK(some(gpu::user_parts_max).encode().size() < (64 << 10) - 1);
}

TEST_CASE("what is cut, too long or has too few tickets is refused") {
    WindowNote note = some(2);
    const std::string whole = note.encode();
    const size_t memory = note.memory.encode().size() + 1;
    for (size_t bytes = 0; bytes < whole.size(); bytes++) {
        CHECK(WindowNote::decode(whole.substr(0, bytes)).ok() == (bytes == memory));
    }
    CHECK_FALSE(WindowNote::decode(whole + "x").ok());
}
