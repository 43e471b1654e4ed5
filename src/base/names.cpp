#include "src/base/names.h"

#include <algorithm>
#include <vector>

namespace weft {

size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t swap = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({swap, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

std::string_view nearest_name(std::string_view typed, std::span<const std::string_view> known) {
    constexpr size_t typed_bytes_max = 64;
    typed = typed.substr(0, typed_bytes_max);
    return *std::min_element(known.begin(), known.end(),
                             [&](std::string_view a, std::string_view b) {
                                 return edit_distance(typed, a) < edit_distance(typed, b);
                             });
}

}  // namespace weft
