#include "tools/run/efa.h"

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

}  // namespace

std::string efa_device_text(const std::string& given, int rail_count) {
    if (given.empty()) {
        return "nics=" + std::to_string(rail_count);
    }
    return given.find('=') == std::string::npos ? "profile=" + given : given;
}

// /dev/shm of a virtual host is its own; the folder for temporary files is everybody's.
Result<std::unique_ptr<Efa>> Efa::make(const Options& options) {
    if (!options.efa) {
        return std::unique_ptr<Efa>();
    }
    std::unique_ptr<Efa> efa(new Efa);
    efa->library_ = TRY(library_find());
    efa->device_ = efa_device_text(options.efa_device, options.rail_count);
    efa->faults_ = options.efa_faults;
    const char* base =
        options.host_count == 0 && ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    std::string pattern = std::string(base) + "/weft-efa-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
        return make_error(Code::system, Scope::process, sys_text("--efa: " + pattern, errno));
    }
    efa->folder_ = pattern;
    return efa;
}

Efa::~Efa() {
    std::error_code ignored;
    if (!folder_.empty()) {
        fs::remove_all(folder_, ignored);
    }
}

void Efa::environment_set(std::map<std::string, std::string>& values, const Place& place) const {
    const std::string before = values["LD_PRELOAD"];
    values["LD_PRELOAD"] = library_ + (before.empty() ? "" : ":" + before);
    values["WEFT_EFA_DEVICE"] = device_;
    values["WEFT_EFA_DEVICE_HOST"] = std::to_string(place.host);
    values["WEFT_EFA_DEVICE_PROCESS"] = std::to_string(place.local_rank);
    values["WEFT_EFA_DEVICE_DIR"] = folder_;
    if (!faults_.empty()) {
        values["WEFT_EFA_DEVICE_FAULTS"] = faults_;
    }
}

}  // namespace weft::run
