// What the environment tells the libfabric of tests. Thread rule: pure but for getenv. Failure
// rule: a test's mistake ends the process.
#pragma once

#include "tests/unit/transports/fake_libfabric/fake_libfabric.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace weft::test {

// Words of FAKE_LIBFABRIC, each NAME or NAME=VALUE.
FakeLibfabric fake_told();

// Freed by std::free.
template <class T>
T* zeroed() {
    return static_cast<T*>(std::calloc(1, sizeof(T)));
}

}  // namespace weft::test

EXPORTED weft::test::FakeLibfabric* weft_fake_libfabric();
