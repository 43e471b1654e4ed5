#include "src/base/clock.h"

#include <ctime>

namespace weft {

Nanos clock_now() {
    timespec ts{};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return static_cast<Nanos>(ts.tv_sec) * nanos_per_s + ts.tv_nsec;
}

}  // namespace weft
