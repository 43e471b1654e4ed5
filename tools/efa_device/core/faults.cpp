#include "tools/efa_device/core/faults.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/base/names.h"
#include "tools/efa_device/core/words.h"
#include "topology/xml.h"

namespace weft::efa {

using topology::printable;

namespace {

enum Key : unsigned {
    key_nic = 1,
    key_when = 2,
    key_ways = 4,
    key_chance = 8,
    key_rate = 16,
    key_delay = 32,
    key_count = 64,
    key_pages = 128,
};

struct KindRow {
    const char* name;
    FaultKind kind;
    unsigned takes;
    unsigned needs;
};

constexpr KindRow kinds[] = {
    {"rail-down", FaultKind::rail_down, key_nic | key_when, key_nic},
    {"rail-up", FaultKind::rail_up, key_nic | key_when, key_nic},
    {"loss", FaultKind::loss, key_nic | key_when | key_ways | key_chance, key_chance},
    {"slow", FaultKind::slow, key_nic | key_when | key_rate, key_rate},
    {"die", FaultKind::die, key_when, key_when},
    {"stale", FaultKind::stale, key_nic | key_delay | key_count, key_delay},
    {"mr-fail", FaultKind::mr_fail, key_nic | key_pages, key_pages},
    {"qp-max", FaultKind::qp_max, key_nic | key_count, key_count},
    {"ah-max", FaultKind::ah_max, key_nic | key_count, key_count},
    {"cq-max", FaultKind::cq_max, key_nic | key_count, key_count},
    {"sq-max", FaultKind::sq_max, key_nic | key_count, key_count},
};

struct KeyRow {
    const char* name;
    unsigned key;  // 0: every fault takes it
};

constexpr KeyRow keys[] = {
    {"host", 0},          {"process", 0},       {"nic", key_nic},     {"from", key_ways},
    {"to", key_ways},     {"at", key_when},     {"after", key_when},  {"for", key_when},
    {"rate", key_chance}, {"delay", key_delay}, {"count", key_count}, {"pages", key_pages},
};

struct Word {
    std::string_view text;
    size_t line = 1;
    size_t column = 1;
};

Error at(const Word& word, const std::string& reason) {
    return wrong(format("faults:%zu:%zu: %s", word.line, word.column, reason.c_str()));
}

template <class Row, size_t N>
const Row* row_find(const Row (&rows)[N], std::string_view name) {
    const auto found = std::find_if(std::begin(rows), std::end(rows),
                                    [&](const Row& r) { return name == r.name; });
    return found == std::end(rows) ? nullptr : found;
}

template <class Row, size_t N>
std::string nearest(const Row (&rows)[N], std::string_view name) {
    std::vector<std::string_view> names;
    for (const Row& row : rows) {
        names.emplace_back(row.name);
    }
    return std::string(nearest_name(name, names));
}

Result<uint32_t> small(std::string_view value, int64_t most) {
    return static_cast<uint32_t>(TRY(number_word(value, 0, most)));
}

// What follows the first letters that tell the keys apart; every key is known here.
Result<void> value_set(Fault& fault, std::string_view key, std::string_view value) {
    if (key == "host") {
        fault.host = TRY(small(value, UINT32_MAX));
    } else if (key == "process") {
        fault.process = TRY(small(value, 254));
    } else if (key == "nic") {
        fault.nic = TRY(small(value, 63));
    } else if (key == "from") {
        fault.from = TRY(small(value, UINT32_MAX));
    } else if (key == "to") {
        fault.to = TRY(small(value, UINT32_MAX));
    } else if (key == "at") {
        fault.at = TRY(time_word(value));
    } else if (key == "for") {
        fault.lasts = TRY(time_word(value));
    } else if (key == "delay") {
        fault.delay = TRY(time_word(value));
    } else if (key == "after") {
        fault.after = static_cast<uint64_t>(TRY(number_word(value, 1, INT64_MAX)));
    } else if (key == "rate" && fault.kind == FaultKind::slow) {
        fault.rate = TRY(rate_word(value));
    } else if (key == "rate") {
        fault.rate_ppm = TRY(chance_word(value));
    } else {
        fault.count = static_cast<uint64_t>(TRY(number_word(value, 0, INT64_MAX)));
    }
    return {};
}

Result<unsigned> word_apply(Fault& fault, const KindRow& kind, const Word& word) {
    const auto [key, value] = key_value(word.text);
    const KeyRow* row = row_find(keys, key);
    if (row == nullptr) {
        return at(word,
                  "'" + printable(key) + "' is unknown; the nearest key is " + nearest(keys, key));
    }
    unsigned given = row->key;
    if (given == key_chance && fault.kind == FaultKind::slow) {
        given = key_rate;
    }
    if ((given & ~kind.takes) != 0) {
        return at(word, format("%s takes no %s; leave it out", kind.name, row->name));
    }
    const Result<void> set = value_set(fault, key, value);
    if (!set.ok()) {
        return at(word, std::string(row->name) + "=" + set.error().what);
    }
    return given;
}

Result<Fault> item_parse(const std::vector<Word>& words) {
    const KindRow* kind = row_find(kinds, words[0].text);
    if (kind == nullptr) {
        return at(words[0], "fault '" + printable(words[0].text) +
                                "' is unknown; the nearest one is " +
                                nearest(kinds, words[0].text));
    }
    Fault fault;
    fault.kind = kind->kind;
    fault.count = kind->kind == FaultKind::stale ? 1 : 0;
    unsigned given = 0;
    for (size_t i = 1; i < words.size(); ++i) {
        given |= TRY(word_apply(fault, *kind, words[i]));
    }
    const unsigned missing = kind->needs & ~given;
    for (const KeyRow& row : keys) {
        const bool rate = (missing & key_rate) != 0 && row.key == key_chance;
        if ((row.key & missing) != 0 || rate) {
            return at(words[0], format("%s needs %s=; add it", kind->name, row.name));
        }
    }
    if (fault.after != 0 && (fault.at != 0 || fault.lasts >= 0)) {
        return at(words[0], "after= stands alone; leave at= and for= out");
    }
    return fault;
}

}  // namespace

Result<Faults> faults_parse(std::string_view text) {
    Faults faults;
    std::vector<Word> words;
    size_t line = 1;
    size_t begin = 0;  // of the line
    size_t i = 0;
    for (;;) {
        const char c = i < text.size() ? text[i] : '\n';
        if (c == '#') {
            i = std::min(text.find('\n', i), text.size());
            continue;
        }
        if (c == ';' || c == '\n') {
            if (!words.empty()) {
                faults.push_back(TRY(item_parse(words)));
                words.clear();
            }
            if (i >= text.size()) {
                return faults;
            }
            line += c == '\n' ? 1 : 0;
            begin = c == '\n' ? i + 1 : begin;
            ++i;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            ++i;
        } else {
            const size_t end = std::min(text.find_first_of(" \t\r\n;#", i), text.size());
            words.push_back({text.substr(i, end - i), line, i - begin + 1});
            i = end;
        }
    }
}

namespace {

bool in_time(const Fault& fault, FaultPlan::Moment now) {
    if (fault.after != 0) {
        return now.sent >= fault.after;
    }
    return now.age >= fault.at && (fault.lasts < 0 || now.age - fault.at < fault.lasts);
}

bool on_nic(const Fault& fault, uint32_t nic) {
    return !fault.nic || *fault.nic == nic;
}

}  // namespace

FaultPlan::FaultPlan(const Faults& faults, uint32_t host, uint32_t process) {
    for (const Fault& fault : faults) {
        const bool here = (!fault.host || *fault.host == host) &&
                          (!fault.process || *fault.process == process) &&
                          (!fault.from || *fault.from == host);
        if (here) {
            mine_.push_back(fault);
        }
    }
}

// The last word in the script that applies counts, so a rail may go down and up as often as wanted.
bool FaultPlan::rail_down(uint32_t nic, Moment now) const {
    bool down = false;
    for (const Fault& fault : mine_) {
        if (on_nic(fault, nic) && in_time(fault, now)) {
            down = fault.kind == FaultKind::rail_down || (down && fault.kind != FaultKind::rail_up);
        }
    }
    return down;
}

uint32_t FaultPlan::loss_ppm(uint32_t nic, uint32_t to_host, Moment now) const {
    uint32_t ppm = 0;
    for (const Fault& fault : mine_) {
        const bool there = !fault.to || *fault.to == to_host;
        if (fault.kind == FaultKind::loss && on_nic(fault, nic) && there && in_time(fault, now)) {
            ppm = std::max(ppm, fault.rate_ppm);
        }
    }
    return ppm;
}

int64_t FaultPlan::rate(uint32_t nic, int64_t configured, Moment now) const {
    int64_t rate = configured;
    for (const Fault& fault : mine_) {
        if (fault.kind == FaultKind::slow && on_nic(fault, nic) && in_time(fault, now)) {
            rate = fault.rate;
        }
    }
    return rate;
}

bool FaultPlan::dies(Moment now) const {
    return std::any_of(mine_.begin(), mine_.end(), [&](const Fault& fault) {
        return fault.kind == FaultKind::die && in_time(fault, now);
    });
}

const Fault* FaultPlan::stale(uint32_t nic) const {
    for (const Fault& fault : mine_) {
        if (fault.kind == FaultKind::stale && on_nic(fault, nic)) {
            return &fault;
        }
    }
    return nullptr;
}

uint64_t FaultPlan::limit(FaultKind kind, uint32_t nic, uint64_t usual) const {
    uint64_t least = usual;
    for (const Fault& fault : mine_) {
        if (fault.kind == kind && on_nic(fault, nic)) {
            least = std::min(least, fault.count);
        }
    }
    return least;
}

std::optional<Nanos> FaultPlan::next(Nanos age) const {
    std::optional<Nanos> first;
    for (const Fault& fault : mine_) {
        if (fault.after == 0 && fault.at > age && (!first || fault.at < *first)) {
            first = fault.at;
        }
    }
    return first;
}

}  // namespace weft::efa
