// Where in the source a message or an error was made: std::source_location's part that we use, for
// clang 14 cannot compile libstdc++'s. Thread rule: value.
#pragma once

namespace weft {

class Where {
  public:
    // As a default argument this names the caller's line.
    static constexpr Where current(const char* file = __builtin_FILE(),
                                   const char* function = __builtin_FUNCTION(),
                                   unsigned line = __builtin_LINE()) {
        Where where;
        where.file_ = file;
        where.function_ = function;
        where.line_ = line;
        return where;
    }
    constexpr const char* file_name() const { return file_; }
    constexpr const char* function_name() const { return function_; }
    constexpr unsigned line() const { return line_; }

  private:
    const char* file_ = "";
    const char* function_ = "";
    unsigned line_ = 0;
};

}  // namespace weft
