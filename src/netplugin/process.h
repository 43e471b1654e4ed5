// What all connections of a process share, and who keeps it: the process for NCCL up to ABI 10,
// whose init is once and has no end, each context (a communicator) from 11 on, and every listener
// and connection there is. The last to go closes the hub and ends the service thread; the next init
// makes another. Thread-safe.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "src/base/reactor.h"
#include "src/base/result.h"
#include "src/netplugin/abi.h"
#include "src/netplugin/devices.h"
#include "transports/hubs.h"

namespace weft::netplugin {

class Calling;

// Members in order of life: reactor before hub.
struct Shared {
    explicit Shared(std::unique_ptr<Reactor> service, std::unique_ptr<WireHub> made);
    ~Shared();
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    const std::unique_ptr<Reactor> reactor;
    const std::unique_ptr<WireHub> hub;
    Devices devices;

    // Connections being made, by what the caller's handle says. A handle is bytes that came over
    // the network: no pointer is read from it.
    Calling* calling(uint64_t id);
    uint64_t calling_add(std::unique_ptr<Calling> calling);
    std::unique_ptr<Calling> calling_take(uint64_t id);
    void calling_end();  // all: they hold this

  private:
    std::mutex lock_;  // of calling_
    std::unordered_map<uint64_t, std::unique_ptr<Calling>> calling_;
};

// The one object of the plugin; never destroyed.
class Process {
  public:
    static Process& get();
    static bool forked();

    // For init: lines go to `log` from now on.
    Result<std::shared_ptr<Shared>> open(LogFunction log);
    void keep(std::shared_ptr<Shared> shared);  // for good
    // Of a communicator, from ABI 11 on. The end of the last one ends what is still being made.
    struct Context {
        std::shared_ptr<Shared> shared;
    };
    Context* context_make(std::shared_ptr<Shared> shared);
    void context_end(Context* context);
    // An error before init.
    Result<std::shared_ptr<Shared>> current();

  private:
    Process();
    Result<std::shared_ptr<Shared>> make();

    std::mutex lock_;
    std::weak_ptr<Shared> current_;
    std::shared_ptr<Shared> kept_;
    size_t contexts_ = 0;
};

}  // namespace weft::netplugin
