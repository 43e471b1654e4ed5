// What a checked process is doing inside the plugin, in memory that the supervisor shares: it names
// the call in which a process hangs or crashes, and the first call that blocked. Thread-safe: each
// thread writes its own slot. Lifetime rule: maps a memfd, which both processes keep open.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "src/base/clock.h"
#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft::netcheck {

enum class Call : uint32_t {
    none,
    load,
    init,
    devices,
    properties,
    listen,
    connect,
    accept,
    reg_mr,
    dereg_mr,
    isend,
    irecv,
    iflush,
    test,
    close_send,
    close_recv,
    close_listen,
    make_virtual_device,
    finalize,
    set_attributes,
    unload,
};
const char* call_name(Call call);  // as NCCL names it
bool call_must_not_block(Call call);

inline constexpr size_t board_slots = 64;

struct Board {
    std::array<std::atomic<Call>, board_slots> now;
    std::atomic<uint32_t> slots_used;
    std::atomic<Call> late_call;  // the first that took longer than it may
    std::atomic<int64_t> late_ms;
};

Result<Fd> board_make();
Result<Board*> board_map(int fd);            // never unmapped
std::string board_text(const Board& board);  // "in connect and test", or "outside the plugin"

bool board_idle(const Board& board);  // no thread is in the plugin

// The board of this process, set once before any thread begins. A limit of 0: calls are not timed,
// which would show where calls are what is measured.
void board_use(Board* board, Nanos call_limit);

class CallNote {
  public:
    explicit CallNote(Call call);
    ~CallNote();
    CallNote(const CallNote&) = delete;
    CallNote& operator=(const CallNote&) = delete;

  private:
    Call call_;
    Nanos begin_;
};

}  // namespace weft::netcheck
