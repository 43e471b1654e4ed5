#include "src/tune/table.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <iterator>

#include "src/base/log.h"
#include "topology/units.h"

namespace weft::tune {

namespace {

constexpr const char* first_line = "weft-table 1";
constexpr int64_t value_max = 1'000'000'000'000'000;
constexpr int64_t fs_per_s = 1'000'000'000'000'000;

struct Field {
    const char* name;
    const char* unit;
    int64_t LevelCosts::*member;
};
constexpr Field fields[] = {
    {"latency", "ns", &LevelCosts::latency_ns},
    {"post", "ns", &LevelCosts::post_ns},
    {"completion", "ns", &LevelCosts::completion_ns},
    {"gap", "ns", &LevelCosts::gap_ns},
    {"byte", "fs", &LevelCosts::byte_fs},
    {"reduce", "fs", &LevelCosts::reduce_byte_fs},
    {"copy", "fs", &LevelCosts::copy_byte_fs},
    {"header", "", &LevelCosts::header_bytes},
    {"control", "", &LevelCosts::control_bytes},
};

// Shared memory of one machine: an 8-byte hop of 0.6 us with two ranks on two cores, copies at 7 to
// 12 GB/s (docs/MEASUREMENTS.md; triad and copy rates beside it).
constexpr LevelCosts shared_memory = {300, 100, 150, 0, 150'000, 150'000, 100'000, 32, 96};
// tcp;ofi_rxm between network namespaces of that machine: 4 to 5 us from put to signal, 8 to 10
// where the reader sleeps; about 1 GB/s into a host without shaping.
constexpr LevelCosts sockets = {8'000, 1'500, 1'000, 0, 1'000'000, 150'000, 100'000, 32, 96};
// What the simulator assumes of GPUs, too (docs/SCALE.md): a message over NVLink takes 2 us and
// costs no thread, because a kernel moves it.
constexpr LevelCosts nvlink = {2'000, 0, 0, 20, 2'222, 2'000, 1'000, 32, 96};
// EFA: 20 us is AWS's own constant for p5, a post of 0.4 us an assumption (docs/SIMULATOR.md).
constexpr LevelCosts efa = {20'000, 400, 100, 100, 80'000, 2'000, 1'000, 32, 96};

// Raw RDMA between two p5: 0.42 of the aligned rate at 64 KiB, 0.46 at 4 MiB (docs/SIMULATOR.md).
constexpr int32_t efa_cross = 45;

Error wrong(std::string_view text, const char* why) {
    constexpr size_t most = 80;
    text = text.substr(0, most);
    return make_error(
        Code::invalid_argument, Scope::call,
        format("cost table: \"%.*s\" %s", static_cast<int>(text.size()), text.data(), why));
}

std::string level_text(const LevelCosts& costs) {
    std::string text;
    for (const Field& field : fields) {
        text += format(" %s=%lld%s", field.name, static_cast<long long>(costs.*field.member),
                       field.unit);
    }
    return text;
}

std::string_view next_word(std::string_view& rest, char mark) {
    const std::string_view word = rest.substr(0, rest.find(mark));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    return word;
}

// "name=NUMBERunit", exactly.
Result<int64_t> value_parse(std::string_view word, std::string_view name, std::string_view unit) {
    const bool named = word.substr(0, name.size()) == name && word.size() > name.size() &&
                       word[name.size()] == '=';
    int64_t value = -1;
    if (named) {
        const char* const begin = word.data() + name.size() + 1;
        const char* const end = word.data() + word.size();
        const auto read = std::from_chars(begin, end, value);
        const bool whole = read.ec == std::errc{} &&
                           std::string_view(read.ptr, static_cast<size_t>(end - read.ptr)) == unit;
        value = whole ? value : -1;
    }
    if (value < 0 || value > value_max) {
        return wrong(word, "is not what a table has there: names, units and order are fixed");
    }
    return value;
}

Result<LevelCosts> level_parse(std::string_view line, std::string_view name) {
    LevelCosts costs;
    if (next_word(line, ' ') != name) {
        return wrong(line, "stands where a level was expected: inside, then between");
    }
    for (const Field& field : fields) {
        costs.*field.member = TRY(value_parse(next_word(line, ' '), field.name, field.unit));
    }
    if (!line.empty()) {
        return wrong(line, "follows the last value of a level");
    }
    return costs;
}

// The slowest known one, 0 if none is known.
int64_t slower(int64_t known, int64_t rate) {
    return rate <= 0 ? known : known <= 0 ? rate : std::min(known, rate);
}

struct Known {
    int64_t rail_rate = 0, local_rate = 0, rail_latency = 0, local_latency = 0;
    int32_t rails = 0, own_rails = 0;  // the fewest
};

Known known_of(const topology::Cluster& cluster) {
    Known known;
    for (const topology::Host& host : cluster.shapes) {
        for (const int64_t rate : host.rail_rates) {
            known.rail_rate = slower(known.rail_rate, rate);
        }
        known.local_rate = slower(known.local_rate, host.local_rate);
        known.rail_latency = std::max(known.rail_latency, host.rail_latency_ns);
        known.local_latency = std::max(known.local_latency, host.local_latency_ns);
        const auto fewer = [](int32_t& least, size_t count) {
            least = least == 0 ? static_cast<int32_t>(count)
                               : std::min(least, static_cast<int32_t>(count));
        };
        fewer(known.rails, host.rail_rates.size());
        for (const auto& rails : host.rank_rails) {
            fewer(known.own_rails, rails.size());
        }
    }
    return known;
}

void note(std::string& list, const char* what, bool is_known) {
    if (!is_known) {
        list += list.empty() ? "" : ", ";
        list += what;
    }
}

}  // namespace

Level LevelCosts::level() const {
    constexpr double fs_per_ns = 1e6;
    Level level;
    level.latency_ns = static_cast<double>(latency_ns);
    level.post_ns = static_cast<double>(post_ns);
    level.completion_ns = static_cast<double>(completion_ns);
    level.gap_ns = static_cast<double>(gap_ns);
    level.ns_per_byte = static_cast<double>(byte_fs) / fs_per_ns;
    level.reduce_ns_per_byte = static_cast<double>(reduce_byte_fs) / fs_per_ns;
    level.copy_ns_per_byte = static_cast<double>(copy_byte_fs) / fs_per_ns;
    level.header_bytes = static_cast<double>(header_bytes);
    level.control_bytes = static_cast<double>(control_bytes);
    return level;
}

Table table_defaults(Defaults which) {
    Table table;
    const bool gpu = which == Defaults::gpu;
    table.inside = gpu ? nvlink : shared_memory;
    table.between = gpu ? efa : sockets;
    table.cross = gpu ? efa_cross : 100;
    table.source = gpu ? "defaults of GPUs on EFA" : "defaults of host memory and sockets";
    return table;
}

Table table_of(const topology::Cluster& cluster, int32_t turns) {
    const Known known = known_of(cluster);
    const Defaults which = known.local_rate > 0 ? Defaults::gpu : Defaults::host_memory;
    Table table = table_defaults(which);
    const auto take = [](int64_t& value, int64_t of) { value = of > 0 ? of : value; };
    take(table.between.byte_fs, known.rail_rate > 0 ? fs_per_s / known.rail_rate : 0);
    take(table.inside.byte_fs, known.local_rate > 0 ? fs_per_s / known.local_rate : 0);
    take(table.between.latency_ns, known.rail_latency);
    take(table.inside.latency_ns, known.local_latency);
    table.rails = std::max(known.rails, 1);
    table.own_rails = std::max(known.own_rails, 1);
    table.turns = std::max(turns, 1);
    std::string missing;
    note(missing, "the rails' rate", known.rail_rate > 0 || cluster.host_count() == 1);
    note(missing, "the rails' latency", known.rail_latency > 0 || cluster.host_count() == 1);
    note(missing, "the rate inside", known.local_rate > 0);
    note(missing, "the latency inside", known.local_latency > 0);
    table.source = missing.empty() ? "the cluster"
                                   : format("the cluster, but %s by %s", missing.c_str(),
                                            table_defaults(which).source.c_str());
    return table;
}

std::string table_text(const Table& table) {
    return format("%s\ninside%s\nbetween%s\nrails=%d own=%d cross=%d turns=%d from=%s\n",
                  first_line, level_text(table.inside).c_str(), level_text(table.between).c_str(),
                  table.rails, table.own_rails, table.cross, table.turns, table.source.c_str());
}

Result<Table> table_parse(std::string_view text) {
    Table table;
    if (const std::string_view line = next_word(text, '\n'); line != first_line) {
        return wrong(line, "is not the first line of a table of this version");
    }
    table.inside = TRY(level_parse(next_word(text, '\n'), "inside"));
    table.between = TRY(level_parse(next_word(text, '\n'), "between"));
    std::string_view line = next_word(text, '\n');
    const auto number = [&](std::string_view name, int32_t& to) -> Result<void> {
        const int64_t value = TRY(value_parse(next_word(line, ' '), name, ""));
        to = static_cast<int32_t>(std::min<int64_t>(value, INT32_MAX));
        return {};
    };
    TRY(number("rails", table.rails));
    TRY(number("own", table.own_rails));
    TRY(number("cross", table.cross));
    TRY(number("turns", table.turns));
    constexpr std::string_view from = "from=";
    if (line.substr(0, from.size()) != from || !text.empty() || table.rails < 1 ||
        table.own_rails < 1 || table.cross < 1 || table.turns < 1) {
        return wrong(line, "ends no table: rails=N own=N cross=N turns=N from=TEXT does");
    }
    table.source = line.substr(from.size());
    return table;
}

Digest table_hash(const Table& table) {
    return sha256(table_text(table));
}

// The grid begins anew with every power of two: fourth roots of two in 16-bit fractions.
int64_t quantised(int64_t value) {
    if (value <= 0) {
        return 0;
    }
    constexpr uint64_t root[] = {65536, 77936, 92682, 110218, 131072};
    int shift = 0;
    while (static_cast<uint64_t>(value) >> shift >= 2) {
        shift++;
    }
    int64_t best = 0;
    for (const uint64_t factor : root) {
        const auto point =
            static_cast<int64_t>(((static_cast<__uint128_t>(factor) << shift) + 32768) >> 16);
        if (best == 0 || std::abs(point - value) < std::abs(best - value)) {
            best = point;
        }
    }
    return best;
}

Result<Measured> measured_of(std::vector<Sample> samples) {
    std::sort(samples.begin(), samples.end(), [](const Sample& a, const Sample& b) {
        return a.bytes != b.bytes ? a.bytes < b.bytes : a.ns < b.ns;
    });
    std::vector<Sample> medians;
    for (size_t begin = 0; begin < samples.size();) {
        size_t end = begin;
        while (end < samples.size() && samples[end].bytes == samples[begin].bytes) {
            end++;
        }
        medians.push_back(samples[(begin + end - 1) / 2]);
        begin = end;
    }
    if (medians.size() < 2) {
        return make_error(Code::invalid_argument, Scope::communicator,
                          "the probe measured fewer than two sizes: nothing to fit");
    }
    // Large messages are granted first; between two of them that is the same and falls out.
    const Sample& small = medians.size() > 2 ? medians[1] : medians.front();
    const Sample& large = medians.back();
    const int64_t slope_fs =
        static_cast<int64_t>(static_cast<__int128_t>(std::max<int64_t>(large.ns - small.ns, 1)) *
                             1'000'000 / static_cast<int64_t>(large.bytes - small.bytes));
    return Measured{quantised(std::max<int64_t>(medians.front().ns, 1)),
                    quantised(std::max<int64_t>(slope_fs, 1))};
}

// What was measured is a whole hop: the thread's part of it stays as it is in the table, the rest
// is latency.
void table_measured(Table& table, const Measured* inside, const Measured* between) {
    const auto apply = [](LevelCosts& costs, const Measured& measured) {
        const int64_t work = costs.post_ns + costs.completion_ns;
        if (measured.latency_ns > 2 * work) {
            costs.latency_ns = measured.latency_ns - work;
        } else {
            // A faster thread than the default's: half of the hop is its.
            costs.latency_ns = measured.latency_ns / 2;
            costs.post_ns = costs.completion_ns = measured.latency_ns / 4;
        }
        costs.byte_fs = measured.byte_fs;
    };
    if (inside != nullptr) {
        apply(table.inside, *inside);
    }
    if (between != nullptr) {
        apply(table.between, *between);
    }
    if (inside != nullptr || between != nullptr) {
        table.turns = 1;  // who shares a core shared it then, too
        table.source = "the probe";
    }
}

}  // namespace weft::tune
