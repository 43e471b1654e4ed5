#include "tools/run/supervise.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "tools/run/output.h"
#include "tools/run/report.h"

namespace weft::run {

namespace {

constexpr int timeout_status = 124;      // as timeout(1)
constexpr Nanos drain_ns = nanos_per_s;  // for output of what is already killed
constexpr int drain_reads_max = 16;      // of 64 KiB each, when a rank has ended
constexpr int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

// running -> grace (a rank failed) -> terminating (SIGTERM sent) -> killing (SIGKILL sent)
// Any of them -> draining, once every rank has ended -> done.
enum class Phase { running, grace, terminating, killing, draining, done };

struct Watched {
    Rank rank;
    Stream out;
    Stream err;
    std::optional<End> end;
};

std::string seconds_text(Nanos time) {
    return format("%.1f s", static_cast<double>(time) / static_cast<double>(nanos_per_s));
}

class Supervisor {
  public:
    explicit Supervisor(Job job);
    int run();

  private:
    void signals_take();
    void turn();
    void dispatch(const std::vector<pollfd>& polled);
    std::vector<pollfd> poll_set();
    int poll_ms() const;

    void advance(Nanos now);
    void enter(Phase phase, Nanos deadline);
    void terminate(Nanos now);
    void send_all(int signal);
    void signal_arrived(int signal);
    void ended_check(Watched& watched);
    void failed_first(Watched& watched);
    void all_ended();
    void say(const std::string& text) { err_.push("weft-run: " + text + "\n"); }
    std::string name_of(const Watched& watched) const;
    size_t running_count() const;
    int exit_status() const;

