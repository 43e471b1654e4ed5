// Every message of the control plane, and the only code that turns them into bytes and back.
// Lengths are bounded while reading. Thread rule: pure, reentrant.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/base/result.h"
#include "src/bootstrap/control.h"
#include "src/bootstrap/net.h"

namespace weft {

inline constexpr size_t message_bytes_max = 256 << 10;
inline constexpr size_t info_bytes_max = 8 << 10;
inline constexpr size_t blob_bytes_max = 64 << 10;
inline constexpr size_t text_bytes_max = 2 << 10;
inline constexpr size_t process_addresses_max = 8;
inline constexpr int32_t rank_count_max = 1 << 20;

using GroupId = uint64_t;

// A process as others reach and name it. The nonce tells it from another one at the same address.
struct ProcessInfo {
    uint64_t nonce = 0;
    std::string host;
    int64_t pid = 0;
    std::vector<NetAddress> addresses;
};

// To the root.
struct JoinMessage {
    int32_t rank = 0;
    int32_t rank_count = 0;
    std::string info;
};
struct CancelMessage {  // a joining rank gave up, for `code`
    int32_t rank = 0;
    Code code = Code::aborted;
    std::string text;
};
// From the root.
struct FailMessage {
    Code code = Code::internal;
    std::string text;
};
struct WaitingMessage {
    std::string text;  // "ranks 3, 7-9 of 16"
};
struct TableMessage {  // a piece of an encoded Roster
    uint64_t total = 0;
    uint64_t offset = 0;
    std::string bytes;
};
// Between processes of a group.
struct AttachMessage {
    GroupId group = 0;
};
struct DetachMessage {
    GroupId group = 0;
};
struct BlobMessage {  // one rank's part of the group's all-gather number `sequence`
    GroupId group = 0;
    uint32_t sequence = 0;
    int32_t rank = 0;
    std::string bytes;
};
struct LeftMessage {  // the rank left in order after it had finished that many all-gathers
    GroupId group = 0;
    int32_t rank = 0;
    uint32_t finished = 0;
    bool assumed = false;  // it is gone, and nobody saw how
};
struct NoticeMessage {
    GroupId group = 0;
    Notice notice;
};
// The last message of a connection: its sender goes on over another one between the two, or has no
// use for it any more.
struct RetireMessage {
    bool moved = false;
};

using Message = std::variant<ProcessInfo, JoinMessage, CancelMessage, FailMessage, WaitingMessage,
                             TableMessage, AttachMessage, DetachMessage, BlobMessage, LeftMessage,
                             NoticeMessage, RetireMessage>;

std::string message_encode(const Message& message);
Result<Message> message_decode(std::string_view bytes);

// Who is in a group: what the root sends to everyone. Processes are in the order of their lowest
// rank.
struct Roster {
    GroupId group = 0;
    std::vector<ProcessInfo> processes;
    std::vector<int32_t> process_of;  // by rank
    std::vector<std::string> infos;   // by rank
    std::string key;  // derived, never on the wire; derives ids and keys of children
};

std::string roster_encode(const Roster& roster);
Result<Roster> roster_decode(std::string_view bytes);
uint64_t roster_bytes_max(int32_t rank_count);

// "3, 7-9": at most a dozen runs, then how many more there are.
std::string ranks_text(const std::vector<int32_t>& sorted);

// "rank 3 (host a, pid 77)".
std::string rank_name(int32_t rank, const ProcessInfo& process);

}  // namespace weft
