#include "src/base/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "src/base/handle.h"
#include "src/base/log.h"

namespace weft {

void random_bytes(std::span<uint8_t> out) {
    size_t done = 0;
    while (done < out.size()) {
        const ssize_t got = getrandom(out.data() + done, out.size() - done, 0);
        ASSERT(got >= 0 || errno == EINTR);
        done += got > 0 ? static_cast<size_t>(got) : 0;
    }
}

uint64_t random_u64() {
    uint64_t value = 0;
    random_bytes({reinterpret_cast<uint8_t*>(&value), sizeof value});
    return value;
}

uint64_t process_nonce() {
    static const uint64_t nonce = random_u64();
    return nonce;
}

namespace {

// Field 22 of proc(5)'s stat; the second may hold anything, in brackets.
std::string start_time() {
    const Result<std::string> stat = file_read("/proc/self/stat");
    if (!stat.ok()) {
        return "unknown";
    }
    size_t at = stat.value().rfind(')');
    for (int field = 2; field < 22 && at != std::string::npos; field++) {
        at = stat.value().find(' ', at + 1);
    }
    if (at == std::string::npos) {
        return "unknown";
    }
    return stat.value().substr(at + 1, stat.value().find(' ', at + 1) - at - 1);
}

}  // namespace

std::string process_identity() {
    return format("%s/%d/%s/%016llx", boot_id().c_str(), getpid(), start_time().c_str(),
                  static_cast<unsigned long long>(process_nonce()));
}

std::string host_name() {
    utsname names{};
    return uname(&names) == 0 ? names.nodename : "localhost";
}

std::string trimmed(std::string_view text) {
    constexpr std::string_view blank = " \t\r\n\v\f";
    const size_t first = text.find_first_not_of(blank);
    if (first == std::string_view::npos) {
        return {};
    }
    return std::string(text.substr(first, text.find_last_not_of(blank) - first + 1));
}

Result<std::string> file_read(const std::string& path, size_t limit) {
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string text;
    int failure = fd ? 0 : errno;
    char piece[4096];
    while (failure == 0) {
        const ssize_t got = read(fd.get(), piece, sizeof piece);
        if (got == 0) {
            return text;
        }
        if (got > 0) {
            text.append(piece, static_cast<size_t>(got));
        }
        if (text.size() > limit) {
            failure = EFBIG;
        } else if (got < 0 && errno != EINTR) {
            failure = errno;
        }
    }
    return make_error(Code::system, Scope::call,
                      format("cannot read %s: %s", path.c_str(), strerror(failure)), failure);
}

std::vector<std::string> folder_entries(const std::string& folder) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> open(opendir(folder.c_str()), closedir);
    while (const dirent* entry = open ? readdir(open.get()) : nullptr) {
        if (entry->d_name[0] != '.') {
            names.emplace_back(entry->d_name);
        }
    }
    std::sort(names.begin(), names.end());
    return names;
}

std::string file_line(const std::string& path) {
    const auto text = file_read(path, 4096);
    return text.ok() ? trimmed(text.value()) : "";
}

std::string link_name(const std::string& path) {
    char target[512];
    const ssize_t size = readlink(path.c_str(), target, sizeof target);
    const std::string whole(target, size > 0 ? static_cast<size_t>(size) : 0);
    return whole.substr(whole.rfind('/') + 1);
}

double cpu_quota_parse(std::string_view cpu_max) {
    double numbers[2] = {0, 0};
    const char* at = cpu_max.data();
    const char* const end = at + cpu_max.size();
    for (double& number : numbers) {
        while (at != end && *at == ' ') {
            ++at;
        }
        const auto parsed = std::from_chars(at, end, number);
        if (parsed.ec != std::errc() || number <= 0 || !std::isfinite(number)) {
            return 0;  // "max 100000", or not a quota at all
        }
        at = parsed.ptr;
    }
    return numbers[0] / numbers[1];
}

namespace {

double quota_at(const std::string& folder, bool v2) {
    if (v2) {
        const auto text = file_read(folder + "/cpu.max", 4096);
        return text.ok() ? cpu_quota_parse(text.value()) : 0;
    }
    const auto quota = file_read(folder + "/cpu.cfs_quota_us", 4096);
    const auto period = file_read(folder + "/cpu.cfs_period_us", 4096);
    if (!quota.ok() || !period.ok()) {
        return 0;
    }
    return cpu_quota_parse(trimmed(quota.value()) + " " + trimmed(period.value()));
}

// The smallest quota of `path` and its ancestors below `mount`. In a container the path of the
// host may not exist under the mount; then the mount itself (the last step) holds the quota.
double quota_least(const std::string& mount, std::string path, bool v2) {
    double least = 0;
    while (true) {
        const double quota = quota_at(mount + path, v2);
        if (quota > 0 && (least == 0 || quota < least)) {
            least = quota;
        }
        const size_t slash = path.rfind('/');
        if (slash == std::string::npos) {
            return least;
        }
        path.resize(slash);
    }
}

// Lines of /proc/self/cgroup are `id:controllers:path`; the unified hierarchy has no controllers.
double cgroup_quota() {
    const auto text = file_read("/proc/self/cgroup", 1 << 16);
    if (!text.ok()) {
        return 0;
    }
    double least = 0;
    std::string_view rest = text.value();
    while (!rest.empty()) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const size_t first = line.find(':');
        const size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
        if (second == line.npos) {
            continue;
        }
        std::string names(line.substr(first, second - first));  // ":a,b"
        names[0] = ',';
        names += ',';
        const bool v2 = names == ",,";
        if (!v2 && names.find(",cpu,") == names.npos) {
            continue;
        }
        const std::string path(line.substr(second + 1));
        const double quota =
            quota_least(v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", path == "/" ? "" : path, v2);
        least = quota > 0 && (least == 0 || quota < least) ? quota : least;
    }
    return least;
}

}  // namespace

std::vector<uint64_t> cpus_allowed() {
    // The kernel refuses a mask smaller than its own: grow until it fits.
    for (size_t cpus = 1024; cpus <= (1U << 20); cpus *= 2) {
        std::vector<uint64_t> mask(cpus / 64);
        const size_t bytes = mask.size() * sizeof(uint64_t);
        if (sched_getaffinity(0, bytes, reinterpret_cast<cpu_set_t*>(mask.data())) == 0) {
            while (mask.size() > 1 && mask.back() == 0) {
                mask.pop_back();
            }
            return mask;
        }
        if (errno != EINVAL) {
            break;
        }
    }
    return {1};
}

uint32_t cpu_quota() {
    return static_cast<uint32_t>(std::ceil(cgroup_quota()));
}

int cores_usable() {
    int cores = 0;
    for (const uint64_t word : cpus_allowed()) {
        cores += std::popcount(word);
    }
    cores = std::max(1, cores);
    const uint32_t quota = cpu_quota();
    return quota > 0 ? std::min(static_cast<int>(quota), cores) : cores;
}

std::string boot_id() {
    const auto text = file_read("/proc/sys/kernel/random/boot_id", 128);
    return text.ok() ? trimmed(text.value()) : std::string();
}

}  // namespace weft
