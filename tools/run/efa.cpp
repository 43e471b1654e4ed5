#include "tools/run/efa.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "src/base/log.h"
#include "tools/run/process.h"
#include "tools/run/ranks.h"

namespace weft::run {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view folder_start = "/dev/shm/weft-efa-of-";
constexpr const char* library_name = "libweft-efa-device.so";

// Beside this program in a build, in the library folder of its prefix when installed.
Result<std::string> library_find() {
    std::error_code error;
    const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
    const char* folders[] = {"", "../lib", "../lib64", "../lib/x86_64-linux-gnu",
                             "../lib/aarch64-linux-gnu"};
    for (const char* folder : folders) {
        const fs::path path = here / folder / library_name;
        if (fs::exists(path, error)) {
            return fs::canonical(path, error).string();
        }
    }
    return make_error(Code::unsupported, Scope::process,
                      std::string("--efa: no ") + library_name + " near " + here.string() +
                          "; build with libibverbs-dev installed");
}

void dead_remove() {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/dev/shm", ignored)) {
        const std::string path = entry.path().string();
        if (path.starts_with(folder_start)) {
            const int pid = std::atoi(path.c_str() + folder_start.size());
            if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) {
                fs::remove_all(path, ignored);
            }
        }
    }
}

}  // namespace

std::string efa_device_text(const std::string& given, int rail_count) {
    if (given.empty()) {
        return "nics=" + std::to_string(rail_count);
    }
    return given.find('=') == std::string::npos ? "profile=" + given : given;
}

// In memory: a disk that is busy would stop the NICs. Virtual hosts have a /dev/shm of their own,
// in which they see this one folder. A launcher that was killed left one; its name says whose it
// was.
Result<std::unique_ptr<Efa>> Efa::make(const Options& options) {
    if (!options.efa) {
        return std::unique_ptr<Efa>();
    }
    std::unique_ptr<Efa> efa(new Efa);
    efa->library_ = TRY(library_find());
    efa->device_ = efa_device_text(options.efa_device, options.rail_count);
    efa->faults_ = options.efa_faults;
    dead_remove();
    const std::string folder = std::string(folder_start) + std::to_string(::getpid());
    if (::mkdir(folder.c_str(), 0700) != 0) {
        return make_error(Code::system, Scope::process, sys_text("--efa: " + folder, errno));
    }
    efa->folder_ = folder;
    return efa;
}

Efa::~Efa() {
    std::error_code ignored;
    if (!folder_.empty()) {
        fs::remove_all(folder_, ignored);
    }
}

// Weft's own ranks must not take another provider unheard; its rails are the device's, not those of
// the virtual hosts. These NICs have no queues that libfabric could write to by itself.
void Efa::environment_set(std::map<std::string, std::string>& values, const Place& place) const {
    values.try_emplace("WEFT_PROVIDER", "efa");
    values.try_emplace("FI_EFA_USE_DATA_PATH_DIRECT", "0");
    values.erase("WEFT_RAILS");
    // Behind what the caller preloads: the run-time library of a sanitizer must come first.
    const std::string before = values["LD_PRELOAD"];
    values["LD_PRELOAD"] = (before.empty() ? "" : before + ":") + library_;
    values["WEFT_EFA_DEVICE"] = device_;
    values["WEFT_EFA_DEVICE_HOST"] = std::to_string(place.host);
    values["WEFT_EFA_DEVICE_PROCESS"] = std::to_string(place.local_rank);
    values["WEFT_EFA_DEVICE_DIR"] = folder_;
    if (!faults_.empty()) {
        values["WEFT_EFA_DEVICE_FAULTS"] = faults_;
    }
}

}  // namespace weft::run
