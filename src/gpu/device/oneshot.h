// The second family: small operations in one block a rank and one hop. Every rank stores its block
// into each peer's inbox as LL words, whose flag says which operation they belong to, and takes
// what it needs out of its own, in the order of ranks: the same bits everywhere. Peers' buffers are
// not touched, so there is nothing to grant; the head of every inbox carries the arguments, which
// are compared before a byte of data is used.
//
// An inbox has two parts in turn. A rank ends an operation only when it has the heads of all, so
// all have ended the one before, and the part of that one is free for the next.
//
// A flag has 32 bits. A word that no operation has used for 2^32 of them would be taken for new, so
// now and then all words of both parts are written. Thread rule: device code, all threads of a
// block; every wait is one of the whole block. Failure rule: an abort ends it at its next wait, and
// nothing is stored after that.
#pragma once

#include "src/gpu/device/lanes.h"

namespace weft::gpu::device {

inline constexpr uint64_t refresh_period = 1 << 20;  // in pairs of operations

struct Post {
    Threads threads;
    void* block;
    const OneshotRank* rank;
    uint64_t epoch;

    WEFT_DEVICE_CODE const RankPart& part() const { return rank->part; }
    WEFT_DEVICE_CODE uint32_t flag() const { return static_cast<uint32_t>(epoch + 1); }
    // Where words of rank `from` lie in the memory of rank `of`.
    WEFT_DEVICE_CODE uint64_t* words(uint32_t of, uint32_t from) const {
        const uint64_t memory = load_element<uint64_t>(part().memories + of);
        const uint64_t index = (epoch & 1) * part().rank_count + from;
        return reinterpret_cast<uint64_t*>(memory + rank->inbox) + index * oneshot_words;
    }
    // Whether words beyond the data are written, too.
    WEFT_DEVICE_CODE bool refreshes() const {
        return (epoch >> 1) % refresh_period == refresh_period - 1;
    }
};

WEFT_DEVICE_CODE uint32_t head_word(const Fingerprint& args, uint32_t i) {
    const uint64_t half = i < 2 ? args.packed : args.root;
    return static_cast<uint32_t>(half >> (i & 1) * 32);
}

inline constexpr uint32_t unit_bytes = 8;

// Up to 8 bytes from where they are, the rest zero.
template <class Bits>
WEFT_DEVICE_CODE uint64_t unit_load(const char* at, uint32_t bytes) {
    if (bytes == unit_bytes && (place_of(at) & 7) == 0) {
        return load_element<uint64_t>(at);
    }
    const bool whole = (place_of(at) & (sizeof(Bits) - 1)) == 0;
    uint64_t unit = 0;
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < bytes; i += sizeof(Bits)) {
        unit |= static_cast<uint64_t>(load_anywhere<Bits>(at + i, whole)) << (8 * i);
    }
    return unit;
}

template <class Bits>
WEFT_DEVICE_CODE void unit_store(char* at, uint64_t unit, uint32_t bytes) {
    if (bytes == unit_bytes && (place_of(at) & 7) == 0) {
        store_element<uint64_t>(at, unit);
        return;
    }
    const bool whole = (place_of(at) & (sizeof(Bits) - 1)) == 0;
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < bytes; i += sizeof(Bits)) {
        store_anywhere<Bits>(at + i, static_cast<Bits>(unit >> (8 * i)), whole);
    }
}

// The bits of one element, and whether own data is multiplied by it.
struct Factor {
    uint64_t bits;
    bool scales;
};

template <DataType type>
WEFT_DEVICE_CODE uint64_t own_unit(const OneshotRank& rank, Factor factor, uint32_t at,
                                   uint32_t bytes) {
    using E = Element<type>;
    using Bits = typename E::Bits;
    const uint64_t unit = unit_load<Bits>(static_cast<const char*>(rank.part.input) + at, bytes);
    if (!factor.scales) {
        return unit;
    }
    const Scaling<type> scaling{E::widen(static_cast<Bits>(factor.bits))};
    uint64_t out = 0;
    WEFT_UNROLL
    for (uint32_t i = 0; i < unit_bytes; i += sizeof(Bits)) {
        out |= static_cast<uint64_t>(scaling(static_cast<Bits>(unit >> (8 * i)))) << (8 * i);
    }
    return out;
}

