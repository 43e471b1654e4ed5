#include "src/base/log_parse.h"

#include <algorithm>
#include <cctype>
#include <span>

namespace weft {

namespace {

struct Word {
    std::string_view name;
    uint32_t bits;
};

constexpr uint32_t level_bit(LogLevel level) {
    return 1U << static_cast<unsigned>(level);
}

constexpr Word level_words[] = {
    {"NONE", level_bit(LogLevel::none)},
    {"VERSION", level_bit(LogLevel::version)},
    {"WARN", level_bit(LogLevel::warn)},
    {"INFO", level_bit(LogLevel::info)},
    {"ABORT", level_bit(LogLevel::abort)},
    {"TRACE", level_bit(LogLevel::trace)},
    {"ALL", ~0U},
};

// Some name parts Weft does not have; users' lists still hold them. The last two came with 2.30.
constexpr Word subsys_words[] = {
    {"INIT", 0x1},         {"COLL", 0x2},           {"P2P", 0x4},        {"SHM", 0x8},
    {"NET", 0x10},         {"GRAPH", 0x20},         {"TUNING", 0x40},    {"ENV", 0x80},
    {"ALLOC", 0x100},      {"CALL", 0x200},         {"PROXY", 0x400},    {"NVLS", 0x800},
    {"BOOTSTRAP", 0x1000}, {"REG", 0x2000},         {"PROFILE", 0x4000}, {"RAS", 0x8000},
    {"DESTROY", 0x10000},  {"ALLOC_HOST", 0x20000}, {"ALL", ~0U},
};

bool same_word(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
        return std::toupper(x) == std::toupper(y);
    });
}

const Word* word_find(std::span<const Word> words, std::string_view name) {
    const auto at = std::find_if(words.begin(), words.end(),
                                 [&](const Word& word) { return same_word(word.name, name); });
    return at == words.end() ? nullptr : &*at;
}

uint32_t list_parse(std::string_view list, std::span<const Word> words, const char* setting,
                    std::vector<std::string>& complaints) {
    const bool invert = !list.empty() && list.front() == '^';
    list.remove_prefix(invert ? 1 : 0);
    uint32_t bits = 0;
    while (!list.empty()) {
        const std::string_view name = list.substr(0, list.find(','));
        list.remove_prefix(std::min(list.size(), name.size() + 1));
        if (const Word* word = word_find(words, name)) {
            bits |= word->bits;
        } else if (!name.empty()) {
            std::string line = format("%s: '%.*s' is not one of", setting,
                                      static_cast<int>(name.size()), name.data());
            for (const Word& known : words) {
                line.append(" ").append(known.name);
            }
            complaints.push_back(line + "; ignored");
        }
    }
    return invert ? ~bits : bits;
}

}  // namespace

std::optional<LogLevel> log_level_parse(std::string_view word) {
    const auto* found = word_find(std::span(level_words).first(6), word);
    if (found == nullptr) {
        return {};
    }
    return static_cast<LogLevel>(found - level_words);
}

uint32_t subsys_parse(std::string_view list, std::vector<std::string>& complaints) {
    return list_parse(list, subsys_words, "NCCL_DEBUG_SUBSYS", complaints);
}

uint32_t log_levels_parse(std::string_view list, std::vector<std::string>& complaints) {
    return list_parse(list, level_words, "NCCL_DEBUG_TIMESTAMP_LEVELS", complaints);
}

std::string log_path_expand(std::string_view pattern, std::string_view host, int pid) {
    std::string path;
    for (size_t i = 0; i < pattern.size(); ++i) {
        const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
        if (pattern[i] != '%' || (next != 'h' && next != 'p' && next != '%')) {
            path += pattern[i];
            continue;
        }
        ++i;
        path += next == 'h' ? std::string(host) : next == 'p' ? std::to_string(pid) : "%";
    }
    return path;
}

std::string log_timestamp(std::string_view pattern, const timespec& time) {
    std::string expanded;  // the pattern with %Nf replaced by digits and _ by a blank, as NCCL does
    for (size_t i = 0; i < pattern.size(); ++i) {
        const bool fraction = pattern[i] == '%' && i + 2 < pattern.size() &&
                              pattern[i + 1] >= '1' && pattern[i + 1] <= '9' &&
                              pattern[i + 2] == 'f';
        if (fraction) {
            const auto digits = static_cast<size_t>(pattern[i + 1] - '0');
            expanded += format("%09ld", time.tv_nsec).substr(0, digits);
            i += 2;
            continue;
        }
        expanded += pattern[i] == '_' ? ' ' : pattern[i];
        if (pattern[i] == '%' && i + 1 < pattern.size()) {
            expanded += pattern[++i];
        }
    }
    tm parts{};
    localtime_r(&time.tv_sec, &parts);
    char text[256];
    // strftime returns 0 both for an empty result and for one that does not fit: print nothing.
    return {text, strftime(text, sizeof text, expanded.c_str(), &parts)};
}

}  // namespace weft
