// Processes of checks: started afresh for each, killed at the deadline, and what became of them.
// Thread-bound. Lifetime rule: a child gets SIGKILL when its supervisor ends, however it ends.
#pragma once

#include <sys/types.h>

#include <string>

#include "tools/net_check/board.h"
#include "tools/net_check/checks.h"
#include "tools/net_check/verdict.h"

namespace weft::netcheck {

class Half {
  public:
    static Result<Half> start(const Task& task, int channel_fd, bool verbose);
    Half(Half&&) = default;
    Half& operator=(Half&&) = delete;
    ~Half();

    int fd() const { return pidfd_.get(); }  // readable when it has ended
    bool ended() const { return ended_; }
    void look();  // whether it has ended
    void kill();  // it is late
    const Verdict& verdict() const { return verdict_; }

  private:
    Half() = default;
    Verdict judged(int status) const;
    std::string ending(int status, bool spoke) const;

    Task task_;
    pid_t pid_ = -1;
    Fd pidfd_;
    Fd report_;
    Fd board_fd_;
    Board* board_ = nullptr;
    bool may_be_killed_ = false;
    bool late_ = false;
    bool ended_ = false;
    Verdict verdict_;
};

// Waits until all have ended; what is left at the deadline, or 2 s after one failed, is killed.
Result<void> halves_wait(std::vector<Half>& halves, Nanos deadline);

// Both processes on this machine.
Result<Verdict> check_here(const Task& task, Nanos deadline, bool verbose);

// "12 11 10": what the plugin exports, found out in a process of its own.
Result<Verdict> versions_ask(const Task& task, Nanos deadline, bool verbose);

}  // namespace weft::netcheck
