// The rows behind Settings: one per name, with its type, default (what a fresh Settings holds),
// member and one line of documentation. Thread rule: constants.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "src/base/settings.h"

namespace weft {

struct SettingRow {
    // monostate: the name is known, its value is read elsewhere or has no effect.
    using Member = std::variant<std::monostate, std::string Settings::*, int64_t Settings::*,
                                bool Settings::*, std::optional<int64_t> Settings::*>;
    const char* group;
    const char* name;
    Member member;
    const char* doc;
    const char* choices = nullptr;  // texts: accepted words, space separated, matched without case
    int64_t least = INT64_MIN;      // numbers: accepted range
    int64_t most = INT64_MAX;
    bool secret = false;  // never printed
};

std::span<const SettingRow> settings_rows();  // in the order of the reference page, groups together

// The group of names other people's scripts set that change nothing here.
extern const char* const settings_group_ignored;

}  // namespace weft
