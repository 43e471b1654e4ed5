#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tools/plan/actions.h"

namespace weft::planner {

Progress::Progress() : seen_(isatty(STDERR_FILENO) == 1) {
}

void Progress::say(const std::string& what) {
    if (!seen_) {
        return;
    }
    const size_t blanks = shown_ > what.size() ? shown_ - what.size() : 0;
    std::fprintf(stderr, "\r%s%*s", what.c_str(), static_cast<int>(blanks), "");
    shown_ = what.size();
}

void Progress::clear() {
    if (shown_ > 0) {
        std::fprintf(stderr, "\r%*s\r", static_cast<int>(shown_), "");
    }
    shown_ = 0;
}

}  // namespace weft::planner
