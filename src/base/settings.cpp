#include "src/base/settings.h"

namespace weft {

const Settings& settings() {
    static const Settings* table = new Settings();
    return *table;
}

}  // namespace weft
