// A settings file of any content is read without harm, and what is kept is in range.
#include "src/base/settings.h"

#include <cstdlib>

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    std::vector<std::string> warnings;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const SettingsTable table = settings_build({conf_parse(text, "file", warnings)});
    if (table.values.init_timeout_s < 1 || table.values.spin_us < -1) {
        std::abort();
    }
    return 0;
}
