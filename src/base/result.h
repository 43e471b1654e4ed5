// Result<T>: a value or an Error. The one error currency below the C border.
// Thread rule: values, reentrant. Lifetime: owns its text. Failure rule: never throws (except
// bad_alloc on text).
#pragma once

#include <cstdint>
#include <optional>

#include <string>
#include <utility>
#include <variant>

#include "src/base/where.h"

namespace weft {

// What kind of failure; maps one to one onto the NCCL result codes at the border.
enum class Code : uint8_t {
    system,            // the operating system or a provider refused something
    internal,          // a bug of ours
    invalid_argument,  // the caller's argument is wrong
    invalid_usage,     // the call is not allowed now
    remote,            // a peer failed or the network to it did
    in_progress,       // not finished; only nonblocking calls return it
    timeout,           // a limit the user set has passed
    device,            // a call of the GPU's driver failed
    aborted,           // the communicator was aborted
    unsupported,       // not possible with this build, machine or provider
};

// What is broken. Recovery switches on scope, never on code.
enum class Scope : uint8_t { call, operation, peer, communicator, process };

struct Error {
    Code code = Code::internal;
    Scope scope = Scope::call;
    int sys = 0;       // errno or provider code, 0 if none
    std::string what;  // one line: what, where, why, what to do
    Where where;
};

// Makes an Error; `what` is one complete line without a trailing newline.
[[nodiscard]] Error make_error(Code code, Scope scope, std::string what, int sys = 0,
                               Where where = Where::current());

template <class T>
class [[nodiscard]] Result {
  public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
    bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }
    T& value() & { return std::get<0>(state_); }
    const T& value() const& { return std::get<0>(state_); }
    T&& value() && { return std::get<0>(std::move(state_)); }
    Error& error() & { return std::get<1>(state_); }
    const Error& error() const& { return std::get<1>(state_); }
    Error&& error() && { return std::get<1>(std::move(state_)); }

  private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::move(error)) {}
    bool ok() const { return !error_.has_value(); }
    explicit operator bool() const { return ok(); }
    void value() const {}
    Error& error() & { return *error_; }
    const Error& error() const& { return *error_; }
    Error&& error() && { return std::move(*error_); }

  private:
    std::optional<Error> error_;
};

}  // namespace weft

// TRY(expr): the value of a Result expression, or return its Error from the enclosing function. Not
// beside other initialisers with destructors: g++ leaks those that are made already.
#define TRY(...)                                   \
    __extension__({                                \
        auto try_result_ = (__VA_ARGS__);          \
        if (!try_result_.ok()) {                   \
            return std::move(try_result_).error(); \
        }                                          \
        std::move(try_result_).value();            \
    })

namespace weft {
// Programmer errors: prints the condition and aborts. On in all builds.
[[noreturn]] void assert_failed(const char* condition, Where where);
}  // namespace weft

#define ASSERT(cond)                                                \
    do {                                                            \
        if (!(cond)) [[unlikely]] {                                 \
            ::weft::assert_failed(#cond, ::weft::Where::current()); \
        }                                                           \
    } while (false)
