// Refusal of entry points that a host-memory communicator cannot serve: a NULL or unusable argument
// gives ncclInvalidArgument, a sound call ncclInvalidUsage and one line for ncclGetLastError that
// says why and what to use instead. Thread-safe, no state.
#pragma once

#include <initializer_list>
#include <string_view>

#include "include/weft/nccl.h"

namespace weft {

// Logs the parts as one WARN line and returns `result`.
ncclResult_t reject(ncclResult_t result, std::initializer_list<std::string_view> line) noexcept;

struct Refusal {
    std::string_view function;
    std::string_view why;
    std::string_view instead;
};

ncclResult_t refuse(const Refusal& refusal) noexcept;

// The same after checking that `comm` is a communicator that can be used now.
ncclResult_t refuse_on(ncclComm_t comm, const Refusal& refusal) noexcept;

// ncclInvalidArgument, with a line naming the argument that is NULL.
ncclResult_t null_argument(std::string_view function, std::string_view argument) noexcept;

}  // namespace weft
