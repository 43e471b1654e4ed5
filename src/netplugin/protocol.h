// What the two sides of a connection say over the links; the sender calls, the receiver listens.
//
// 1. Channel 0 carries data: a message of at most `eager` bytes, labelled with tag and ordinal.
// 2. Channel 1 carries words, which are read at once, so it never stays full:
//      room   receiver: a grant for this label; without a body: for no bytes, or too few
//      size   sender: a put to the grant of this label is short, so many bytes; or too long
//      want   sender: so many bytes of this label have waited long for a slot or a grant
// 3. A receive larger than `eager` is granted when it is posted, a smaller one when it is wanted: a
//    slot is cheaper than a grant, but slots may all be held by what nobody receives yet. Memory of
//    a GPU is touched by NICs only, so it takes no slot: a receive into it is granted when posted,
//    and a small send of it wants at once.
// 4. A sender with both a slot and a grant takes the slot; a grant it has no use for it forgets,
//    and the receiver, who gets the message, does so too; or fills the grant itself, where that is
//    of a GPU's memory.
// 5. A put of all that is granted needs no word: the last piece is the end. A short one is put to
//    numbers of its own (transports/common/grant_table.h), and `size` says how many bytes.
#pragma once

#include <cstdint>

#include "src/netplugin/matcher.h"
#include "transports/link.h"

namespace weft::netplugin {

inline constexpr uint8_t channel_data = 0, channel_words = 1;
// A connection carries messages one way and their credits the other, so no message takes a credit
// along: it costs one of its own for half the slots. With 16 of them that was a tenth of the
// latency of 8 bytes. Slots that are never used take no memory.
inline constexpr uint32_t channels = 2, slots = 64;
inline constexpr uint32_t rank_sending = 0, rank_receiving = 1;
inline constexpr int receives_max = 8;  // in one group
inline constexpr uint32_t buffers_max = 32 * receives_max;
// One message: its size fits an int, and a header; old versions of NCCL send no more at once.
inline constexpr uint64_t message_bytes_max = uint64_t{1} << 30;
// Rounds of its driver that a send waits before it says what it wants.
inline constexpr uint32_t patience_rounds = 64;

enum class Word : uint32_t { room = 1, size, want };

inline MsgHeader header_of(MsgKind kind, uint8_t channel, Label label) {
    MsgHeader header;
    header.kind = kind;
    header.channel = channel;
    header.args = label.tag;
    header.seq = label.ordinal;
    return header;
}
inline Label label_of(const MsgHeader& header) {
    return {static_cast<uint32_t>(header.args), header.seq};
}
// The word in `index`, its bytes in `root`.
inline MsgHeader word_header(Word word, Label label, uint64_t bytes) {
    MsgHeader header =
        header_of(word == Word::room ? MsgKind::grant : MsgKind::signal, channel_words, label);
    header.index = static_cast<uint32_t>(word);
    header.root = static_cast<uint32_t>(bytes);
    return header;
}

}  // namespace weft::netplugin
