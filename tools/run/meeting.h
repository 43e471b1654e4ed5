// How ranks find each other: a free port of rank 0's host and a secret.
// Thread rule: single-threaded. Failure rule: Result, one line.
#pragma once

#include <string>

#include "src/base/result.h"

namespace weft::run {

Result<std::string> port_free();    // of the loopback address
Result<std::string> secret_make();  // 32 random bytes in hex

struct Appointment {
    std::string port;
    std::string secret;
};

// Processes that another launcher started on this machine, and that share only `job`'s name, meet
// at an abstract socket: rank 0 decides and leaves a process behind that tells the others, and
// that ends when all were told or a minute has passed.
Result<Appointment> appointment_give(const std::string& job, int rank_count);
Result<Appointment> appointment_get(const std::string& job);

}  // namespace weft::run
