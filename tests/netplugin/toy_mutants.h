// The toy's faults, one at a time, named by TOY_MUTANT: each breaks one clause of the contract, so
// that a test sees the checker find it. Thread rule: the environment is read once.
#pragma once

#include <cstdlib>
#include <cstring>

namespace toy {

// Also while the library is unloaded, so nothing that has an end of its own.
inline bool mutant(const char* name) {
    static const char* const chosen = std::getenv("TOY_MUTANT");
    return chosen != nullptr && std::strcmp(chosen, name) == 0;
}

}  // namespace toy
