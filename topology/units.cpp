#include "topology/units.h"

#include <charconv>
#include <span>

#include "src/base/log.h"
#include "topology/xml.h"

namespace weft::topology {

namespace {

// `scale` base units; bits are divided by 8 at the end.
struct Unit {
    std::string_view name;
    int64_t scale;
    int64_t divisor;
};

constexpr Unit rate_units[] = {{"B/s", 1, 1},
                               {"KB/s", 1'000, 1},
                               {"MB/s", 1'000'000, 1},
                               {"GB/s", 1'000'000'000, 1},
                               {"TB/s", 1'000'000'000'000, 1},
                               {"kbit/s", 1'000, 8},
                               {"Mbit/s", 1'000'000, 8},
                               {"Gbit/s", 1'000'000'000, 8}};
constexpr Unit latency_units[] = {
    {"ns", 1, 1}, {"us", 1'000, 1}, {"ms", 1'000'000, 1}, {"s", 1'000'000'000, 1}};

Error wrong(std::string_view text, const std::string& why) {
    return make_error(Code::invalid_argument, Scope::call, "'" + printable(text) + "': " + why);
}

// Digits, at most 18, off the front of `text`.
struct Digits {
    int64_t value = 0;
    size_t count = 0;
};

Digits digits_take(std::string_view& text) {
    constexpr size_t digits_max = 18;  // fits 63 bits
    Digits digits;
    while (digits.count < text.size() && digits.count < digits_max) {
        const char c = text[digits.count];
        if (c < '0' || c > '9') {
            break;
        }
        digits.value = digits.value * 10 + (c - '0');
        digits.count++;
    }
    text.remove_prefix(digits.count);
    return digits;
}

// What `digits` after the decimal point are worth in base units, -1 if not a whole number of them.
int64_t fraction_of(Digits digits, int64_t scale) {
    for (; digits.count > 0 && digits.value % 10 == 0; digits.count--) {
        digits.value /= 10;
    }
    for (; digits.count > 0 && scale % 10 == 0; digits.count--) {
        scale /= 10;
    }
    // Fewer digits are left than `scale` has zeros, so the product is below the first `scale`.
    return digits.count > 0 ? -1 : digits.value * scale;
}

Result<int64_t> parse(std::string_view text, std::span<const Unit> units, int64_t most,
                      const std::string& accepted) {
    std::string_view rest = text;
    const Digits whole = digits_take(rest);
    Digits part;
    const bool point = !rest.empty() && rest.front() == '.';
    if (point) {
        rest.remove_prefix(1);
        part = digits_take(rest);
    }
    const Unit* unit = nullptr;
    for (const Unit& candidate : units) {
        unit = candidate.name == rest ? &candidate : unit;
    }
    if (whole.count == 0 || (point && part.count == 0) || unit == nullptr) {
        return wrong(text, "expected " + accepted);
    }
    const int64_t fraction = fraction_of(part, unit->scale);
    if (whole.value > most / unit->scale * unit->divisor) {
        return wrong(text, "too large");
    }
    const int64_t total = whole.value * unit->scale + fraction;
    if (fraction < 0 || total % unit->divisor != 0) {
        return wrong(text, "finer than can be kept");
    }
    if (total / unit->divisor > most) {
        return wrong(text, "too large");
    }
    if (total == 0) {
        return wrong(text, "must be more than 0 (leave it out where it is unknown)");
    }
    return total / unit->divisor;
}

// In the largest unit that is not above the value, without trailing zeros.
std::string print(int64_t value, std::span<const Unit> units) {
    const Unit* unit = &units[0];
    for (const Unit& candidate : units) {
        unit = candidate.divisor == 1 && candidate.scale <= value ? &candidate : unit;
    }
    std::string text = std::to_string(value / unit->scale);
    std::string part = std::to_string(unit->scale + value % unit->scale).substr(1);
    part.resize(part.find_last_not_of('0') + 1);
    return text + (part.empty() ? "" : "." + part) + std::string(unit->name);
}

}  // namespace

Result<int64_t> rate_parse(std::string_view text) {
    return parse(text, rate_units, rate_max, "a rate such as 12.5GB/s or 100Gbit/s");
}

std::string rate_text(int64_t bytes_per_s) {
    return bytes_per_s <= 0 ? "unknown" : print(bytes_per_s, rate_units);
}

std::string rate_rounded(int64_t bytes_per_s) {
    int64_t step = 1;
    while (bytes_per_s / step > 9'999) {
        step *= 10;
    }
    return rate_text((bytes_per_s + step / 2) / step * step);
}

Result<int64_t> latency_parse(std::string_view text) {
    return parse(text, latency_units, latency_max_ns, "a time such as 20us or 1.5ms");
}

std::string latency_text(int64_t ns) {
    return ns <= 0 ? "unknown" : print(ns, latency_units);
}

Result<int64_t> count_parse(std::string_view text, int64_t least, int64_t most) {
    int64_t value = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    if (text.empty() || text.front() == '-' || read.ec != std::errc() || read.ptr != end ||
        value < least || value > most) {
        return wrong(text, format("expected a whole number from %lld to %lld",
                                  static_cast<long long>(least), static_cast<long long>(most)));
    }
    return value;
}

}  // namespace weft::topology
