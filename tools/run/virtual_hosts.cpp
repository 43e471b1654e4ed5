#include "tools/run/virtual_hosts.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <set>

#include "src/base/log.h"

namespace weft::run {

namespace {

constexpr int host_flags = CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNS;

bool kernel_set(const char* path, const char* value) {
    std::ofstream file(path);
    file << value << std::flush;
    return static_cast<bool>(file);
}

std::string kernel_get(const char* path) {
    std::string word;
    std::ifstream(path) >> word;
    return word.empty() ? "unknown" : word;
}

// Rails carry IPv4 only: no neighbour chatter on the wire, no link-local addresses to trip over.
void rails_without_ipv6() {
    kernel_set("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

// Reno, because other algorithms misjudge a shaped rail: bbr, which this namespace may have
// inherited, reaches 0.85 to 0.97 of four rails, erratically; reno 0.98, steadily. It is also the
// one algorithm that every namespace may choose. A rail answers for its own address only, and takes
// only packets whose answer would leave by it: nothing gets through on a rail it was not meant for.
void host_kernel_settings() {
    kernel_set("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
    kernel_set("/proc/sys/net/ipv4/conf/all/arp_ignore", "1");
    kernel_set("/proc/sys/net/ipv4/conf/all/rp_filter", "1");
    rails_without_ipv6();
}

// The hosts know each other's names by rail 0. The file lies in the private /dev/shm and is
// unlinked once it is bound over /etc/hosts.
bool names_mount(int host_count) {
    const char* file = "/dev/shm/.hosts";
    std::ofstream names(file);
    names << "127.0.0.1 localhost\n::1 localhost\n";
    for (int host = 0; host < host_count; ++host) {
        names << rail_address(0, host) << ' ' << host_name(host) << '\n';
    }
    names.close();
    const bool bound = ::mount(file, "/etc/hosts", nullptr, MS_BIND, nullptr) == 0;
    ::unlink(file);
    return bound;
}

// A descriptor leads into the /dev/shm that was there before.
bool folder_mount(const std::string& path, const Fd& folder) {
    const std::string source = "/proc/self/fd/" + std::to_string(folder.get());
    return ::mkdir(path.c_str(), 0700) == 0 &&
           ::mount(source.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) == 0;
}

// What a container may refuse is said in the note, not fatal: ranks run without it.
std::string host_mounts(int host_count, const std::string& shared) {
    std::string missing;
    const Fd folder(shared.empty() ? -1 : ::open(shared.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    constexpr unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        return ", /proc and /dev/shm shared";
    }
    if (::mount("proc", "/proc", "proc", plain, nullptr) != 0) {
        missing += ", /proc shared";
    }
    if (::mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0) {
        return missing + ", /dev/shm shared";
    }
    if (!names_mount(host_count)) {
        missing += ", names not in /etc/hosts";
    }
    if (!shared.empty() && !folder_mount(shared, folder)) {
        missing += ", no EFA device between them";
    }
    return missing;
}

// The init of a virtual host: sets it up, then holds the namespaces and lets the kernel reap
// whatever is orphaned inside.
std::string host_run(const Ready& ready, int host, int host_count, const std::string& shared) {
    const std::string name = host_name(host);
    if (::sethostname(name.data(), name.size()) != 0) {
        return sys_text("sethostname", errno);
    }
    const std::string missing = host_mounts(host_count, shared);
    host_kernel_settings();
    ::signal(SIGCHLD, SIG_IGN);
    ready.done("tcp " + kernel_get("/proc/sys/net/ipv4/tcp_congestion_control") + missing);
    for (;;) {
        ::pause();
    }
}

std::string switch_run(const Ready& ready) {
    rails_without_ipv6();
    ready.done("");
    for (;;) {
        ::pause();
    }
}

}  // namespace

std::string host_name(int host) {
    return "weft-h" + std::to_string(host);
}

Result<std::unique_ptr<VirtualHosts>> VirtualHosts::make(const RailPlan& plan,
                                                         const std::string& shared) {
    TRY(tool_find("ip"));
    if (plan.rate_bps != 0) {
        TRY(tool_find("tc"));
    }
    std::unique_ptr<VirtualHosts> hosts(new VirtualHosts(plan, shared));
    TRY(hosts->switch_start());
    for (int host = 0; host < plan.host_count; ++host) {
        TRY(hosts->host_start(host));
    }
    TRY(hosts->network_start());
    return hosts;
}

// Root may be root without the right to make namespaces (a container): then a user namespace is
// worth a try, too. All hosts share the switch's, which owns both ends of every rail.
Result<void> VirtualHosts::switch_start() {
    Result<Process> with_rights = spawn(Home{-1, 0, CLONE_NEWNET}, switch_run);
    if (with_rights.ok()) {
        switch_ = std::move(with_rights).value();
        return {};
    }
    user_flag_ = CLONE_NEWUSER;
    switch_ = TRY(spawn(Home{-1, 0, CLONE_NEWUSER | CLONE_NEWNET}, switch_run));
    return {};
}

Result<void> VirtualHosts::host_start(int host) {
    const Home home{switch_.pidfd.get(), user_flag_, host_flags};
    const int count = plan_.host_count;
    hosts_.push_back(TRY(
        spawn(home, [&](const Ready& ready) { return host_run(ready, host, count, shared_); })));
    return {};
}

Result<void> VirtualHosts::network_start() const {
    std::vector<pid_t> pids;
    for (const Process& host : hosts_) {
        pids.push_back(host.pid);
    }
    const int join = user_flag_ | CLONE_NEWNET;
    const int switch_fd = switch_.pidfd.get();
    TRY(tool_batch("ip", switch_links(plan_, pids), switch_fd, join));
    if (plan_.rate_bps != 0) {
        TRY(tool_batch("tc", switch_queues(plan_), switch_fd, join));
    }
    for (int host = 0; host < plan_.host_count; ++host) {
        const int fd = hosts_[static_cast<size_t>(host)].pidfd.get();
        if (plan_.rate_bps != 0) {
            TRY(tool_batch("tc", host_queues(plan_), fd, join));
        }
        TRY(tool_batch("ip", host_links(plan_, host), fd, join));
    }
    return {};
}

Home VirtualHosts::home(int host) const {
    return Home{hosts_[static_cast<size_t>(host)].pidfd.get(), user_flag_ | host_flags, 0};
}

void VirtualHosts::kill() const {
    for (const Process& host : hosts_) {
        ::kill(host.pid, SIGKILL);
    }
}

VirtualHosts::~VirtualHosts() {
    kill();
    for (const Process& host : hosts_) {
        reap(host.pid);
    }
    if (switch_.pid > 0) {
        ::kill(switch_.pid, SIGKILL);
        reap(switch_.pid);
    }
}

std::string VirtualHosts::text() const {
    std::set<std::string> notes;  // as a rule one: what all hosts say alike
    for (const Process& host : hosts_) {
        notes.insert(host.note);
    }
    std::string text =
        format("%d virtual host%s: ", plan_.host_count, plan_.host_count == 1 ? "" : "s") +
        network_text(plan_);
    for (const std::string& note : notes) {
        text += ", " + note;
    }
    return text;
}

}  // namespace weft::run
