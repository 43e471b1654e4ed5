// What a check works with in one of its two processes: the loaded plugin, the other process, how
// long to wait, and communicators with NCCL's threads. Thread-bound to the thread that runs the
// check but for Patience, which belongs to the thread that made it. Failure rule: an Error whose
// code is `unsupported` (the check does not apply), `remote` (the other process knows why) or
// another (a clause is broken).
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tools/net_check/channel.h"
#include "tools/net_check/net.h"
#include "tools/net_check/worker.h"

namespace weft::netcheck {

struct Limits {
    Nanos call = 3 * nanos_per_s;   // one call that must not block
    Nanos wait = 20 * nanos_per_s;  // what must happen by itself: a connection, a message
    Nanos peer = 60 * nanos_per_s;  // until the loss of a peer, or a handle of nobody, is an error
    uint64_t bytes = 64ull << 20;   // the longest message
    Nanos soak = 0;                 // how long; 0: no soak
    int connections = 64;           // of a soak
    bool lines = false;             // errors must come with a line that says what is wrong
};

struct Bench {
    int rank = 0;  // 0 or 1
    int version = 0;
    std::string path;
    Limits limits;
    Channel channel;
    std::unique_ptr<Library> library;
    std::unique_ptr<Net> net;  // declared after its library, so that it goes first
    std::mutex init_mutex;
    bool initialised = false;  // up to v10, init is called once a process
    bool peer_may_go = false;
    std::string figures;  // name=number, a space between two: what a good verdict says

    int peer() const { return 1 - rank; }
    Result<void> load();
    Result<void> unload();
};

Error broken(std::string what);  // a clause does not hold
Error skipped(std::string why);
Result<void> expect(bool holds, const std::string& otherwise);
Result<void> good(ncclResult_t code, const char* call);  // an Error that is `reported`
bool reported(const Error& error);                       // the plugin gave a code

// What the plugin warns of from here on.
class Warnings {
  public:
    explicit Warnings(const Bench& bench) : bench_(bench), before_(warnings().size()) {}
    // Where lines are asked for: exactly one has come that has all of these words.
    Result<void> named(const std::vector<std::string>& words) const;

  private:
    const Bench& bench_;
    const size_t before_;
};

// A wait for something that takes calls to happen: yields, then sleeps a little more each time.
class Patience {
  public:
    Patience(const Bench& bench, std::string what)
        : Patience(bench, std::move(what), bench.limits.wait) {}
    Patience(const Bench& bench, std::string what, Nanos limit);
    Result<void> pause();  // an error when the limit has passed or the other process has gone
    void progress();       // something happened: the limit counts anew
    bool over() const;

  private:
    const Bench& bench_;
    std::string what_;
    Nanos limit_;
    Nanos deadline_;
    int idle_ = 0;
};

// As NCCL has one: a context, a service thread and a progress thread.
class Communicator {
  public:
    static Result<std::unique_ptr<Communicator>> open(Bench& bench);
    Result<void> close();  // finalize

    Net& net() const { return *bench_.net; }
    void* context() const { return context_; }
    int device_count() const { return device_count_; }
    const Properties& properties() const { return properties_; }  // of device 0
    Worker service;
    Worker progress;

  private:
    explicit Communicator(Bench& bench) : bench_(bench) {}
    Bench& bench_;
    void* context_ = nullptr;
    int device_count_ = 0;
    Properties properties_{};
};

// A handle where NCCL has it, between guards that nobody may touch.
class HandleSpace {
  public:
    HandleSpace();
    explicit HandleSpace(const std::string& bytes);
    char* data() { return space_.data() + guard; }
    std::string bytes() const { return {space_.data() + guard, netplugin::handle_bytes}; }
    bool guards_intact() const;

  private:
    static constexpr size_t guard = 64;
    alignas(64) std::array<char, guard + netplugin::handle_bytes + guard> space_;
};

// Connections from one rank to the other; each rank holds its own ends.
struct Lines {
    Communicator* communicator = nullptr;
    bool sends = false;
    std::vector<void*> ends;
};

struct Route {
    int device = 0;
    int sender = 0;  // its rank
    int count = 1;
};
Result<Lines> lines_open(Bench& bench, Communicator& communicator, const Route& route);
Result<void> lines_close(Lines& lines);

// The steps of lines_open, for checks that mix them otherwise. Handles in and out; on the service
// thread of whoever calls.
Result<void*> listen_once(Communicator& communicator, int device, HandleSpace& handle);
Result<void*> connect_once(Communicator& communicator, int device,
                           HandleSpace& handle);                        // may be null
Result<void*> accept_once(Communicator& communicator, void* listener);  // may be null

}  // namespace weft::netcheck
