// The stand-in's hostile switches and counts for one test, and the test binary run again where a
// program that is wrong ends its process. Thread-bound: one test at a time. Failure rule: a second
// process that does not end in time is killed by its alarm.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/fake_cuda/hostile.h"
#include "tests/unit/gpu/fake.h"

namespace weft::gpu {

class Hostile {
  public:
    Hostile() : counts_(static_cast<FakeCudaHostile*>(dlsym(library(), "fake_cuda_hostile"))) {
        REQUIRE(counts_ != nullptr);
    }
    ~Hostile() { counts_->torn = 0; }
    Hostile(const Hostile&) = delete;
    Hostile& operator=(const Hostile&) = delete;
    FakeCudaHostile* operator->() const { return counts_; }

  private:
    // Stays loaded: the seam holds it, too.
    static void* library() {
        void* const found = dlopen(FAKE_CUDA, RTLD_NOW);
        REQUIRE(found != nullptr);
        return found;
    }
    FakeCudaHostile* counts_;
};

// How a process ended, and what it wrote to standard error.
struct Gone {
    int how = -1;
    std::string said;
    bool died() const { return !WIFEXITED(how) || WEXITSTATUS(how) != 0; }
};

// This program again, with one test that is hidden from other runs.
inline Gone run_again(const char* test) {
    int ends[2] = {};
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const char* const arguments[] = {"again", test, "-o", "/dev/null", nullptr};
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // Other threads may hold any lock, so nothing here takes one.
        dup2(ends[1], STDERR_FILENO);
        alarm(60);
        execv("/proc/self/exe", const_cast<char* const*>(arguments));
        _exit(127);
    }
    close(ends[1]);
    Gone gone;
    char bytes[4096];
    for (ssize_t got = 0; (got = read(ends[0], bytes, sizeof(bytes))) > 0;) {
        gone.said.append(bytes, static_cast<size_t>(got));
    }
    close(ends[0]);
    REQUIRE(waitpid(child, &gone.how, 0) == child);
    return gone;
}

}  // namespace weft::gpu
