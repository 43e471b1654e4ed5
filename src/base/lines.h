// Records of "name=value" lines that have to be alike. Pure. Thread rule: reentrant.
#pragma once

#include <string>

namespace weft {

// The first line of `a` that `b` has otherwise: its name, and its value in both. No name: they are
// alike.
struct LineDifference {
    std::string name, a, b;
};
LineDifference lines_differ(const std::string& a, const std::string& b);

}  // namespace weft
