#include "src/bootstrap/wire.h"

#include <algorithm>
#include <limits>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/bootstrap/address.h"

namespace weft {

namespace {

constexpr size_t host_bytes_max = 256;

Error malformed(const char* what) {
    return make_error(Code::remote, Scope::peer, format("message has %s", what));
}

void process_write(ByteWriter& out, const ProcessInfo& process) {
    out.u64(process.nonce).text(process.host).i64(process.pid);
    out.u8(static_cast<uint8_t>(process.addresses.size()));
    for (const NetAddress& address : process.addresses) {
        address_write(out, address);
    }
}

Result<ProcessInfo> process_read(ByteReader& in) {
    ProcessInfo process;
    process.nonce = TRY(in.u64());
    process.host = TRY(in.text(host_bytes_max));
    process.pid = TRY(in.i64());
    const uint8_t count = TRY(in.u8());
    if (count > process_addresses_max) {
        return malformed("too many addresses");
    }
    for (uint8_t i = 0; i < count; ++i) {
        process.addresses.push_back(TRY(address_read(in)));
    }
    return process;
}

Result<Code> code_read(ByteReader& in) {
    const uint8_t value = TRY(in.u8());
    if (value > static_cast<uint8_t>(Code::unsupported)) {
        return malformed("an unknown result code");
    }
    return static_cast<Code>(value);
}

Result<int32_t> rank_read(ByteReader& in) {
    const int32_t rank = TRY(in.i32());
    if (rank < 0 || rank >= rank_count_max) {
        return malformed("a rank out of range");
    }
    return rank;
}

void write(ByteWriter& out, const ProcessInfo& m) {
    process_write(out, m);
}
void write(ByteWriter& out, const JoinMessage& m) {
    out.i32(m.rank).i32(m.rank_count).text(m.info);
}
void write(ByteWriter& out, const CancelMessage& m) {
    out.i32(m.rank).u8(static_cast<uint8_t>(m.code)).text(m.text.substr(0, text_bytes_max));
}
void write(ByteWriter& out, const FailMessage& m) {
    out.u8(static_cast<uint8_t>(m.code)).text(m.text.substr(0, text_bytes_max));
}
void write(ByteWriter& out, const WaitingMessage& m) {
    out.text(m.text.substr(0, text_bytes_max));
}
void write(ByteWriter& out, const TableMessage& m) {
    out.u64(m.total).u64(m.offset).text(m.bytes);
}
void write(ByteWriter& out, const AttachMessage& m) {
    out.u64(m.group);
}
void write(ByteWriter& out, const DetachMessage& m) {
    out.u64(m.group);
}
void write(ByteWriter& out, const BlobMessage& m) {
    out.u64(m.group).u32(m.sequence).i32(m.rank).text(m.bytes);
}
void write(ByteWriter& out, const LeftMessage& m) {
    out.u64(m.group).i32(m.rank).u32(m.finished).u8(m.assumed ? 1 : 0);
}
void write(ByteWriter& out, const NoticeMessage& m) {
    out.u64(m.group).u8(static_cast<uint8_t>(m.notice.kind)).i32(m.notice.rank);
    out.text(m.notice.text.substr(0, text_bytes_max));
}
void write(ByteWriter& out, const RetireMessage& m) {
    out.u8(m.moved ? 1 : 0);
}

Result<Message> read(ByteReader& in, const ProcessInfo*) {
    return Message(TRY(process_read(in)));
}
Result<Message> read(ByteReader& in, const JoinMessage*) {
    JoinMessage m;
    m.rank = TRY(in.i32());  // the root judges rank and count: it can name who sent them
    m.rank_count = TRY(in.i32());
    m.info = TRY(in.text(info_bytes_max));
    return Message(std::move(m));
}
Result<Message> read(ByteReader& in, const CancelMessage*) {
    CancelMessage m;
    m.rank = TRY(rank_read(in));
    m.code = TRY(code_read(in));
    m.text = TRY(in.text(text_bytes_max));
    return Message(std::move(m));
}
Result<Message> read(ByteReader& in, const FailMessage*) {
    FailMessage m;
    m.code = TRY(code_read(in));
    m.text = TRY(in.text(text_bytes_max));
    return Message(std::move(m));
}
Result<Message> read(ByteReader& in, const WaitingMessage*) {
    return Message(WaitingMessage{std::string(TRY(in.text(text_bytes_max)))});
}
Result<Message> read(ByteReader& in, const TableMessage*) {
    TableMessage m;
    m.total = TRY(in.u64());
    m.offset = TRY(in.u64());
    m.bytes = TRY(in.text(message_bytes_max));
    return Message(std::move(m));
}
Result<Message> read(ByteReader& in, const AttachMessage*) {
    return Message(AttachMessage{TRY(in.u64())});
}
Result<Message> read(ByteReader& in, const DetachMessage*) {
    return Message(DetachMessage{TRY(in.u64())});
}
Result<Message> read(ByteReader& in, const BlobMessage*) {
    BlobMessage m;
    m.group = TRY(in.u64());
    m.sequence = TRY(in.u32());
    m.rank = TRY(rank_read(in));
    m.bytes = TRY(in.text(blob_bytes_max));
    return Message(std::move(m));
}
Result<Message> read(ByteReader& in, const LeftMessage*) {
    LeftMessage m;
    m.group = TRY(in.u64());
    m.rank = TRY(rank_read(in));
    m.finished = TRY(in.u32());
    m.assumed = TRY(in.u8()) != 0;
    return Message(m);
}
Result<Message> read(ByteReader& in, const NoticeMessage*) {
    NoticeMessage m;
    m.group = TRY(in.u64());
    const uint8_t kind = TRY(in.u8());
    if (kind > static_cast<uint8_t>(Notice::Kind::failed)) {
        return malformed("an unknown kind of notice");
    }
    m.notice.kind = static_cast<Notice::Kind>(kind);
    m.notice.rank = TRY(rank_read(in));
    m.notice.text = TRY(in.text(text_bytes_max));
    return Message(std::move(m));
}
Result<Message> read(ByteReader& in, const RetireMessage*) {
    return Message(RetireMessage{TRY(in.u8()) != 0});
}

// The kind on the wire is the alternative's index.
template <size_t Index = 0>
Result<Message> read_kind(size_t kind, ByteReader& in) {
    if constexpr (Index < std::variant_size_v<Message>) {
        if (kind == Index) {
            return read(in,
                        static_cast<const std::variant_alternative_t<Index, Message>*>(nullptr));
        }
        return read_kind<Index + 1>(kind, in);
    } else {
        return malformed("an unknown kind");
    }
}

}  // namespace

std::string message_encode(const Message& message) {
    ByteWriter out;
    out.u8(static_cast<uint8_t>(message.index()));
    std::visit([&](const auto& m) { write(out, m); }, message);
    ASSERT(out.view().size() <= message_bytes_max);
    return out.take();
}

Result<Message> message_decode(std::string_view bytes) {
    ByteReader in(bytes);
    const uint8_t kind = TRY(in.u8());
    Message message = TRY(read_kind(kind, in));
    TRY(in.end());
    return message;
}

std::string roster_encode(const Roster& roster) {
    ByteWriter out;
    out.u64(roster.group).u32(static_cast<uint32_t>(roster.processes.size()));
    for (const ProcessInfo& process : roster.processes) {
        process_write(out, process);
    }
    out.u32(static_cast<uint32_t>(roster.infos.size()));
    for (size_t rank = 0; rank < roster.infos.size(); ++rank) {
        out.i32(roster.process_of[rank]).text(roster.infos[rank]);
    }
    return out.take();
}

uint64_t roster_bytes_max(int32_t rank_count) {
    constexpr uint64_t process_bytes = 8 + 4 + host_bytes_max + 8 + 1 + process_addresses_max * 19;
    return 16 + static_cast<uint64_t>(rank_count) * (process_bytes + 8 + info_bytes_max);
}

Result<Roster> roster_decode(std::string_view bytes) {
    ByteReader in(bytes);
    Roster roster;
    roster.group = TRY(in.u64());
    const uint32_t process_count = TRY(in.count(rank_count_max));
    for (uint32_t i = 0; i < process_count; ++i) {
        roster.processes.push_back(TRY(process_read(in)));
    }
    const uint32_t rank_count = TRY(in.count(rank_count_max));
    uint32_t seen = 0;  // processes come in the order of their lowest rank
    for (uint32_t rank = 0; rank < rank_count; ++rank) {
        const uint32_t process = TRY(in.u32());
        if (process >= process_count || process > seen) {
            return malformed("a rank of a process that is not there");
        }
        seen += process == seen ? 1 : 0;
        roster.process_of.push_back(static_cast<int32_t>(process));
        roster.infos.emplace_back(TRY(in.text(info_bytes_max)));
    }
    if (rank_count == 0 || seen != process_count) {
        return malformed("a process without ranks");
    }
    TRY(in.end());
    return roster;
}

std::string ranks_text(const std::vector<int32_t>& sorted) {
    constexpr size_t runs_most = 12;
    std::string text;
    size_t runs = 0;
    for (size_t i = 0; i < sorted.size(); ++runs) {
        size_t last = i;
        while (last + 1 < sorted.size() && sorted[last + 1] == sorted[last] + 1) {
            ++last;
        }
        if (runs == runs_most) {
            return text + format(" and %zu more", sorted.size() - i);
        }
        text += format(i == last ? "%s%d" : "%s%d-%d", text.empty() ? "" : ", ", sorted[i],
                       sorted[last]);
        i = last + 1;
    }
    return text;
}

std::string rank_name(int32_t rank, const ProcessInfo& process) {
    return format("rank %d (host %s, pid %lld)", rank, process.host.c_str(),
                  static_cast<long long>(process.pid));
}

}  // namespace weft
