// Collectives on memory of symmetric windows (board_windows.h): what ranks lay open to each other
// stays where it is, and nothing is copied into slots. Whether a call is done so, and by which of
// its buffers, follows from the call and from where its own buffers lie in windows, which is alike
// on all ranks because programs promise so; where one does not keep that, cards differ. Only where
// NCCL's own kernels rely on the promise: both buffers lie in such windows, and the call is one of
// four. Pure. Thread rule: values. Failure rule: none; the calls were checked.
//
// A part is a whole call. In place, too, nobody writes what another may still read: what a rank
// reads of an input that is an output as well, its owner writes only when that rank has told that
// it has reduced, or never. all_to_all in place goes through slots.
#pragma once

#include <cstdint>
#include <functional>

#include "src/exec/engine.h"

namespace weft {

// Where a buffer lies: number of a window and offset in it, as cards have it. 0: in none.
class WindowPlace {
  public:
    static constexpr uint32_t number_max = 0xffff;
    static constexpr uint64_t offset_max = (1ull << 48) - 1;

    constexpr WindowPlace() = default;
    // `number` from 1.
    constexpr WindowPlace(uint32_t number, uint64_t offset)
        : packed_(static_cast<uint64_t>(number) << 48 | offset) {}
    static constexpr WindowPlace of(uint64_t packed) {
        return WindowPlace(static_cast<uint32_t>(packed >> 48), packed & offset_max);
    }
    constexpr explicit operator bool() const { return packed_ != 0; }
    constexpr uint64_t packed() const { return packed_; }
    constexpr uint32_t number() const { return static_cast<uint32_t>(packed_ >> 48); }
    constexpr uint64_t offset() const { return packed_ & offset_max; }
    bool operator==(const WindowPlace&) const = default;

  private:
    uint64_t packed_ = 0;
};

// The window that holds all these bytes, or none.
using WindowFind = std::function<WindowPlace(uint64_t address, uint64_t bytes)>;

// What others read of a call's buffers where they lie, which is alike on all ranks.
struct BoardDirect {
    WindowPlace send, recv;
    explicit operator bool() const { return send || recv; }
};
BoardDirect board_direct(const Call& call, int32_t rank_count, const WindowFind& find);

}  // namespace weft
