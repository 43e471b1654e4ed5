// Threads of the library: they have a name, and signals stay the application's, for none is ever
// handled on one. Thread rule: reentrant. Failure rule: std::thread's, which throws where the
// system has no more threads.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <thread>
#include <utility>

namespace weft {

// The calling thread takes no signals; what it starts meanwhile never does.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_;
};

// `name`: a literal of at most 15 characters.
template <class Work>
std::thread thread_start(const char* name, Work work) {
    const SignalsBlocked blocked;
    return std::thread([name, work = std::move(work)]() mutable {
        pthread_setname_np(pthread_self(), name);
        work();
    });
}

// Work that may wait, off the thread that must not; nobody waits for its end.
template <class Work>
void thread_aside(Work work) {
    thread_start("weft-aside", std::move(work)).detach();
}

}  // namespace weft