// Own arguments and data to all others.
template <DataType type>
WEFT_DEVICE_CODE void all_send(const Post& post, const OneshotRank& rank, Factor factor) {
    const uint32_t ranks = rank.part.rank_count;
    const bool sends = rank.what != Oneshot::spread || rank.root == rank.part.rank;
    const uint32_t used = sends ? rank.bytes : 0;
    const uint32_t written = post.refreshes() ? oneshot_bytes_max : used;
    WEFT_NO_UNROLL
    for (uint32_t i = post.threads.index; i < oneshot_head_words; i += post.threads.count) {
        WEFT_NO_UNROLL
        for (uint32_t peer = 0; peer < ranks; ++peer) {
            if (peer != rank.part.rank) {
                ll_store(post.words(peer, rank.part.rank) + i, head_word(rank.part.args, i),
                         post.flag());
            }
        }
    }
    WEFT_NO_UNROLL
    for (uint32_t at = post.threads.index * unit_bytes; at < written;
         at += post.threads.count * unit_bytes) {
        const uint32_t left = at < used ? used - at : 0;
        const uint32_t bytes = left < unit_bytes ? left : unit_bytes;
        const uint64_t unit = bytes > 0 ? own_unit<type>(rank, factor, at, bytes) : 0;
        WEFT_NO_UNROLL
        for (uint32_t peer = 0; peer < ranks; ++peer) {
            if (peer != rank.part.rank) {
                uint64_t* const to = post.words(peer, rank.part.rank) + oneshot_head_words + at / 4;
                ll_store(to, static_cast<uint32_t>(unit), post.flag());
                ll_store(to + 1, static_cast<uint32_t>(unit >> 32), post.flag());
            }
        }
    }
}

WEFT_DEVICE_CODE Fingerprint head_args(const Post& post, uint32_t from) {
    const uint64_t* const head = post.words(post.part().rank, from);
    uint64_t words[oneshot_head_words];
    WEFT_UNROLL
    for (uint32_t i = 0; i < oneshot_head_words; ++i) {
        words[i] = ll_data(ll_load(head + i));
    }
    return {words[0] | words[1] << 32, words[2] | words[3] << 32};
}

// Every thread looks at the heads of its own ranks.
WEFT_DEVICE_CODE Ended heads_await(const Post& post, LaneEnd* end) {
    const RankPart& part = post.part();
    const auto come = [&] {
        bool all = true;
        WEFT_NO_UNROLL
        for (uint32_t from = post.threads.index; from < part.rank_count;
             from += post.threads.count) {
            WEFT_NO_UNROLL
            for (uint32_t i = 0; from != part.rank && i < oneshot_head_words; ++i) {
                all = all && ll_flag(ll_load(post.words(part.rank, from) + i)) == post.flag();
            }
        }
        return all;
    };
    if (!block_await(post.threads, post.block, part.abort_word, come)) {
        return Ended::aborted;
    }
    bool wrong = false;
    WEFT_NO_UNROLL
    for (uint32_t from = post.threads.index; from < part.rank_count; from += post.threads.count) {
        wrong = wrong || (from != part.rank && differ(part.args, head_args(post, from)));
    }
    if (!block_any(post.block, wrong)) {
        return Ended::well;
    }
    WEFT_NO_UNROLL
    for (uint32_t from = 0; post.threads.index == 0 && from < part.rank_count; ++from) {
        const Fingerprint theirs = head_args(post, from);
        if (from != part.rank && differ(part.args, theirs)) {
            mismatch_report(end, from, part.args, theirs);
            break;
        }
    }
    return Ended::mismatch;
}

// What rank `from` has sent of the unit at `at`. Ready: both words are of this operation.
struct Sent {
    uint64_t low, high;
    WEFT_DEVICE_CODE bool ready(uint32_t flag) const {
        return ll_flag(low) == flag && ll_flag(high) == flag;
    }
    WEFT_DEVICE_CODE uint64_t unit() const {
        return static_cast<uint64_t>(ll_data(high)) << 32 | ll_data(low);
    }
};

WEFT_DEVICE_CODE Sent sent_load(const Post& post, uint32_t from, uint32_t at) {
    const uint64_t* const words = post.words(post.part().rank, from) + oneshot_head_words + at / 4;
    return {ll_load(words), ll_load(words + 1)};
}

WEFT_DEVICE_CODE bool unit_ready(const Post& post, const OneshotRank& rank, uint32_t at) {
    const bool one = rank.what == Oneshot::spread;
    const uint32_t first = one ? rank.root : 0;
    const uint32_t end = one ? rank.root + 1 : rank.part.rank_count;
    bool all = true;
    WEFT_NO_UNROLL
    for (uint32_t from = first; all && from < end; ++from) {
        all = from == rank.part.rank || sent_load(post, from, at).ready(post.flag());
    }
    return all;
}

