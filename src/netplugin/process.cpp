#include "src/netplugin/process.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "src/base/log.h"
#include "src/base/log_sink.h"
#include "src/base/machine.h"
#include "src/base/settings.h"
#include "src/netplugin/connect.h"
#include "src/netplugin/protocol.h"
#include "transports/fabric_options.h"

namespace weft::netplugin {

namespace {

std::atomic<bool> in_fork{false};
std::atomic<LogFunction> nccl_log{nullptr};

void line_pass(weft::LogLevel level, Subsys subsys, const char* file, int line,
               std::string_view text) {
    const LogFunction log = nccl_log.load(std::memory_order_acquire);
    if (log != nullptr) {
        log(static_cast<LogLevel>(level),
            subsys == Subsys::all ? log_net : static_cast<unsigned long>(subsys), file, line,
            "NET/Weft: %.*s", static_cast<int>(text.size()), text.data());
    }
}

// One message is one grant, and lies whole in one registration. NCCL's threads poll.
FabricLimits limits() {
    FabricLimits limits;
    limits.window_bytes = uint64_t{4} << 30;
    limits.window_overlap = message_bytes_max;
    limits.no_sleepers = true;
    return limits;
}

FabricOptions options_of(const Settings& settings) {
    FabricOptions options = fabric_options(settings);
    options.limits = limits();
    options.device_memory = settings.gpudirect;
    return options;
}

}  // namespace

Shared::Shared(std::unique_ptr<Reactor> service, std::unique_ptr<WireHub> made)
    : reactor(std::move(service)), hub(std::move(made)), devices(hub->rails_info()) {
}

Shared::~Shared() = default;

Calling* Shared::calling(uint64_t id) {
    const std::lock_guard guard(lock_);
    const auto found = calling_.find(id);
    return found == calling_.end() ? nullptr : found->second.get();
}

uint64_t Shared::calling_add(std::unique_ptr<Calling> calling) {
    const uint64_t id = random_u64() | 1;  // never 0
    const std::lock_guard guard(lock_);
    calling_[id] = std::move(calling);
    return id;
}

std::unique_ptr<Calling> Shared::calling_take(uint64_t id) {
    const std::lock_guard guard(lock_);
    auto node = calling_.extract(id);
    return node.empty() ? nullptr : std::move(node.mapped());
}

void Shared::calling_end() {
    std::unordered_map<uint64_t, std::unique_ptr<Calling>> ended;
    const std::lock_guard guard(lock_);
    ended.swap(calling_);
}

Process& Process::get() {
    static Process* const process = new Process;
    return *process;
}

bool Process::forked() {
    return in_fork.load(std::memory_order_relaxed);
}

// The libraries below take themselves down when the process ends; whoever still polls must have
// stopped by then.
Process::Process() {
    pthread_atfork(nullptr, nullptr, [] { in_fork.store(true); });
}

Result<std::shared_ptr<Shared>> Process::make() {
    auto reactor = reactor_make();
    auto hub = TRY(fabric_hub_make(*reactor, options_of(settings())));
    auto shared = std::make_shared<Shared>(std::move(reactor), std::move(hub));
    LOG(info, init, "%s", shared->hub->describe().c_str());
    if (const std::string concern = shared->hub->concern(); !concern.empty()) {
        log_warn(concern);
    }
    // After the library was loaded, so that this runs before its own end.
    static const int registered = std::atexit([] {
        const auto current = Process::forked() ? nullptr : Process::get().current_.lock();
        if (current != nullptr) {
            current->hub->process_ends();
        }
    });
    static_cast<void>(registered);
    return shared;
}

Result<std::shared_ptr<Shared>> Process::open(LogFunction log) {
    nccl_log.store(log, std::memory_order_release);
    log_sink_set(log != nullptr ? line_pass : nullptr);
    const std::lock_guard guard(lock_);
    auto shared = current_.lock();
    if (shared == nullptr) {
        shared = TRY(make());
        current_ = shared;
    }
    return shared;
}

void Process::keep(std::shared_ptr<Shared> shared) {
    const std::lock_guard guard(lock_);
    kept_ = std::move(shared);
}

Process::Context* Process::context_make(std::shared_ptr<Shared> shared) {
    const std::lock_guard guard(lock_);
    contexts_++;
    return new Context{std::move(shared)};
}

void Process::context_end(Context* context) {
    const std::unique_ptr<Context> ended(context);  // outlives the lock: the hub may go with it
    const std::lock_guard guard(lock_);
    if (--contexts_ == 0 && kept_ == nullptr) {
        ended->shared->calling_end();
    }
}

Result<std::shared_ptr<Shared>> Process::current() {
    const std::lock_guard guard(lock_);
    auto shared = current_.lock();
    if (shared == nullptr) {
        return make_error(Code::invalid_usage, Scope::call,
                          "a call before init, or after the last finalize");
    }
    return shared;
}

}  // namespace weft::netplugin
