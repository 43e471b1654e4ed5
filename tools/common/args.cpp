#include "tools/common/args.h"

#include <array>

#include "src/base/log.h"
#include "topology/units.h"
#include "topology/xml.h"

namespace weft::tools {

namespace {

constexpr uint64_t size_max = 1ull << 50;
constexpr std::string_view size_units = "KMGT";

// What getopt left in `optopt` and `argv` says which of its three complaints this is.
Error refused(const CommandLine& line, int complaint) {
    const std::string seen = line.argv[optind - 1];
    if (complaint == ':') {
        return wrong("option '" + seen + "' needs a value");
    }
    const std::string hint = std::string(" (") + line.tool + " --help lists them)";
    if (optopt != 0 && optopt < 256) {
        return wrong(format("unknown option '-%c'", optopt) + hint);
    }
    if (optopt != 0) {
        return wrong("option '" + seen + "' takes no value");
    }
    return wrong("unknown option '" + seen + "'" + hint);
}

}  // namespace

Error wrong(std::string what) {
    return make_error(Code::invalid_argument, Scope::call, std::move(what));
}

Result<int> options_read(const CommandLine& line,
                         const std::function<Result<void>(int, const std::string&)>& apply) {
    // '+': stop at the first word that is no option; ':': a missing value is told apart.
    const std::string shorts = std::string("+:") + line.shorts;
    // Words before `first` are none of getopt's: the one before it stands for the program.
    const int skip = line.first - 1;
    opterr = 0;
    optind = 0;  // glibc starts over
    for (int which = 0; (which = getopt_long(line.argc - skip, line.argv + skip, shorts.c_str(),
                                             line.longs, nullptr)) != -1;) {
        if (which == '?' || which == ':') {
            CommandLine rest = line;
            rest.argv += skip;
            return refused(rest, which);
        }
        TRY(apply(which, optarg == nullptr ? "" : optarg));
    }
    return optind + skip;
}

Result<int64_t> number_read(std::string_view name, const std::string& text, int64_t least,
                            int64_t most) {
    auto value = topology::count_parse(text, least, most);
    if (!value.ok()) {
        return wrong(std::string(name) + " " + value.error().what);
    }
    return value.value();
}

Result<std::string> word_read(std::string_view name, const std::string& text) {
    if (text.empty()) {
        return wrong(std::string(name) + " needs a value that is not empty");
    }
    return text;
}

Result<uint64_t> size_read(std::string_view name, const std::string& text) {
    uint64_t scale = 1;
    std::string digits = text;
    const size_t unit = digits.empty() ? std::string_view::npos : size_units.find(digits.back());
    if (unit != std::string_view::npos) {
        scale = 1ull << (10 * (unit + 1));
        digits.pop_back();
    }
    const auto value = topology::count_parse(digits, 0, static_cast<int64_t>(size_max / scale));
    if (!value.ok()) {
        return wrong(std::string(name) + " '" + topology::printable(text) +
                     "': expected bytes such as 1024, 64K, 32M or 1G, at most 1024T");
    }
    return static_cast<uint64_t>(value.value()) * scale;
}

std::string size_text(uint64_t bytes) {
    size_t unit = 0;
    while (unit < size_units.size() && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    return std::to_string(bytes) + (unit == 0 ? "" : std::string(1, size_units[unit - 1]));
}

}  // namespace weft::tools
