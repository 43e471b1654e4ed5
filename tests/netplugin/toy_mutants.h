// The toy's faults, one at a time, named by TOY_MUTANT: each breaks one clause of the contract, so
// that a test sees the checker find it. Thread rule: the environment is read once.
#pragma once

#include <cstdlib>
#include <string>

namespace toy {

inline bool mutant(const char* name) {
    static const std::string chosen = [] {
        const char* text = std::getenv("TOY_MUTANT");
        return std::string(text != nullptr ? text : "");
    }();
    return chosen == name;
}

}  // namespace toy
