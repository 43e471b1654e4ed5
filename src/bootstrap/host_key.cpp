#include <sys/stat.h>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "src/bootstrap/control.h"

namespace weft {

std::string host_key(const Settings& settings) {
    if (!settings.host_id.empty()) {
        return settings.host_id;
    }
    const std::string boot = boot_id();
    struct stat net {};
    const bool known = stat("/proc/self/ns/net", &net) == 0;
    return (boot.empty() ? "no-boot-id" : boot) +
           format("/%lu/", known ? static_cast<unsigned long>(net.st_ino) : 0UL) + host_name();
}

}  // namespace weft
