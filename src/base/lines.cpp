#include "src/base/lines.h"

#include <algorithm>
#include <sstream>

namespace weft {

LineDifference lines_differ(const std::string& a, const std::string& b) {
    if (a == b) {
        return {};
    }
    std::istringstream in_a(a), in_b(b);
    std::string line_a, line_b;
    do {
        line_a.clear();
        line_b.clear();
        std::getline(in_a, line_a);
        std::getline(in_b, line_b);
    } while (line_a == line_b && !line_a.empty());
    const auto value = [](const std::string& line) {
        return line.substr(std::min(line.size(), line.find('=') + 1));
    };
    const std::string& named = line_a.empty() ? line_b : line_a;
    return {named.substr(0, named.find('=')), value(line_a), value(line_b)};
}

}  // namespace weft
