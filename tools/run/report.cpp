#include "tools/run/report.h"

#include <string.h>

#include <algorithm>

#include "src/base/log.h"

namespace weft::run {

namespace {

// "0-2,4"
std::string ranges_text(const std::vector<size_t>& ranks) {
    std::string text;
    for (size_t i = 0; i < ranks.size();) {
        size_t last = i;
        while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) {
            ++last;
        }
        text += format(i == 0 ? "%zu" : ",%zu", ranks[i]);
        if (last != i) {
            text += format("-%zu", ranks[last]);
        }
        i = last + 1;
    }
    return text;
}

std::vector<size_t> ranks_with(const std::vector<End>& ends, const End& end) {
    std::vector<size_t> ranks;
    for (size_t rank = 0; rank < ends.size(); ++rank) {
        if (ends[rank] == end) {
            ranks.push_back(rank);
        }
    }
    return ranks;
}

}  // namespace

std::string signal_text(int signal) {
    const char* name = ::sigabbrev_np(signal);
    return name ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

std::string end_text(const End& end) {
    if (!end.by_signal) {
        return "exit status " + std::to_string(end.number);
    }
    return signal_text(end.number) + (end.core ? " (core dumped)" : "");
}

std::string ends_text(const std::vector<End>& ends) {
    std::string text;
    std::vector<End> seen;
    for (const End& end : ends) {
        if (std::find(seen.begin(), seen.end(), end) != seen.end()) {
            continue;
        }
        seen.push_back(end);
        const std::vector<size_t> ranks = ranks_with(ends, end);
        text += (text.empty() ? "" : "; ") + end_text(end) +
                (ranks.size() == 1 ? ": rank " : ": ranks ") + ranges_text(ranks);
    }
    return text;
}

}  // namespace weft::run
