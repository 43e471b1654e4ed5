#include "tools/efa_device/verbs/device.h"

#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include "src/base/log.h"
#include "src/base/names.h"
#include "tools/efa_device/core/words.h"

namespace weft::efa {

namespace {

constexpr std::string_view variables[] = {
    "WEFT_EFA_DEVICE",          "WEFT_EFA_DEVICE_HOST", "WEFT_EFA_DEVICE_PROCESS",
    "WEFT_EFA_DEVICE_FAULTS",   "WEFT_EFA_DEVICE_DIR",  "WEFT_EFA_DEVICE_LOG",
    "WEFT_EFA_DEVICE_COUNTERS",
};
constexpr int idle_looks = 20;  // progress() without work before the NIC thread sleeps
constexpr uint32_t polls_per_yield = 16;
constexpr Nanos sleep_max = 50 * nanos_per_ms;
constexpr std::chrono::milliseconds counters_every(200);
constexpr Nanos settle_max = 200 * nanos_per_ms;

std::string setting(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

// A name spelled wrong would go unheard.
Result<void> names_check() {
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        const std::string_view name = text.substr(0, text.find('='));
        const bool ours = name.substr(0, variables[0].size()) == variables[0];
        if (ours &&
            std::find(std::begin(variables), std::end(variables), name) == std::end(variables)) {
            return wrong("variable " + std::string(name) + " is unknown; the nearest one is " +
                         std::string(nearest_name(name, variables)));
        }
    }
    return {};
}

std::string folder_setting() {
    const std::string given = setting("WEFT_EFA_DEVICE_DIR");
    return given.empty() ? format("/dev/shm/weft-efa-device-%u", ::getuid()) : given;
}

std::string replaced(std::string text, std::string_view what, const std::string& by) {
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
        text.replace(at, what.size(), by);
    }
    return text;
}

// "%p" becomes the process id, "%h" the host's number: virtual hosts number processes alike.
std::string named(const std::string& text, uint32_t host) {
    return replaced(replaced(text, "%p", std::to_string(::getpid())), "%h", std::to_string(host));
}

Result<DecisionLog> decision_log(uint32_t host) {
    const std::string path = named(setting("WEFT_EFA_DEVICE_LOG"), host);
    if (path.empty()) {
        return DecisionLog();
    }
    FILE* file = path == "stderr" ? stderr : std::fopen(path.c_str(), "ae");
    if (file == nullptr) {
        return wrong("WEFT_EFA_DEVICE_LOG: cannot write " + path + ": " + std::strerror(errno));
    }
    return DecisionLog([file](const std::string& line) {
        std::fprintf(file, "%s\n", line.c_str());
        std::fflush(file);
    });
}

std::atomic<Process*> the_process = nullptr;

void at_end() {
    if (Process* process = the_process.load()) {
        process->leave();
    }
}

void say(const std::string& line) {
    std::fprintf(stderr, "weft-efa-device: %s\n", line.c_str());
}

}  // namespace

// One process object, made on first use and never destroyed: the program may call until it ends.
Process* Process::get() {
    Process* made = the_process.load(std::memory_order_acquire);
    if (made != nullptr && !made->forked()) {
        return made;
    }
    static std::mutex mutex;
    static int error = 0;
    const std::lock_guard lock(mutex);
    if (the_process.load() == nullptr && error == 0) {
        auto process = std::make_unique<Process>();
        const Result<void> started = process->start();
        if (started.ok()) {
            the_process.store(process.release(), std::memory_order_release);
            std::atexit(at_end);
        } else {
            say(started.error().what);
            error = started.error().sys != 0 ? started.error().sys : EINVAL;
        }
    }
    made = the_process.load();
    if (made == nullptr || made->forked()) {
        errno = error != 0 ? error : EIO;
        return nullptr;
    }
    return made;
}

Result<void> Process::start() {
    TRY(names_check());
    const SpecTexts texts = {setting("WEFT_EFA_DEVICE"), setting("WEFT_EFA_DEVICE_HOST"),
                             setting("WEFT_EFA_DEVICE_FAULTS")};
    const Spec spec = TRY(spec_read(texts));
    WirePlace place;
    place.folder = folder_ = folder_setting();
    place.host = spec.host;
    const std::string wanted = setting("WEFT_EFA_DEVICE_PROCESS");
    if (!wanted.empty()) {
        const Result<int64_t> number = number_word(wanted, 0, process_max - 1);
        if (!number.ok()) {
            return wrong("WEFT_EFA_DEVICE_PROCESS: " + number.error().what);
        }
        place.wanted = static_cast<int>(number.value());
    }
    DecisionLog log = TRY(decision_log(spec.host));
    wire_ = TRY(ShmWire::open(place));
    const Nanos now = clock_now();
    const NodePlace at{wire_->process(), static_cast<uint64_t>(now) << 16, now};
    node_ = std::make_unique<Node>(spec, at, *wire_, std::move(log));
    counters_file_ = named(setting("WEFT_EFA_DEVICE_COUNTERS"), spec.host);
    pid_ = ::getpid();
    if (!counters_file_.empty() && !counters_write()) {
        const std::string why = std::strerror(errno);
        wire_->name_remove();
        return wrong("WEFT_EFA_DEVICE_COUNTERS: cannot write " + counters_file_ + ": " + why);
    }
    sysfs_make();
    std::thread([this] { nic_run(); }).detach();
    if (!counters_file_.empty()) {
        std::thread([this] { counters_run(); }).detach();
    }
    return {};
}

