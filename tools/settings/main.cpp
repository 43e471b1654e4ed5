// weft-settings: the values a process started here would use, and where each comes from; with
// --reference the page docs/SETTINGS.md.
#include <cstdio>
#include <cstring>

#include "src/base/settings.h"

int main(int argc, char** argv) {
    if (argc == 1) {
        weft::settings();  // logs what is wrong with what it read
        std::fputs(weft::settings_explain().c_str(), stdout);
        return 0;
    }
    if (argc == 2 && std::strcmp(argv[1], "--reference") == 0) {
        std::fputs(weft::settings_reference().c_str(), stdout);
        return 0;
    }
    std::fputs("usage: weft-settings [--reference]\n", stderr);
    return 2;
}
