// What weft-perf prints: the table of nccl-tests, and the same rows as JSON.
// Thread rule: values, reentrant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "perf/options.h"

namespace weft::perf {

struct Timing {
    double time_us = 0;
    std::optional<int64_t> wrong;  // elements; none: not checked
};

struct Row {
    size_t bytes = 0;  // the larger of what a rank sends and receives
    size_t count = 0;  // as given to the call
    Type type = Type::f32;
    Op op = Op::none;
    int root = -1;
    Timing out_of_place;
    std::optional<Timing> in_place;  // none: the collective has no such form
};

struct Bandwidth {
    double algorithm_gbs;
    double bus_gbs;
};
Bandwidth bandwidth(Collective collective, int rank_count, size_t bytes, double time_us);

// `registered`: what the options ask for came about.
std::string table_header(const Options& options, int rank_count, bool registered);
std::string table_row(Collective collective, int rank_count, const Row& row);
std::string table_footer(Collective collective, int rank_count, const std::vector<Row>& rows);
std::string rows_json(Collective collective, int rank_count, int host_count,
                      const std::vector<Row>& rows);

// Wrong elements in all checked runs of all rows.
int64_t wrong_total(const std::vector<Row>& rows);

}  // namespace weft::perf
