#include "src/comm/loaded.h"

#include <link.h>

#include <mutex>

#include "src/base/log.h"

namespace weft {

bool library_is_nccl(const std::string& path) {
    const std::string name = path.substr(path.rfind('/') + 1);
    return name.starts_with("libweft.so") || name.starts_with("libnccl.so");
}

std::vector<std::string> libraries_loaded() {
    std::vector<std::string> found;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* into) {
            if (info->dlpi_name != nullptr && library_is_nccl(info->dlpi_name)) {
                static_cast<std::vector<std::string>*>(into)->push_back(info->dlpi_name);
            }
            return 0;
        },
        &found);
    return found;
}

void libraries_check() {
    static std::once_flag once;
    std::call_once(once, [] {
        const std::vector<std::string> found = libraries_loaded();
        if (found.size() < 2) {
            return;
        }
        std::string all = found.front();
        for (size_t i = 1; i < found.size(); i++) {
            all += " and " + found[i];
        }
        log_warn("two libraries with NCCL's functions are loaded, calls may reach either: " + all +
                 "; link or preload only one");
    });
}

}  // namespace weft
