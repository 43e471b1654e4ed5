#include "src/api/border.h"

#include <unistd.h>

#include "src/base/log.h"

namespace weft {

ncclResult_t error_to_result(const Error& error) noexcept {
    try {
        switch (error.scope) {
            case Scope::call:
            case Scope::process:
                if (error.code != Code::in_progress) {
                    log_warn(error.what, error.where);
                }
                break;
            case Scope::operation:
            case Scope::peer:
            case Scope::communicator:
                // The communicator logged its first cause when it failed.
                LOG(info, all, "%s", error.what.c_str());
                break;
        }
    } catch (const std::exception&) {
        // Out of memory for the line: the code is all the caller gets.
    }
    return code_to_result(error.code);
}

ncclResult_t grouped(ncclResult_t result) noexcept {
    if (result != ncclSuccess && result != ncclInProgress) {
        Error refused;
        refused.code = result_to_code(result);
        refused.what =
            "call refused";  // short enough to need no memory, of which there may be none
        group_remember(refused);
    }
    return result;
}

Error forked_error() {
    return make_error(Code::invalid_usage, Scope::call,
                      format("process %d was forked from one that uses Weft and cannot use it "
                             "itself; call exec first, or fork before the first communicator",
                             getpid()));
}

Error null_error(const char* function, const char* argument) {
    return make_error(Code::invalid_argument, Scope::call,
                      format("%s : %s argument is NULL", function, argument));
}

}  // namespace weft
