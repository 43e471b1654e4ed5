#include "tools/run/network.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "src/base/log.h"
#include "tools/run/process.h"

namespace weft::run {

namespace {

// Shaping that a message cannot cheat, measured at 1 Gbit/s:
// - A token bucket hands out its burst at line rate after every pause. With 20 KB the fastest
//   64 KiB message takes 0.97 of its bound; with 70 KB 0.36, with 256 KB 0.08.
// - A segment offloaded whole must fit the burst, or tbf cuts it up in software at two to three
//   times the CPU time; hence 16384 on both ends.
// - 9000 bytes per packet leave 0.993 of the rate to payload, 1500 leave 0.955.
constexpr const char* mtu = "9000";
constexpr const char* segment_bytes = "16384";
constexpr const char* bucket = "burst 20kb limit 1mb";

std::string switch_port(int rail, int host) {
    return format("h%dr%d", host, rail);
}

std::string rail_name(int rail) {
    return format("rail%d", rail);
}

// Unshaped rails keep the kernel's own segment size: there is no bucket to fit.
std::string offload(const RailPlan& plan) {
    return plan.rate_bps == 0 ? "" : std::string(" gso_max_size ") + segment_bytes;
}

std::string shaped(const RailPlan& plan, const std::string& link) {
    return "qdisc add dev " + link + " root tbf rate " + std::to_string(plan.rate_bps) + "bit " +
           bucket + "\n";
}

// Capabilities do not survive exec for a user who is not root, not even in a user namespace of
// their own, unless they are ambient.
void keep_net_admin() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    if (::syscall(SYS_capget, &header, data) == 0) {
        data[0].inheritable |= 1U << CAP_NET_ADMIN;
        ::syscall(SYS_capset, &header, data);
        ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0);
    }
}

std::string tool_exec(const std::string& path, int batch, int complaints) {
    keep_net_admin();
    ::dup2(batch, 0);
    ::dup2(complaints, 1);
    ::dup2(complaints, 2);
    ::execl(path.c_str(), path.c_str(), "-batch", "-", nullptr);
    return sys_text("running " + path, errno);
}

Result<Fd> memory_file(const std::string& text) {
    Fd fd(::memfd_create("weft-run", MFD_CLOEXEC));
    if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        ::lseek(fd.get(), 0, SEEK_SET) != 0) {
        return make_error(Code::system, Scope::call, sys_text("memfd", errno), errno);
    }
    return fd;
}

}  // namespace

std::string rail_address(int rail, int host) {
    return format("10.77.%d.%d", rail, host + 1);
}

std::string switch_links(const RailPlan& plan, const std::vector<pid_t>& host_pids) {
    std::string text;
    for (int rail = 0; rail < plan.rail_count; ++rail) {
        text += "link add " + rail_name(rail) + " mtu " + mtu +
                " type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n";
        text += "link set " + rail_name(rail) + " up\n";
        for (int host = 0; host < plan.host_count; ++host) {
            const std::string port = switch_port(rail, host);
            text += "link add " + port + " mtu " + mtu + " type veth peer name " + rail_name(rail) +
                    " mtu " + mtu + " netns " +
                    std::to_string(host_pids[static_cast<size_t>(host)]) + "\n";
            text += "link set " + port + offload(plan) + " master " + rail_name(rail) + " up\n";
        }
    }
    return text;
}

std::string host_links(const RailPlan& plan, int host) {
    std::string text = "link set lo up\n";
    for (int rail = 0; rail < plan.rail_count; ++rail) {
        text += "link set " + rail_name(rail) + offload(plan) + " up\n";
        text += "addr add " + rail_address(rail, host) + "/24 dev " + rail_name(rail) + "\n";
    }
    return text;
}

std::string switch_queues(const RailPlan& plan) {
    std::string text;
    for (int rail = 0; rail < plan.rail_count; ++rail) {
        for (int host = 0; host < plan.host_count; ++host) {
            text += shaped(plan, switch_port(rail, host));
        }
    }
    return text;
}

std::string host_queues(const RailPlan& plan) {
    std::string text;
    for (int rail = 0; rail < plan.rail_count; ++rail) {
        text += shaped(plan, rail_name(rail));
    }
    return text;
}

std::string network_text(const RailPlan& plan) {
    std::string text = plan.rail_count == 1 ? "1 rail" : format("%d rails", plan.rail_count);
    text += std::string(" 10.77.RAIL.HOST+1/24, mtu ") + mtu;
    if (plan.rate_bps == 0) {
        return text + ", unshaped";
    }
    return text + format(", each %g mbit/s (tbf %s, gso_max_size %s on both ends)",
                         static_cast<double>(plan.rate_bps) / 1e6, bucket, segment_bytes);
}

Result<std::string> tool_find(const std::string& tool) {
    const char* path = std::getenv("PATH");
    std::string places = std::string(path ? path : "") + ":/usr/sbin:/sbin:/usr/bin:/bin";
    for (size_t at = 0; at < places.size();) {
        const size_t end = std::min(places.find(':', at), places.size());
        const std::string file = places.substr(at, end - at) + "/" + tool;
        if (::access(file.c_str(), X_OK) == 0) {
            return file;
        }
        at = end + 1;
    }
    return make_error(Code::invalid_usage, Scope::call,
                      "--hosts needs '" + tool + "' of iproute2: apt-get install iproute2");
}

Result<void> tool_batch(const std::string& tool, const std::string& batch, int pidfd, int join) {
    const std::string path = TRY(tool_find(tool));
    const Fd input = TRY(memory_file(batch));
    const Fd complaints = TRY(memory_file(""));
    const Process process = TRY(spawn(Home{pidfd, join, 0}, [&](const Ready&) {
        return tool_exec(path, input.get(), complaints.get());
    }));
    const int status = reap(process.pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return {};
    }
    char line[300] = "";
    (void)!::pread(complaints.get(), line, sizeof line - 1, 0);
    const std::string text = line;
    return make_error(Code::system, Scope::call, tool + ": " + text.substr(0, text.find('\n')));
}

}  // namespace weft::run