// The combination of all ranks' units, in the order of ranks.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE uint64_t unit_reduce(const Post& post, const OneshotRank& rank, uint32_t at,
                                      uint64_t own) {
    using E = Element<type>;
    using Bits = typename E::Bits;
    constexpr int per_unit = unit_bytes / sizeof(Bits);
    typename E::Wide total[per_unit] = {};
    WEFT_NO_UNROLL
    for (uint32_t from = 0; from < rank.part.rank_count; ++from) {
        const uint64_t unit = from == rank.part.rank ? own : sent_load(post, from, at).unit();
        WEFT_UNROLL
        for (int i = 0; i < per_unit; ++i) {
            const auto next = E::widen(static_cast<Bits>(unit >> (8 * sizeof(Bits) * i)));
            total[i] = from == 0 ? next : combine<op>(total[i], next);
        }
    }
    uint64_t out = 0;
    WEFT_UNROLL
    for (int i = 0; i < per_unit; ++i) {
        Bits bits = E::narrow(total[i]);
        if constexpr (!is_float(type) && op == RedOp::sum) {
            if (rank.part.divisor > 1) {
                bits = Dividing<type>{rank.part.divisor}(bits);
            }
        }
        out |= static_cast<uint64_t>(bits) << (8 * sizeof(Bits) * i);
    }
    return out;
}

// One unit of the result, once it is ready.
template <DataType type, RedOp op>
WEFT_DEVICE_CODE void unit_finish(const Post& post, const OneshotRank& rank, Factor factor,
                                  uint32_t at) {
    using Bits = typename Element<type>::Bits;
    auto* const to = static_cast<char*>(rank.part.output) + at;
    const uint32_t left = rank.bytes - at;
    const uint32_t bytes = left < unit_bytes ? left : unit_bytes;
    const bool has = rank.what != Oneshot::spread || rank.root == rank.part.rank;
    const uint64_t own = has ? own_unit<type>(rank, factor, at, bytes) : 0;
    if (rank.what == Oneshot::reduce) {
        unit_store<Bits>(to, unit_reduce<type, op>(post, rank, at, own), bytes);
        return;
    }
    if (rank.what == Oneshot::spread) {
        unit_store<Bits>(to, has ? own : sent_load(post, rank.root, at).unit(), bytes);
        return;
    }
    WEFT_NO_UNROLL
    for (uint32_t from = 0; from < rank.part.rank_count; ++from) {
        const uint64_t unit = from == rank.part.rank ? own : sent_load(post, from, at).unit();
        unit_store<Bits>(to + static_cast<uint64_t>(from) * rank.bytes, unit, bytes);
    }
}

template <DataType type, RedOp op>
WEFT_DEVICE_CODE Ended data_take(const Post& post, const OneshotRank& rank, Factor factor) {
    const uint32_t step = post.threads.count * unit_bytes;
    WEFT_NO_UNROLL
    for (uint32_t base = 0; base < rank.bytes; base += step) {
        const uint32_t at = base + post.threads.index * unit_bytes;
        const bool mine = at < rank.bytes;
        const auto come = [&] { return !mine || unit_ready(post, rank, at); };
        if (!block_await(post.threads, post.block, rank.part.abort_word, come)) {
            return Ended::aborted;
        }
        if (mine) {
            unit_finish<type, op>(post, rank, factor, at);
        }
    }
    return Ended::well;
}

template <DataType type, RedOp op>
WEFT_DEVICE_CODE Ended oneshot_steps(const Post& post, const OneshotRank& rank, LaneEnd* end) {
    Factor factor{0, rank.scales != 0};
    if (factor.scales) {
        factor.bits = factor_of<typename Element<type>::Bits>(rank.part);
    }
    all_send<type>(post, rank, factor);
    const Ended heads = heads_await(post, end);
    return heads == Ended::well ? data_take<type, op>(post, rank, factor) : heads;
}

template <DataType type, RedOp op>
WEFT_DEVICE_CODE void oneshot_run(Threads threads, void* block, const OneshotLaunch& launch,
                                  uint32_t index) {
    const OneshotRank& rank = launch.ranks[index];
    const uint64_t memory = load_element<uint64_t>(rank.part.memories + rank.part.rank);
    auto* const epoch = reinterpret_cast<uint64_t*>(memory + rank.epoch);
    const Post post{threads, block, &rank, load_element<uint64_t>(epoch)};
    Ended how = Ended::aborted;
    if (!block_any(block, threads.index == 0 && load_relaxed(rank.part.abort_word) != 0)) {
        how = oneshot_steps<type, op>(post, rank, rank.part.ends);
    }
    if (how == Ended::well && threads.index == 0) {
        store_element<uint64_t>(epoch, post.epoch + 1);
    }
    lane_end(threads, block, rank.part.ends, how);
}

}  // namespace weft::gpu::device
