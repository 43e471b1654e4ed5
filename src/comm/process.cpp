#include "src/comm/process.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <future>
#include <thread>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "src/comm/communicator.h"
#include "src/plan/algo_list.h"
#include "transports/fabric_options.h"

namespace weft {

namespace {

constexpr Nanos pump_period = nanos_per_ms;

Result<std::unique_ptr<WireHub>> hub_make(WireKind kind, Reactor& reactor, const Settings& settings,
                                          bool device_memory) {
    switch (kind) {
        case WireKind::loopback:
            return loopback_hub_make();
        case WireKind::shm:
            return shm_hub_make(reactor, ShmOptions{!settings.cma_disable});
        case WireKind::fabric: {
            FabricOptions options = fabric_options(settings);
            options.device_memory = device_memory;
            return fabric_hub_make(reactor, options);
        }
    }
    return make_error(Code::internal, Scope::process, "unknown kind of wire");
}

// At the end of a process: for the service thread to finish what it is at, and how long it is then
// kept still; destructors of libraries take less.
constexpr std::chrono::seconds park_wait(1), park_time(2);

// One write per line, straight to the descriptor: stdio may be gone when this runs.
void stats_print() {
    if (Process::forked()) {
        return;
    }
    const std::string text = Process::get().stats_text();
    size_t begin = 0;
    while (begin < text.size()) {
        const size_t end = text.find('\n', begin) + 1;
        if (write(STDERR_FILENO, text.data() + begin, end - begin) < 0) {
            return;
        }
        begin = end;
    }
}

}  // namespace

std::atomic<bool> Process::forked_{false};
std::atomic<bool> Process::started_{false};

Process& Process::get() {
    static Process* const process = new Process;  // never destroyed, see the header
    return *process;
}

Process::Process() : settings_(settings()) {
    if (const std::string unmet = plan::algo_list_warning(settings_.algo); !unmet.empty()) {
        log_warn("NCCL_ALGO: " + unmet);
    }
    pthread_atfork(nullptr, nullptr, [] {
        if (started_.load(std::memory_order_relaxed)) {
            forked_.store(true, std::memory_order_relaxed);
        }
    });
    if (settings_.stats) {
        std::atexit(stats_print);
    }
}

Reactor& Process::reactor() {
    std::call_once(reactor_once_, [this] {
        started_.store(true, std::memory_order_relaxed);
        reactor_ = reactor_make();
    });
    return *reactor_;
}

ControlHub& Process::control() {
    std::call_once(control_once_, [this] {
        control_ = control_hub_make(reactor(), settings_);
        control_started_.store(true, std::memory_order_release);
    });
    return *control_;
}

Result<WireHub*> Process::hub(WireKind kind) {
    Reactor& loop = reactor();
    const auto index = static_cast<size_t>(kind);
    const std::lock_guard lock(mutex_);
    if (hub_errors_[index] != nullptr) {
        return *hub_errors_[index];
    }
    const bool device_memory = kind == WireKind::fabric && device_memory_wanted();
    if (hubs_[index] == nullptr) {
        Result<std::unique_ptr<WireHub>> made = hub_make(kind, loop, settings_, device_memory);
        if (!made.ok()) {
            hub_errors_[index] = std::make_unique<Error>(made.error());
            return std::move(made).error();
        }
        hubs_[index] = std::move(made).value();
        if (kind == WireKind::fabric) {
            // Registered after the library was loaded, so it runs before the library's own end.
            std::atexit([] { Process::get().hubs_end(); });
        }
    } else if (device_memory && !device_memory_asked_) {
        LOG(info, init,
            "no NIC reaches GPU memory in this process: the network was opened before the CUDA "
            "driver was loaded; make a communicator on a device first");
    }
    device_memory_asked_ = device_memory_asked_ || device_memory;
    return hubs_[index].get();
}

// No driver is loaded for it: a process that has none has no memory of GPUs.
bool Process::device_memory_wanted() const {
    return settings_.gpudirect && cuda_ != nullptr && cuda_->ok();
}

// What was posted before still runs. Not for ever: a destructor that runs later may wait for what
// is on that thread.
void Process::service_park() {
    if (reactor_->on_thread()) {
        return;
    }
    auto begun = std::make_shared<std::promise<void>>();
    reactor_->post([begun] {
        begun->set_value();
        std::this_thread::sleep_for(park_time);
    });
    begun->get_future().wait_for(park_wait);
}

void Process::hubs_end() {
    if (forked()) {
        return;
    }
    service_park();
    const std::unique_lock lock(mutex_, std::try_to_lock);
    for (const auto& hub : hubs_) {
        if (lock.owns_lock() && hub != nullptr) {
            hub->process_ends();
        }
    }
}

void Process::hub_announce(WireKind kind, bool first_of_job) {
    const auto index = static_cast<size_t>(kind);
    const std::lock_guard lock(mutex_);
    if (!hub_announced_[index]) {
        hub_announced_[index] = true;
        LOG(info, init, "Using network %s", hubs_[index]->describe().c_str());
        const std::string concern = hubs_[index]->concern();
        if (!concern.empty() && first_of_job) {
            log_warn(concern);
        } else if (!concern.empty()) {
            LOG(info, init, "%s", concern.c_str());
        }
    }
}

PeerInfo Process::peer_info() const {
    PeerInfo info;
    info.version = WEFT_VERSION;
    info.host_key = host_key(settings_);
    info.host_name = host_name();
    info.pid = static_cast<uint32_t>(getpid());
    info.process = process_nonce();
    info.machine = boot_id();
    info.cpus = cpus_allowed();
    info.quota = cpu_quota();
    info.settings = settings_shared(settings_);
    return info;
}

Result<const gpu::Driver*> Process::cuda() {
    const std::lock_guard lock(mutex_);
    if (cuda_ == nullptr) {
        cuda_ = std::make_unique<Result<gpu::Driver>>(gpu::driver_load(settings_.libcuda));
    }
    if (!cuda_->ok()) {
        return cuda_->error();
    }
    return static_cast<const gpu::Driver*>(&cuda_->value());
}

namespace {

gpu::KernelWay kernel_way(const Settings& settings) {
    gpu::KernelWay way;
    way.block_threads = static_cast<uint32_t>(settings.device_threads);
    if (settings.device_loops == "single") {
        way.loops = gpu::device::Loops::single;
    } else if (settings.device_loops == "elements") {
        way.loops = gpu::device::Loops::elements;
    }
    return way;
}

}  // namespace

Result<std::shared_ptr<gpu::Seat>> Process::seat(int device) {
    const gpu::Driver* const driver = TRY(cuda());
    const std::lock_guard lock(seats_mutex_);
    std::weak_ptr<gpu::Seat>& known = seats_[device];
    std::shared_ptr<gpu::Seat> seat = known.lock();
    if (seat == nullptr) {
        seat = TRY(gpu::Seat::create(*driver, device, kernel_way(settings_)));
        known = seat;
        LOG(info, init, "CUDA device %d is %s, compute capability %d.%d, driver %s (CUDA %s)",
            device, seat->facts().name.c_str(), seat->facts().capability / 10,
            seat->facts().capability % 10, driver->path.c_str(),
            gpu::version_text(driver->version).c_str());
    }
    return seat;
}

namespace {

// What the ranks of a group in this process share, as long as one of them has it.
template <class T>
std::shared_ptr<T> shared_of(std::map<uint64_t, std::weak_ptr<T>>& all, uint64_t group,
                             uint32_t rank_count) {
    std::erase_if(all, [](const auto& one) { return one.second.expired(); });
    std::weak_ptr<T>& known = all[group];
    std::shared_ptr<T> found = known.lock();
    if (found == nullptr) {
        found = std::make_shared<T>(rank_count);
        known = found;
    }
    return found;
}

}  // namespace

std::shared_ptr<DeviceClique> Process::clique(uint64_t group, uint32_t rank_count) {
    const std::lock_guard lock(mutex_);
    return shared_of(cliques_, group, rank_count);
}

std::shared_ptr<StreamClaims> Process::claims(uint64_t group, uint32_t rank_count) {
    const std::lock_guard lock(mutex_);
    return shared_of(claims_, group, rank_count);
}

Result<std::shared_ptr<Handover>> Process::handover() {
    Reactor& service = reactor();
    const std::lock_guard lock(mutex_);
    if (handover_ == nullptr) {
        handover_ = TRY(Handover::create(service));
    }
    return handover_;
}

ncclComm* Process::handle_make(std::shared_ptr<Communicator> comm) {
    auto made = std::make_unique<ncclComm>();
    ncclComm* handle = made.get();
    comm->handle_is(handle);
    handle->owner = comm;
    handle->comm.store(comm.get(), std::memory_order_seq_cst);
    const std::lock_guard lock(mutex_);
    handles_.push_back(std::move(made));
    return handle;
}

bool Process::farewell_count(uint64_t group, size_t expected) {
    const std::lock_guard lock(mutex_);
    if (++farewells_[group] < expected) {
        return false;
    }
    farewells_.erase(group);
    return true;
}

void Process::bury(std::shared_ptr<Communicator> comm) {
    {
        const std::lock_guard lock(mutex_);
        buried_.push_back(comm);
    }
    // The farewell may have ended before it was in the list.
    if (comm->farewell_over()) {
        farewell_over(comm.get());
    }
}

void Process::farewell_over(const Communicator* comm) {
    std::shared_ptr<Communicator> dropped;
    const std::lock_guard lock(mutex_);
    const auto found =
        std::find_if(buried_.begin(), buried_.end(),
                     [&](const std::shared_ptr<Communicator>& held) { return held.get() == comm; });
    if (found != buried_.end()) {
        dropped = std::move(*found);
        buried_.erase(found);
    }
}

void Process::pump_later(ncclComm* handle) {
    const std::lock_guard lock(mutex_);
    if (std::find(pumped_.begin(), pumped_.end(), handle) == pumped_.end()) {
        pumped_.push_back(handle);
    }
    pump_arm();
}

void Process::pump_arm() {
    if (!pump_armed_ && !pumped_.empty()) {
        pump_armed_ = true;
        reactor().at(reactor().now() + pump_period, [this] { pump(); });
    }
}

void Process::pump() {
    std::vector<ncclComm*> handles;
    {
        const std::lock_guard lock(mutex_);
        handles.swap(pumped_);
        pump_armed_ = false;
    }
    std::erase_if(handles, [](ncclComm* handle) {
        const CommRef ref = CommRef::enter_quietly(handle);
        return !ref || !ref->queue().pump();
    });
    const std::lock_guard lock(mutex_);
    for (ncclComm* handle : handles) {
        if (std::find(pumped_.begin(), pumped_.end(), handle) == pumped_.end()) {
            pumped_.push_back(handle);
        }
    }
    pump_arm();
}

std::string Process::stats_text() {
    std::vector<RankStats> all = stats_.kept();
    {
        const std::lock_guard lock(mutex_);
        for (const auto& handle : handles_) {
            if (const CommRef ref = CommRef::enter_quietly(handle.get())) {
                all.push_back(ref->stats());
            }
        }
    }
    std::string text;
    for (const RankStats& stats : all) {
        text += stats_line(stats) + "\n";
    }
    return text;
}

}  // namespace weft