    Job job_;
    Sink out_{1};
    Sink err_{2};
    std::vector<Watched> ranks_;
    Fd signals_;
    Phase phase_ = Phase::running;
    Nanos started_ = clock_now();
    Nanos deadline_ = 0;  // of the phase; 0: none
    int passed_on_ = 0;   // the last INT, TERM or HUP forwarded
    bool timed_out_ = false;
    std::optional<End> first_;
};

// What to write before a rank's lines.
std::string prefix_of(Prefix choice, int rank, size_t rank_count, bool is_out) {
    const bool table = choice == Prefix::others && (rank_count == 1 || (rank == 0 && is_out));
    return choice == Prefix::none || table ? "" : format("[%d] ", rank);
}

Supervisor::Supervisor(Job job) : job_(std::move(job)) {
    const size_t count = job_.ranks.size();
    for (Rank& rank : job_.ranks) {
        const int number = rank.place.rank;
        Stream out(std::move(rank.out), prefix_of(job_.prefix, number, count, true), &out_);
        Stream err(std::move(rank.err), prefix_of(job_.prefix, number, count, false), &err_);
        ranks_.push_back({std::move(rank), std::move(out), std::move(err), std::nullopt});
    }
    deadline_ = job_.timeout == 0 ? 0 : started_ + job_.timeout;
    signals_take();
}

// A signal that was ignored when weft-run started (nohup) stays ignored.
void Supervisor::signals_take() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : forwarded) {
        struct sigaction action {};
        ::sigaction(signal, nullptr, &action);
        if (action.sa_handler != SIG_IGN) {
            ::sigaddset(&set, signal);
        }
    }
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int Supervisor::run() {
    while (phase_ != Phase::done) {
        turn();
    }
    for (const Watched& watched : ranks_) {
        reap(watched.rank.process.pid);
    }
    return exit_status();
}

void Supervisor::turn() {
    std::vector<pollfd> polled = poll_set();
    if (::poll(polled.data(), polled.size(), poll_ms()) > 0) {
        dispatch(polled);
    }
    if (out_.broken() && phase_ <= Phase::grace && running_count() > 0) {
        first_ = first_.value_or(End{true, SIGPIPE, false});
        terminate(clock_now());
    }
    advance(clock_now());
}

std::vector<pollfd> Supervisor::poll_set() {
    std::vector<pollfd> set{{signals_.get(), POLLIN, 0}};
    for (Sink* sink : {&out_, &err_}) {
        set.push_back({sink->empty() ? -1 : sink->fd(), POLLOUT, 0});
    }
    for (const Watched& watched : ranks_) {
        set.push_back({watched.end ? -1 : watched.rank.process.pidfd.get(), POLLIN, 0});
        for (const Stream* stream : {&watched.out, &watched.err}) {
            set.push_back({stream->sink()->full() ? -1 : stream->fd(), POLLIN, 0});
        }
    }
    return set;
}

int Supervisor::poll_ms() const {
    if (deadline_ == 0) {
        return -1;
    }
    const Nanos left = std::max<Nanos>(0, deadline_ - clock_now());
    return static_cast<int>(std::min<Nanos>(left / nanos_per_ms + 1, 1'000'000));
}

// `polled` is in the order of poll_set().
void Supervisor::dispatch(const std::vector<pollfd>& polled) {
    signalfd_siginfo info{};
    while (polled[0].revents != 0 && ::read(signals_.get(), &info, sizeof info) == sizeof info) {
        signal_arrived(static_cast<int>(info.ssi_signo));
    }
    for (size_t i = 0; i < ranks_.size(); ++i) {
        Watched& watched = ranks_[i];
        const pollfd* mine = &polled[3 + 3 * i];
        if (mine[1].revents != 0) {
            watched.out.read_some();
        }
        if (mine[2].revents != 0) {
            watched.err.read_some();
        }
        if (mine[0].revents != 0) {
            ended_check(watched);
        }
    }
    if (polled[1].revents != 0) {
        out_.write_some();
    }
    if (polled[2].revents != 0) {
        err_.write_some();
    }
}

// A rank that ended stays a zombie until all have: its number, and so its process group's, cannot
// pass to a stranger meanwhile.
void Supervisor::ended_check(Watched& watched) {
    siginfo_t info{};
    const auto pid = static_cast<id_t>(watched.rank.process.pid);
    if (::waitid(P_PID, pid, &info, WEXITED | WNOWAIT | WNOHANG) != 0 || info.si_pid == 0) {
        return;
    }
    watched.end = End{info.si_code != CLD_EXITED, info.si_status, info.si_code == CLD_DUMPED};
    for (int i = 0; i < drain_reads_max; ++i) {
        for (Stream* stream : {&watched.out, &watched.err}) {
            if (stream->open()) {
                stream->read_some();
            }
        }
    }
    if (watched.end->failed() && !first_) {
        first_ = watched.end;
        failed_first(watched);
    }
    if (running_count() == 0) {
        all_ended();
    }
}

// Says what happened and starts the clock for the others. A rank that ended because the user or
// the limit of time asked for it is no news.
void Supervisor::failed_first(Watched& watched) {
    const bool asked = watched.end->by_signal && watched.end->number == passed_on_;
    if (phase_ == Phase::running && !asked) {
        std::string text = name_of(watched) + " failed: " + end_text(*watched.end) + " after " +
                           seconds_text(clock_now() - started_);
        const auto& tail = watched.err.tail();
        say(text + (tail.empty() ? "; it wrote nothing to stderr" : "; its last stderr lines:"));
        for (const std::string& line : tail) {
            say("  | " + line);
        }
    }
    if (phase_ == Phase::running && running_count() != 0) {
        say(format("%zu still running: SIGTERM in ", running_count()) + seconds_text(job_.grace) +
            ", SIGKILL as long after that");
        enter(Phase::grace, clock_now() + job_.grace);
    }
}

void Supervisor::all_ended() {
    if (first_ && ranks_.size() > 1) {
        std::vector<End> ends;
        for (const Watched& watched : ranks_) {
            ends.push_back(*watched.end);
        }
        say("all ranks ended: " + ends_text(ends));
    }
    job_.kill_leftovers();
    enter(Phase::draining, clock_now() + drain_ns);
}

void Supervisor::enter(Phase phase, Nanos deadline) {
    phase_ = phase;
    deadline_ = deadline;
}

void Supervisor::terminate(Nanos now) {
    send_all(SIGTERM);
    enter(Phase::terminating, now + job_.grace);
}

// What the passing of time means in each phase.
void Supervisor::advance(Nanos now) {
    const bool late = deadline_ != 0 && now >= deadline_;
    switch (phase_) {
        case Phase::running:
            if (late) {
                timed_out_ = true;
                say(format("%zu still running after ", running_count()) +
                    seconds_text(job_.timeout) + ": stopping them");
                terminate(now);
            }
            return;
        case Phase::grace:
            if (late) {
                terminate(now);
            }
            return;
        case Phase::terminating:
            if (late) {
                send_all(SIGKILL);
                enter(Phase::killing, 0);
            }
            return;
        case Phase::draining: {
            const bool closed = std::all_of(ranks_.begin(), ranks_.end(), [](const Watched& w) {
                return !w.out.open() && !w.err.open();
            });
            if (late || closed) {
                for (Watched& watched : ranks_) {
                    watched.out.close();
                    watched.err.close();
                }
                enter(out_.empty() && err_.empty() ? Phase::done : Phase::draining, 0);
            }
            return;
        }
        case Phase::killing:
        case Phase::done:
            return;
    }
}

// To the process group, so that a shell does not keep the signal from the program it runs; a rank
// that left its group is reached by number.
void Supervisor::send_all(int signal) {
    for (const Watched& watched : ranks_) {
        const pid_t pid = watched.rank.process.pid;
        if (!watched.end && ::kill(-pid, signal) != 0) {
            ::kill(pid, signal);
        }
    }
}

void Supervisor::signal_arrived(int signal) {
    if (phase_ == Phase::draining) {  // only a reader that does not read can hold this up
        enter(signal == SIGUSR1 || signal == SIGUSR2 ? phase_ : Phase::done, 0);
        return;
    }
    const bool asks_to_end = signal == SIGINT || signal == SIGTERM || signal == SIGHUP;
    const bool again = asks_to_end && passed_on_ != 0 && signal != SIGHUP;
    if (asks_to_end) {
        passed_on_ = signal;
    }
    if (again && phase_ <= Phase::grace) {
        say("second " + signal_text(signal) + ": stopping all ranks");
        terminate(clock_now());
        return;
    }
    send_all(signal);
}

std::string Supervisor::name_of(const Watched& watched) const {
    const std::string host = job_.host_text(watched.rank.place.host);
    return format("rank %d (%s%spid %d)", watched.rank.place.rank, host.c_str(),
                  host.empty() ? "" : ", ", watched.rank.process.pid);
}

size_t Supervisor::running_count() const {
    return static_cast<size_t>(
        std::count_if(ranks_.begin(), ranks_.end(), [](const Watched& w) { return !w.end; }));
}

int Supervisor::exit_status() const {
    if (timed_out_) {
        return timeout_status;
    }
    return first_ ? first_->exit_status() : 0;
}

}  // namespace

int supervise(Job job) {
    return Supervisor(std::move(job)).run();
}

}  // namespace weft::run
