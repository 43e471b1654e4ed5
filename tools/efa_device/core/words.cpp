#include "tools/efa_device/core/words.h"

#include <cmath>
#include <cstdlib>

#include "src/base/log.h"
#include "src/base/names.h"
#include "topology/units.h"
#include "topology/xml.h"

namespace weft::efa {

using topology::printable;

std::pair<std::string_view, std::string_view> key_value(std::string_view word) {
    const size_t at = word.find('=');
    return at == std::string_view::npos ? std::pair(word, std::string_view())
                                        : std::pair(word.substr(0, at), word.substr(at + 1));
}

Error wrong(std::string what) {
    return make_error(Code::invalid_argument, Scope::process, std::move(what));
}

Result<int64_t> number_word(std::string_view value, int64_t least, int64_t most) {
    Result<int64_t> number = topology::count_parse(value, least, most);
    if (!number.ok()) {
        return wrong(format("'%s': expected a whole number from %lld to %lld",
                            printable(value).c_str(), static_cast<long long>(least),
                            static_cast<long long>(most)));
    }
    return number;
}

// A latency of nothing is none; a delay of nothing is a delay.
Result<Nanos> time_word(std::string_view value) {
    for (const std::string_view nothing : {"0", "0ns", "0us", "0ms", "0s"}) {
        if (value == nothing) {
            return Nanos{0};
        }
    }
    Result<int64_t> time = topology::latency_parse(value);
    if (!time.ok()) {
        return wrong("'" + printable(value) + "': expected a time such as 20us, 5ms or 2s");
    }
    return time;
}

Result<int64_t> rate_word(std::string_view value) {
    if (value == "0") {
        return int64_t{0};
    }
    std::string text(value);
    if (text.size() > 3 && text.compare(text.size() - 3, 3, "bit") == 0) {
        text += "/s";
    }
    Result<int64_t> rate = topology::rate_parse(text);
    if (!rate.ok()) {
        return wrong("'" + printable(value) +
                     "': expected a rate such as 250Mbit, 100Gbit or 12.5GB/s, or 0 for no limit");
    }
    return rate;
}

Result<uint32_t> chance_word(std::string_view value) {
    const std::string text(value.substr(0, 32));
    char* end = nullptr;
    const double percent = std::strtod(text.c_str(), &end);
    const bool number = !text.empty() && end != text.c_str() && std::string_view(end) == "%";
    if (!number || !(percent >= 0 && percent <= 100)) {
        return wrong("'" + printable(value) + "': expected a share from 0% to 100%");
    }
    return static_cast<uint32_t>(std::lround(percent * 10'000));
}

}  // namespace weft::efa
