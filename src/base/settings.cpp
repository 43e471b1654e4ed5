#include "src/base/settings.h"

#include <pwd.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "src/base/names.h"
#include "src/base/settings_table.h"

extern char** environ;

namespace weft {

namespace {

bool has_prefix(std::string_view text, std::string_view prefix) {
    return text.substr(0, prefix.size()) == prefix;
}

// Names of the launcher, the performance tool, the software EFA device and test harnesses ride in
// the same environment. What weft-run tells every rank (perf/launch_env.h reads it) is no setting
// of the library either.
bool is_foreign_name(std::string_view name) {
    constexpr std::string_view told[] = {"WEFT_RANK",       "WEFT_RANK_COUNT",
                                         "WEFT_LOCAL_RANK", "WEFT_LOCAL_RANK_COUNT",
                                         "WEFT_HOST_INDEX", "WEFT_HOST_COUNT"};
    return has_prefix(name, "WEFT_RUN_") || has_prefix(name, "WEFT_PERF_") ||
           has_prefix(name, "WEFT_TEST_") || has_prefix(name, "WEFT_EFA_DEVICE") ||
           std::find(std::begin(told), std::end(told), name) != std::end(told);
}

void unknown_report(const std::string& name, const std::string& origin,
                    std::vector<std::string>& warnings) {
    constexpr size_t name_bytes_max = 64;  // no real name is longer
    const std::string_view typed = std::string_view(name).substr(0, name_bytes_max);
    std::vector<std::string_view> known;
    for (const SettingRow& row : settings_rows()) {
        known.emplace_back(row.name);
    }
    const std::string nearest(nearest_name(typed, known));
    warnings.push_back(format("%.*s (%s) is not a setting of Weft; the nearest one is %s",
                              static_cast<int>(typed.size()), typed.data(), origin.c_str(),
                              nearest.c_str()));
}

// Integers as NCCL reads them: strtoll with base 0, the whole text.
std::optional<int64_t> integer_parse(const std::string& text) {
    char* end = nullptr;
    errno = 0;
    const long long value = std::strtoll(text.c_str(), &end, 0);
    if (errno != 0 || end == text.c_str() || *end != '\0') {
        return {};
    }
    return value;
}

bool is_choice(std::string_view choices, const std::string& text) {
    while (!choices.empty()) {
        const std::string word(choices.substr(0, choices.find(' ')));
        choices.remove_prefix(std::min(choices.size(), word.size() + 1));
        if (strcasecmp(word.c_str(), text.c_str()) == 0) {
            return true;
        }
    }
    return false;
}

std::string accepted(const SettingRow& row) {
    if (row.choices != nullptr) {
        return std::string("one of ") + row.choices;
    }
    if (row.least != INT64_MIN || row.most != INT64_MAX) {
        return format("a whole number from %lld to %lld", static_cast<long long>(row.least),
                      static_cast<long long>(row.most));
    }
    return "a whole number";
}

// Stores `text`, false if the row does not accept it. An empty number counts as unset.
bool row_store(const SettingRow& row, const std::string& text, Settings& values) {
    return std::visit(
        [&](auto member) {
            using Member = decltype(member);
            if constexpr (std::is_same_v<Member, std::monostate>) {
                return true;
            } else if constexpr (std::is_same_v<Member, std::string Settings::*>) {
                const bool ok =
                    text.empty() || row.choices == nullptr || is_choice(row.choices, text);
                if (ok) {
                    values.*member = text;
                }
                return ok;
            } else {
                const auto number = integer_parse(text);
                if (text.empty()) {
                    return true;
                }
                if (!number || *number < row.least || *number > row.most) {
                    return false;
                }
                if constexpr (std::is_same_v<Member, bool Settings::*>) {
                    values.*member = *number != 0;
                } else {
                    values.*member = *number;
                }
                return true;
            }
        },
        row.member);
}

std::string printable(const SettingRow& row, const std::string& text) {
    return row.secret ? "(not shown)" : text;
}

SettingSource environment_source() {
    SettingSource source;
    for (char** at = environ; at != nullptr && *at != nullptr; ++at) {
        const std::string_view entry = *at;
        const size_t equal = entry.find('=');
        if (equal != entry.npos && (has_prefix(entry, "NCCL_") || has_prefix(entry, "WEFT_"))) {
            source.emplace(entry.substr(0, equal),
                           SettingValue{std::string(entry.substr(equal + 1)), "environment"});
        }
    }
    return source;
}

std::string home_folder() {
    if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
        return home;
    }
    passwd entry{};
    passwd* found = nullptr;
    char buffer[4096];
    getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &found);
    return found != nullptr && found->pw_dir != nullptr ? found->pw_dir : "";
}

// Missing files are the normal case; one the user named must be there.
SettingSource file_source(const std::string& path, bool must_exist,
                          std::vector<std::string>& warnings) {
    const auto text = file_read(path);
    if (text.ok()) {
        return conf_parse(text.value(), path, warnings);
    }
    if (must_exist || (text.error().sys != ENOENT && text.error().sys != ENOTDIR)) {
        warnings.push_back("settings file: " + text.error().what + "; going on without it");
    }
    return {};
}

SettingsTable* table_load() {
    std::vector<std::string> warnings;
    std::vector<SettingSource> sources = {environment_source()};
    const auto named = sources[0].find("NCCL_CONF_FILE");
    const bool given = named != sources[0].end() && !named->second.text.empty();
    const std::string user = given ? named->second.text : home_folder() + "/.nccl.conf";
    sources.push_back(file_source(user, given, warnings));
    sources.push_back(file_source("/etc/nccl.conf", false, warnings));
    auto* table = new SettingsTable(settings_build(sources));  // never destroyed: read until exit
    table->warnings.insert(table->warnings.begin(), warnings.begin(), warnings.end());
    return table;
}

