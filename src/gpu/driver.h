// The CUDA driver, loaded at run time. Loading neither initialises it nor creates anything:
// driver_init does, and is called only for a device communicator. Thread rule: load once, then
// read-only; the functions of the table are thread-safe as CUDA's are. Lifetime: never unloaded,
// for the driver keeps threads. Failure rule: one line that says what is missing and what to do.
#pragma once

#include <string>

#include "src/base/result.h"
#include "src/gpu/driver_table.h"

namespace weft::gpu {

struct Driver : DriverTable {  // optional functions may be null
    std::string path;          // what the loader mapped
    int version = 0;           // of the CUDA interface it offers, 12040 is 12.4
};

// `path` is WEFT_LIBCUDA; empty: the loader's libcuda.so.1.
Result<Driver> driver_load(const std::string& path);

// cuInit; how many devices there are, at least one.
Result<int> driver_init(const Driver& driver);

// `call` names what was called and on what, for the message.
Result<void> driver_check(const Driver& driver, Status result, const std::string& call);

std::string version_text(int version);  // "12.4"

// Every driver function that is asked for, in the order of the table.
struct DriverRow {
    const char* name;
    int version;
    Need need;
};
extern const DriverRow driver_rows[];
extern const int driver_row_count;

}  // namespace weft::gpu
