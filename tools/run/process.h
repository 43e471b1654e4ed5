// Child processes that cannot outlive the launcher, in namespaces of their choice.
// Thread rule: single-threaded programs only (children run C++ between fork and exec).
// Lifetime rule: a child gets SIGKILL when the process that spawned it ends, however it ends.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "src/base/handle.h"
#include "src/base/result.h"

namespace weft::run {

struct Process {
    pid_t pid = -1;    // as seen from here, whatever the child's own PID namespace says
    Fd pidfd;          // readable once the process ended
    std::string note;  // what the child had to say about its set-up
};

// Where a child lives: it joins namespaces of another process, then makes new ones.
struct Home {
    int join_pidfd = -1;
    int join = 0;  // CLONE_NEW* flags
    int make = 0;
};

// How a child that does not exec says that its set-up is done. Without that, exec says it.
class Ready {
  public:
    explicit Ready(int fd) : fd_(fd) {}
    // Says so, and cuts the child loose from the launcher's terminal, pipes and files. `input`
    // becomes its standard input.
    void done(const std::string& note, int input = -1) const;

  private:
    int fd_;
};

// Runs in the child; returns only on failure, with the reason in one line.
using ChildBody = std::function<std::string(const Ready&)>;

// Returns once the child is ready (or has called exec), or with the reason why it failed.
Result<Process> spawn(const Home& home, const ChildBody& body);

// Waits for the end and reaps: the status as waitpid() gives it.
int reap(pid_t pid);

// The text of a failed system call: "what: Operation not permitted".
std::string sys_text(const std::string& what, int error);

}  // namespace weft::run