const SettingsTable& table_get() {
    static const SettingsTable* const table = table_load();
    return *table;
}

void table_report(const SettingsTable& table) {
    for (const std::string& line : table.warnings) {
        log_warn(line);
    }
    for (const SettingRow& row : settings_rows()) {
        const auto set = table.chosen.find(row.name);
        if (set != table.chosen.end()) {
            LOG(info, env, "%s set to %s by %s%s", row.name,
                printable(row, set->second.text).c_str(), set->second.origin.c_str(),
                row.group == settings_group_ignored ? " (accepted, no effect yet)" : "");
        }
    }
}

std::string value_text(const SettingRow& row, const Settings& values) {
    return std::visit(
        [&](auto member) -> std::string {
            using Member = decltype(member);
            if constexpr (std::is_same_v<Member, std::monostate>) {
                return "";
            } else if constexpr (std::is_same_v<Member, std::string Settings::*>) {
                return values.*member;
            } else if constexpr (std::is_same_v<Member, std::optional<int64_t> Settings::*>) {
                return values.*member ? std::to_string(*(values.*member)) : "";
            } else {
                return std::to_string(static_cast<int64_t>(values.*member));
            }
        },
        row.member);
}

}  // namespace

SettingSource conf_parse(std::string_view text, std::string_view path,
                         std::vector<std::string>& warnings) {
    SettingSource source;
    for (int line_number = 1; !text.empty(); ++line_number) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        const size_t equal = line.find('=');
        const std::string name = trimmed(line.substr(0, equal));
        if (name.empty() && equal == line.npos) {
            continue;
        }
        if (!name.empty() && name[0] == '#') {
            continue;
        }
        const std::string origin = std::string(path) + ":" + std::to_string(line_number);
        if (equal == line.npos || name.empty()) {
            warnings.push_back(origin + ": not NAME=VALUE, ignored");
            continue;
        }
        source.emplace(name, SettingValue{trimmed(line.substr(equal + 1)), origin});
    }
    return source;
}

SettingsTable settings_build(const std::vector<SettingSource>& by_priority) {
    SettingsTable table;
    for (const SettingSource& source : by_priority) {
        table.chosen.insert(source.begin(), source.end());  // keeps what stands already
    }
    for (const SettingRow& row : settings_rows()) {
        const auto set = table.chosen.find(row.name);
        if (set != table.chosen.end() && !row_store(row, set->second.text, table.values)) {
            table.warnings.push_back(
                format("%s=%s (%s) is not accepted: it takes %s; using the "
                       "default",
                       row.name, printable(row, set->second.text).c_str(),
                       set->second.origin.c_str(), accepted(row).c_str()));
        }
    }
    for (const auto& entry : table.chosen) {
        const std::string& name = entry.first;
        const auto known = settings_rows();
        if (has_prefix(name, "WEFT_") && !is_foreign_name(name) &&
            std::none_of(known.begin(), known.end(),
                         [&](const SettingRow& row) { return name == row.name; })) {
            unknown_report(name, entry.second.origin, table.warnings);
        }
    }
    return table;
}

const Settings& settings() {
    // The table stands before anything is logged about it: logging reads it too.
    static std::atomic<bool> reported{false};
    const SettingsTable& table = table_get();
    if (!reported.load(std::memory_order_relaxed) && !reported.exchange(true)) {
        table_report(table);
    }
    return table.values;
}

std::string settings_origin(std::string_view name) {
    const SettingsTable& table = table_get();
    const auto set = table.chosen.find(std::string(name));
    return set == table.chosen.end() ? "default" : set->second.origin;
}

std::string settings_explain() {
    std::string text;
    const SettingsTable& table = table_get();
    for (const SettingRow& row : settings_rows()) {
        const auto set = table.chosen.find(row.name);
        const bool stored = row.member.index() != 0;
        std::string value = stored                      ? value_text(row, table.values)
                            : set == table.chosen.end() ? ""
                                                        : set->second.text;
        value = value.empty() ? "(unset)" : printable(row, value);
        text +=
            format("%-36s %-24s %s\n", row.name, value.c_str(), settings_origin(row.name).c_str());
    }
    return text;
}

std::string settings_reference() {
    std::string text =
        "# Settings\n\n"
        "Generated by `weft-settings --reference`; do not edit.\n\n"
        "Read once per process, in this order: the environment, then the file named by\n"
        "`NCCL_CONF_FILE` (else `~/.nccl.conf`), then `/etc/nccl.conf`. Numbers may be decimal,\n"
        "0x hexadecimal or 0 octal. A value that is not accepted gives one warning and leaves the\n"
        "default. An unknown `WEFT_*` name gives one warning with the nearest known name.\n"
        "`weft-settings` prints the values a process would use here, and where each comes from.\n";
    const char* group = "";
    const Settings defaults;
    for (const SettingRow& row : settings_rows()) {
        if (row.group != group) {
            group = row.group;
            text += format(
                "\n## %s\n\n| name | takes | default | meaning |\n| --- | --- | --- | "
                "--- |\n",
                group);
        }
        const bool is_text =
            std::holds_alternative<std::string Settings::*>(row.member) || row.member.index() == 0;
        const bool is_switch = std::holds_alternative<bool Settings::*>(row.member);
        const std::string takes = is_text && row.choices == nullptr ? "text"
                                  : is_switch                       ? "0 or 1"
                                                                    : accepted(row);
        const std::string value = value_text(row, defaults);
        text += format("| `%s` | %s | %s | %s |\n", row.name, takes.c_str(),
                       value.empty() ? "unset" : value.c_str(), row.doc);
    }
    return text;
}

}  // namespace weft
