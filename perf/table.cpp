#include "perf/table.h"

#include <algorithm>
#include <cstdio>

namespace weft::perf {
namespace {

template <class... Args>
std::string text(const char* format, Args... args) {
    char line[512];
    const int length = std::snprintf(line, sizeof(line), format, args...);
    return std::string(line, std::min(static_cast<size_t>(length), sizeof(line) - 1));
}

// At most `width` characters, with as many decimals (two at most) as fit.
std::string number_fit(double value, int width) {
    std::string fit;
    for (int decimals = 2; decimals >= 0; --decimals) {
        fit = text("%.*f", decimals, value);
        if (fit.size() <= static_cast<size_t>(width)) {
            break;
        }
    }
    return fit;
}

std::string timing_columns(Collective collective, int rank_count, const Row& row,
                           const std::optional<Timing>& timing) {
    if (!timing) {
        return text("  %7s  %6s  %6s  %6s", "N/A", "N/A", "N/A", "N/A");
    }
    const Bandwidth rate = bandwidth(collective, rank_count, row.bytes, timing->time_us);
    const std::string wrong =
        timing->wrong ? text("%lld", static_cast<long long>(*timing->wrong)) : "N/A";
    return text("  %7s  %6s  %6s  %6s", number_fit(timing->time_us, 7).c_str(),
                number_fit(rate.algorithm_gbs, 6).c_str(), number_fit(rate.bus_gbs, 6).c_str(),
                wrong.c_str());
}

double bus_average(Collective collective, int rank_count, const std::vector<Row>& rows) {
    double sum = 0;
    int count = 0;
    for (const Row& row : rows) {
        sum += bandwidth(collective, rank_count, row.bytes, row.out_of_place.time_us).bus_gbs;
        ++count;
        if (row.in_place) {
            sum += bandwidth(collective, rank_count, row.bytes, row.in_place->time_us).bus_gbs;
            ++count;
        }
    }
    return count > 0 ? sum / count : 0;
}

int64_t wrong_of(const Row& row) {
    return row.out_of_place.wrong.value_or(0) +
           (row.in_place ? row.in_place->wrong.value_or(0) : 0);
}

}  // namespace

Bandwidth bandwidth(Collective collective, int rank_count, size_t bytes, double time_us) {
    if (time_us <= 0) {
        return {0, 0};
    }
    const double rate = static_cast<double>(bytes) / time_us / 1e3;
    const double n = rank_count;
    switch (collective) {
        case Collective::all_reduce:
            return {rate, rate * 2 * (n - 1) / n};
        case Collective::all_gather:
        case Collective::reduce_scatter:
        case Collective::all_to_all:
        case Collective::gather:
        case Collective::scatter:
            return {rate, rate * (n - 1) / n};
        case Collective::broadcast:
        case Collective::reduce:
        case Collective::send_recv:
            break;
    }
    return {rate, rate};
}

std::string table_header(const Options& options, int rank_count, bool registered) {
    std::string out = text("# Collective test starting: %s\n", collective_name(options.collective));
    const std::string step = options.step_factor > 0 ? text("%g(factor)", options.step_factor)
                                                     : text("%zu(bytes)", options.step_bytes);
    out += text(
        "# ranks %d nThread %d minBytes %zu maxBytes %zu step: %s warmup iters: %d iters: %d"
        " validation: %d memory: %s\n",
        rank_count, options.threads, options.bytes_min, options.bytes_max, step.c_str(),
        options.warmups, options.iterations, options.checks,
        options.memory == Memory::library  ? "lib"
        : options.memory == Memory::device ? "device"
                                           : "malloc");
    if (options.local_register != LocalRegister::none) {
        const bool windows = options.local_register == LocalRegister::windows;
        out += text("# %s: %s\n", windows ? "windows" : "registered", registered ? "yes" : "no");
    }
    out += "#\n";
    out += text("# %10s  %12s  %8s  %6s  %6s  %31s  %31s\n", "", "", "", "", "",
                "out-of-place            ", "in-place              ");
    out += text("# %10s  %12s  %8s  %6s  %6s", "size", "count", "type", "redop", "root");
    for (int i = 0; i < 2; ++i) {
        out += text("  %7s  %6s  %6s  %6s", "time", "algbw", "busbw", "#wrong");
    }
    out += text("\n# %10s  %12s  %8s  %6s  %6s", "(B)", "(elements)", "", "", "");
    for (int i = 0; i < 2; ++i) {
        out += text("  %7s  %6s  %6s  %6s", "(us)", "(GB/s)", "(GB/s)", "");
    }
    return out + "\n";
}

std::string table_row(Collective collective, int rank_count, const Row& row) {
    return text("%12zu  %12zu  %8s  %6s  %6d", row.bytes, row.count, type_name(row.type),
                op_name(row.op), row.root) +
           timing_columns(collective, rank_count, row, row.out_of_place) +
           timing_columns(collective, rank_count, row, row.in_place) + "\n";
}

std::string table_footer(Collective collective, int rank_count, const std::vector<Row>& rows) {
    const int64_t wrong = wrong_total(rows);
    return text("# Out of bounds values : %lld %s\n", static_cast<long long>(wrong),
                wrong == 0 ? "OK" : "FAILED") +
           text("# Avg bus bandwidth    : %g\n#\n", bus_average(collective, rank_count, rows)) +
           text("# Collective test concluded: %s\n", collective_name(collective));
}

std::string rows_json(Collective collective, int rank_count, int host_count,
                      const std::vector<Row>& rows) {
    std::string out = text("{\"op\": \"%s\", \"ranks\": %d, \"hosts\": %d, \"rows\": [",
                           collective_name(collective), rank_count, host_count);
    const char* separator = "\n  ";
    for (const Row& row : rows) {
        const Bandwidth rate =
            bandwidth(collective, rank_count, row.bytes, row.out_of_place.time_us);
        const bool checked = row.out_of_place.wrong.has_value();
        const std::string wrong =
            checked ? text("%lld", static_cast<long long>(wrong_of(row))) : "null";
        out += text(
            "%s{\"bytes\": %zu, \"count\": %zu, \"type\": \"%s\", \"redop\": \"%s\", "
            "\"time_us\": %.3f, \"algbw_gbs\": %.4f, \"busbw_gbs\": %.4f, \"wrong\": %s}",
            separator, row.bytes, row.count, type_name(row.type), op_name(row.op),
            row.out_of_place.time_us, rate.algorithm_gbs, rate.bus_gbs, wrong.c_str());
        separator = ",\n  ";
    }
    return out + "\n]}\n";
}

int64_t wrong_total(const std::vector<Row>& rows) {
    int64_t total = 0;
    for (const Row& row : rows) {
        total += wrong_of(row);
    }
    return total;
}

}  // namespace weft::perf
