// NCCL's model, and how well it fits rows of nccl-tests where a folder of data lies beside the
// tree.
#include "src/tune/nccl.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace weft::tune {

namespace {

struct Row {
    NcclAsk ask;
    double us = 0;
};

// Nodes, GPUs, MiB, iterations, blocking, algorithm bandwidth in GB/s, ...
std::vector<Row> rows_read(const std::string& name, Coll coll) {
    const char* source = std::getenv("WEFT_TEST_SOURCE");
    std::ifstream file(std::string(source != nullptr ? source : ".") + "/../shared/data/p5-nccl/" +
                       name);
    std::vector<Row> rows;
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
        std::vector<double> fields;
        std::istringstream cells(line);
        for (std::string cell; std::getline(cells, cell, ',');) {
            fields.push_back(std::atof(cell.c_str()));
        }
        if (fields.size() < 6) {
            continue;
        }
        Row row;
        row.ask = {coll, static_cast<int32_t>(fields[0]),
                   static_cast<int32_t>(fields[1] / fields[0]), fields[2] * (1 << 20)};
        row.us = row.ask.bytes / fields[5] / 1000;
        rows.push_back(row);
    }
    return rows;
}

double model_error(const std::vector<Row>& rows) {
    double sum = 0;
    for (const Row& row : rows) {
        sum += std::abs(nccl_us(NcclConstants{}, row.ask).value() / row.us - 1);
    }
    return sum / static_cast<double>(rows.size());
}

// a + b * hosts + bytes / c, least squares of the relative error.
double plain_error(const std::vector<Row>& rows) {
    std::array<std::array<double, 4>, 3> m{};
    const auto terms = [](const Row& row) {
        return std::array<double, 3>{1 / row.us, row.ask.hosts / row.us, row.ask.bytes / row.us};
    };
    for (const Row& row : rows) {
        const auto x = terms(row);
        for (size_t i = 0; i < 3; i++) {
            for (size_t j = 0; j < 3; j++) {
                m[i][j] += x[i] * x[j];
            }
            m[i][3] += x[i];
        }
    }
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++) {
            const double by = m[k][i] / m[i][i];
            for (size_t j = 0; k != i && j < 4; j++) {
                m[k][j] -= by * m[i][j];
            }
        }
    }
    double sum = 0;
    for (const Row& row : rows) {
        const auto x = terms(row);
        double fit = 0;
        for (size_t i = 0; i < 3; i++) {
            fit += m[i][3] / m[i][i] * x[i];
        }
        sum += std::abs(fit - 1);
    }
    return sum / static_cast<double>(rows.size());
}

}  // namespace

// A test of its own in Meson, so that missing data shows as SKIP.
TEST_CASE("the model fits measured all_gather and all_reduce better than a plain line", "[.p5]") {
    static_assert(sizeof(NcclConstants) == nccl_constant_count * sizeof(double));
    static_assert(nccl_constant_count <= 8);
    const auto gather = rows_read("nccl_all_gather.csv", Coll::all_gather);
    const auto reduce = rows_read("nccl_all_reduce.csv", Coll::all_reduce);
    if (gather.empty() || reduce.empty()) {
        std::puts("skipped: no ../shared/data/p5-nccl beside the source tree");
        std::exit(77);
    }
    INFO("mean errors: all_gather " << model_error(gather) << " against " << plain_error(gather)
                                    << ", all_reduce " << model_error(reduce) << " against "
                                    << plain_error(reduce));
    CHECK(model_error(gather) < plain_error(gather));
    CHECK(model_error(reduce) < plain_error(reduce));
    CHECK(model_error(gather) < 0.04);
    CHECK(model_error(reduce) < 0.05);
}

TEST_CASE("a host more costs a ring eight hops") {
    const NcclConstants constants;
    const auto gather = [&](int32_t hosts) {
        return nccl_us(constants, {Coll::all_gather, hosts, 8, 0}).value();
    };
    CHECK(gather(9) - gather(8) == Approx(8 * constants.hop_all_gather_us));
    CHECK(gather(2) == Approx(15 * constants.hop_all_gather_us));
}

TEST_CASE("all_reduce goes from the low-latency tree over the ring to tree and ring again") {
    const NcclConstants c;
    const auto ask = [](double mib) { return NcclAsk{Coll::all_reduce, 8, 8, mib * (1 << 20)}; };
    CHECK(nccl_us(c, ask(1)).value() == nccl_tree_us(c, ask(1), true));
    CHECK(nccl_us(c, ask(256)).value() == nccl_ring_us(c, ask(256)));
    CHECK(nccl_us(c, ask(1024)).value() == nccl_tree_us(c, ask(1024), false));
    CHECK(nccl_us(c, ask(8192)).value() == nccl_ring_us(c, ask(8192)));
    NcclAsk two = ask(8192);
    two.hosts = 2;
    CHECK(nccl_us(c, two).value() == nccl_tree_us(c, two, false));
}

TEST_CASE("PAT only where a host has one GPU, and only where it wins") {
    const NcclConstants c;
    NcclAsk ask{Coll::all_gather, 64, 1, 1 << 20};
    CHECK(nccl_us(c, ask).value() == nccl_pat_us(c, ask));
    CHECK(nccl_pat_us(c, ask) < nccl_ring_us(c, ask));
    ask.bytes = 8e9;
    CHECK(nccl_us(c, ask).value() == nccl_ring_us(c, ask));
    ask = {Coll::all_gather, 8, 8, 1 << 20};
    CHECK(nccl_us(c, ask).value() == nccl_ring_us(c, ask));
    CHECK_FALSE(nccl_us(c, {Coll::broadcast, 2, 8, 1}).ok());
    CHECK_FALSE(nccl_us(c, {Coll::all_gather, 1, 8, 1}).ok());
}

}  // namespace weft::tune
