// Where in the source a line was logged or an error made. std::source_location needs a builtin that
// clang 14 lacks; these builtins are older.
#pragma once

#include <cstdint>

namespace weft {

class Where {
  public:
    static constexpr Where current(const char* file = __builtin_FILE(),
                                   uint32_t line = __builtin_LINE(),
                                   const char* function = __builtin_FUNCTION()) {
        Where where;
        where.file_ = file;
        where.line_ = line;
        where.function_ = function;
        return where;
    }
    constexpr const char* file_name() const { return file_; }
    constexpr uint32_t line() const { return line_; }
    constexpr const char* function_name() const { return function_; }

  private:
    const char* file_ = "";
    uint32_t line_ = 0;
    const char* function_ = "";
};

}  // namespace weft