// libfabric reads a NIC's PCI address, driver and interface version from sysfs, wherever SYSFS_PATH
// says that is.
void Process::sysfs_make() {
    namespace fs = std::filesystem;
    const Spec& spec = node_->spec();
    std::error_code ignored;
    sysfs_ = wire_->name() + ".sys";
    fs::remove_all(sysfs_, ignored);
    fs::create_directories(sysfs_ + "/class/infiniband_verbs", ignored);
    fs::create_directories(sysfs_ + "/class/infiniband", ignored);
    fs::create_directories(sysfs_ + "/bus/pci/drivers/efa", ignored);
    std::ofstream(sysfs_ + "/class/infiniband_verbs/abi_version") << "6\n";
    for (uint32_t i = 0; i < spec.nics.size(); ++i) {
        const NicSpec& nic = spec.nics[i];
        const std::string pci = sysfs_ + "/devices/" + to_string(nic.address);
        const std::string ib = sysfs_ + "/class/infiniband/" + nic.name;
        fs::create_directories(pci, ignored);
        fs::create_directories(ib, ignored);
        fs::create_directory_symlink(sysfs_ + "/bus/pci/drivers/efa", pci + "/driver", ignored);
        fs::create_directory_symlink(pci, ib + "/device", ignored);
        std::ofstream(pci + "/vendor") << "0x1d0f\n";
        std::ofstream(pci + "/device") << format("0x%04x\n", nic.part);
        auto device = std::make_unique<Device>();
        device->index = i;
        ibv_device& verbs = device->device;
        std::snprintf(verbs.name, sizeof verbs.name, "%s", nic.name.c_str());
        std::snprintf(verbs.dev_name, sizeof verbs.dev_name, "uverbs%u", i);
        std::snprintf(verbs.ibdev_path, sizeof verbs.ibdev_path, "%s", ib.c_str());
        verbs.node_type = IBV_NODE_UNSPECIFIED;
        verbs.transport_type = IBV_TRANSPORT_UNSPECIFIED;
        devices_.push_back(std::move(device));
    }
    ::setenv("SYSFS_PATH", sysfs_.c_str(), 1);
}

// The bell is read before the look for work: what comes in between is found by the next look.
void Process::nic_run() {
    int idle = 0;
    for (;;) {
        const uint32_t heard = wire_->bell();
        const Nanos now = clock_now();
        if (node_->died(now)) {
            ::kill(::getpid(), SIGKILL);
        }
        if (node_->progress(now)) {
            idle = 0;
            continue;
        }
        if (++idle < idle_looks) {
            ::sched_yield();
            continue;
        }
        const std::optional<Nanos> due = node_->due(now);
        const Nanos left = due ? *due - clock_now() : sleep_max;
        wire_->wait(heard, std::min(left, sleep_max));
    }
}

// Beside the NIC: a disk may take seconds.
void Process::counters_run() {
    for (;;) {
        std::this_thread::sleep_for(counters_every);
        counters_write();
    }
}

// Whole or not at all: others read it while the process runs.
bool Process::counters_write() {
    const std::lock_guard lock(counters_mutex_);
    const std::string draft = counters_file_ + ".new";
    std::ofstream(draft) << node_->counters_text();
    return ::rename(draft.c_str(), counters_file_.c_str()) == 0;
}

void Process::polled_in_vain() {
    thread_local uint32_t polls = 0;
    if (!node_->progress_try(clock_now()) && ++polls % polls_per_yield == 0) {
        ::sched_yield();
    }
}

bool Process::forked() const {
    return ::getpid() != pid_;
}

void Process::settle() {
    const Nanos until = clock_now() + settle_max;
    while (!node_->quiet() && clock_now() < until) {
        std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
}

// The NIC answers for what it took before the process goes, as hardware would.
void Process::leave() {
    if (forked()) {
        return;
    }
    settle();
    node_->close();  // what the program frees from here on may be registered
    if (!counters_file_.empty()) {
        counters_write();
    }
    wire_->name_remove();
}

}  // namespace weft::efa

// For dlsym: the counters of this process as JSON. Returns the length of the text, which is cut to
// `size` with its terminating zero.
extern "C" __attribute__((visibility("default"))) size_t weft_efa_device_counters(char* text,
                                                                                  size_t size) {
    using weft::efa::Process;
    Process* process = Process::get();
    const std::string all = process != nullptr ? process->node().counters_text() : "{}\n";
    if (size != 0) {
        const size_t take = std::min(size - 1, all.size());
        std::memcpy(text, all.data(), take);
        text[take] = '\0';
    }
    return all.size();
}
