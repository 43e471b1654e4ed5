#include "src/base/result.h"

#include <cstdio>
#include <cstdlib>

namespace weft {

Error make_error(Code code, Scope scope, std::string what, int sys, Where where) {
    return Error{code, scope, sys, std::move(what), where};
}

void assert_failed(const char* condition, Where where) {
    std::fprintf(stderr, "weft: assertion failed: %s at %s:%u (%s)\n", condition, where.file_name(),
                 where.line(), where.function_name());
    std::abort();
}

}  // namespace weft
