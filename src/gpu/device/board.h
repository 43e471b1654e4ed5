// Rows of bytes onto a rank's board or out of it, and the cards by which ranks know that what they
// read is what they think. Nobody waits in here: streams order everything, and a launch comes when
// what it reads is there.
//
// A card lies in the memory of whoever fills the board. It is *open* once all it speaks of is in
// place. A launch that was stopped, or is meanwhile, leaves its card *void*: whoever reads that
// stores nothing, and is stopped itself. So nobody takes what a rank left undone for its data,
// although the words by which streams wait come from a rank that was stopped, too. Arguments are
// compared before anything is stored, and where data lies if not on the board; a difference is left
// in `end`.
//
// Thread rule: device code; blocks share the rows among them, and each looks at all cards. Failure
// rule: none but those; ranges are the caller's to check.
#pragma once

#include "src/gpu/device/lanes.h"
#include "src/gpu/device/move.h"

namespace weft::gpu::device {

inline constexpr uint64_t card_void = 0, card_open = 1;

// Cards that must be open and like ours: of `count` ranks from `first`.
struct BoardCheck {
    const uint64_t* boards;  // by rank, as this device reaches them
    uint64_t place;          // of the card on every one
    LaneEnd* end;            // pinned host memory
    uint32_t first, count;   // 0: there are none
};

struct BoardLaunch {
    MoveLaunch moves;
    uint64_t* stop;  // the word of `moves`, which a difference sets
    BoardCheck check;
    Fingerprint args;
    uint64_t places[2];  // on cards, and compared; 0: on the board (src/comm/board_direct.h)
    uint64_t* clear;     // words of a line each that are zero afterwards, unless stopped
    uint32_t clear_count;
    uint32_t spare;
    Card* card;  // filled after the rows; not null: of one block only
};
static_assert(sizeof(BoardLaunch) <= 4096);

inline constexpr uint32_t line_words = 8;

WEFT_DEVICE_CODE const Card* board_card(const BoardCheck& check, uint32_t rank) {
    return reinterpret_cast<const Card*>(load_element<uint64_t>(check.boards + rank) + check.place);
}

WEFT_DEVICE_CODE bool card_is_open(const Card* card) {
    return load_element<uint64_t>(&card->turn) == card_open;
}

WEFT_DEVICE_CODE bool card_agrees(const BoardLaunch& launch, const Card* card) {
    return !differ(launch.args, card_args(card)) &&
           load_element<uint64_t>(&card->addresses[0]) == launch.places[0] &&
           load_element<uint64_t>(&card->addresses[1]) == launch.places[1];
}

// The first card that differs: of places, where arguments are alike, the own and the other's.
WEFT_DEVICE_CODE void card_report(const BoardLaunch& launch, uint32_t rank, const Card* card) {
    LaneEnd* const end = launch.check.end;
    const uint32_t at = load_element<uint64_t>(&card->addresses[0]) == launch.places[0] ? 1 : 0;
    mismatch_report(end, rank, launch.args, card_args(card));
    store_element<uint64_t>(&end->wait, launch.places[at]);
    store_element<uint64_t>(&end->place, load_element<uint64_t>(&card->addresses[at]));
    store_release(reinterpret_cast<uint64_t*>(&end->how), static_cast<uint64_t>(Ended::mismatch));
}

// One thread: the first card that differs, if one does.
WEFT_DEVICE_CODE void board_report(const BoardLaunch& launch) {
    const BoardCheck& check = launch.check;
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < check.count; ++i) {
        const Card* const card = board_card(check, check.first + i);
        if (card_is_open(card) && !card_agrees(launch, card)) {
            card_report(launch, check.first + i, card);
            return;
        }
    }
}

// All threads, every block alike: whether all cards are open and like ours.
WEFT_DEVICE_CODE bool board_agrees(Threads threads, void* block, const BoardLaunch& launch,
                                   uint32_t index) {
    bool wrong = false;
    WEFT_NO_UNROLL
    for (uint32_t i = threads.index; i < launch.check.count; i += threads.count) {
        const Card* const card = board_card(launch.check, launch.check.first + i);
        wrong = wrong || !card_is_open(card) || !card_agrees(launch, card);
    }
    if (!block_any(block, wrong)) {
        return true;
    }
    if (index == 0 && threads.index == 0) {
        board_report(launch);
        store_relaxed(launch.stop, 1);
    }
    return false;
}

WEFT_DEVICE_CODE void card_fill(Threads threads, void* block, const BoardLaunch& launch,
                                bool whole) {
    block_sync(block);
    if (threads.index == 0 && launch.card != nullptr) {
        store_element<uint64_t>(&launch.card->args.packed, launch.args.packed);
        store_element<uint64_t>(&launch.card->args.root, launch.args.root);
        store_element<uint64_t>(&launch.card->addresses[0], launch.places[0]);
        store_element<uint64_t>(&launch.card->addresses[1], launch.places[1]);
        store_release(&launch.card->turn, whole ? card_open : card_void);
    }
}

WEFT_DEVICE_CODE bool board_moves(Threads threads, void* block, const BoardLaunch& launch,
                                  uint32_t index) {
    if (move_stopped(threads, block, launch.moves) ||
        !board_agrees(threads, block, launch, index)) {
        return false;
    }
    WEFT_NO_UNROLL
    for (uint32_t i = threads.index; index == 0 && i < launch.clear_count; i += threads.count) {
        store_relaxed(launch.clear + static_cast<uint64_t>(i) * line_words, 0);
    }
    WEFT_NO_UNROLL
    for (uint32_t i = 0; i < launch.moves.move_count; ++i) {
        if (!move_one(threads, block, launch.moves, launch.moves.moves[i], index)) {
            return false;
        }
    }
    return true;
}

WEFT_DEVICE_CODE void board_run(Threads threads, void* block, const BoardLaunch& launch,
                                uint32_t index) {
    const bool whole = board_moves(threads, block, launch, index);
    card_fill(threads, block, launch, whole);
}

}  // namespace weft::gpu::device
