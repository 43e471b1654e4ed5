#include "src/api/refuse.h"

#include <exception>
#include <string>

#include "src/base/log.h"

namespace weft {

ncclResult_t reject(ncclResult_t result, std::initializer_list<std::string_view> line) noexcept {
    try {
        std::string text;
        for (const std::string_view part : line) {
            text += part;
        }
        log_warn(text);
    } catch (const std::exception&) {
        // Out of memory for the text: the result code is all the caller gets.
    }
    return result;
}

ncclResult_t refuse(const Refusal& refusal) noexcept {
    return reject(ncclInvalidUsage,
                  {refusal.function, " is not available: ", refusal.why, "; ", refusal.instead});
}

ncclResult_t refuse_on(ncclComm_t comm, const Refusal& refusal) noexcept {
    if (comm == nullptr) {
        return null_argument(refusal.function, "comm");
    }
    int rank_count = 0;
    const ncclResult_t usable = pncclCommCount(comm, &rank_count);
    return usable == ncclSuccess ? refuse(refusal) : usable;
}

ncclResult_t null_argument(std::string_view function, std::string_view argument) noexcept {
    return reject(ncclInvalidArgument, {function, ": argument ", argument, " is NULL"});
}

}  // namespace weft
