// NCCL's model, and how well it fits rows of nccl-tests where a folder of data lies beside the
// tree.
#include "src/sim/nccl.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "src/sim/from_cluster.h"
#include "tests/catch.h"
#include "topology/profiles.h"

namespace weft::sim {

namespace {

struct Row {
    NcclCall call;
    int32_t hosts = 2;
    double us = 0;
};

Network p5(int32_t hosts) {
    const topology::Profile* profile = topology::profile_find("p5.48xlarge").value();
    return network_of(topology::profile_cluster(*profile, hosts).value()).value().network;
}

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
        row.hosts = static_cast<int32_t>(fields[0]);
        row.call = {coll, static_cast<uint64_t>(fields[2]) << 20};
        row.us = static_cast<double>(row.call.bytes) / fields[5] / 1000;
        rows.push_back(row);
    }
    return rows;
}

double model_error(const std::vector<Row>& rows) {
    double sum = 0;
    for (const Row& row : rows) {
        sum += std::abs(nccl_tuned(p5(row.hosts), row.call).value().time_ns / 1000 / row.us - 1);
    }
    return sum / static_cast<double>(rows.size());
}

// a + b * hosts + bytes / c, least squares of the relative error.
double plain_error(const std::vector<Row>& rows) {
    std::array<std::array<double, 4>, 3> m{};
    const auto terms = [](const Row& row) {
        return std::array<double, 3>{1 / row.us, row.hosts / row.us,
                                     static_cast<double>(row.call.bytes) / row.us};
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
    CHECK(model_error(gather) < 0.045);
    CHECK(model_error(reduce) < 0.085);
}

namespace {

double us(int32_t hosts, Coll coll, uint64_t bytes, plan::NcclAlgo algo) {
    return nccl_simulate(p5(hosts), {coll, bytes}, algo).value().time_ns / 1000;
}

}  // namespace

TEST_CASE("a host more costs a ring seven hops inside and one between hosts") {
    const NcclConstants constants;
    const double hops = 7 * constants.nvlink_hop_us + constants.network_us;
    const auto gather = [&](int32_t hosts) {
        return us(hosts, Coll::all_gather, static_cast<uint64_t>(hosts) * 8 * 1024,
                  plan::NcclAlgo::ring);
    };
    CHECK(gather(9) - gather(8) == Approx(hops).epsilon(0.02));
    CHECK(gather(65) - gather(64) == Approx(hops).epsilon(0.02));
}

TEST_CASE("4,096 ranks of a ring are folded to one host's") {
    const NcclTime time =
        nccl_simulate(p5(512), {Coll::all_gather, 32 << 20}, plan::NcclAlgo::ring).value();
    CHECK(time.folding.find("folded: 8 of 4096") == 0);
    // 511 of 512 hosts' bytes enter a host, over 32 NICs.
    CHECK(time.bytes_per_nic == Approx((32 << 20) / 32.0).epsilon(0.01));
    CHECK(time.time_ns / 1000 > 4095 * 9.5);
}

TEST_CASE("larger blocks wait for credit, and all_reduce returns from tree to ring") {
    const NcclConstants constants;
    const auto block = [&](uint64_t bytes) {
        return us(2, Coll::all_gather, 16 * bytes, plan::NcclAlgo::ring);
    };
    CHECK(block((8 << 20) + (64 << 10)) - block(8 << 20) > 12 * constants.credit_us);
    const auto tuned = [&](int32_t hosts, uint64_t bytes_of_block) {
        const NcclCall call{Coll::all_reduce, bytes_of_block * static_cast<uint64_t>(hosts) * 8};
        return nccl_tuned(p5(hosts), call).value().algo;
    };
    CHECK(tuned(4, 4 << 20) == plan::NcclAlgo::ring);
    CHECK(tuned(4, 16 << 20) == plan::NcclAlgo::tree);
    CHECK(tuned(4, 64 << 20) == plan::NcclAlgo::ring);
    CHECK(tuned(2, 64 << 20) == plan::NcclAlgo::tree);
}

TEST_CASE("no tree takes less than its least") {
    for (const int32_t hosts : {2, 8, 32}) {
        for (const uint64_t mib : {1, 32, 256}) {
            const NcclCall call{Coll::all_reduce, mib << 20};
            CAPTURE(hosts, mib);
            const double least = nccl_tree_least_ns(p5(hosts), call) / 1000;
            const double run = us(hosts, call.coll, call.bytes, plan::NcclAlgo::tree);
            CHECK(least < run);
            CHECK(least > run / 4);
        }
    }
}

TEST_CASE("PAT only where a host has one GPU, and there in logarithmic time") {
    Network network = p5(64);
    network.ranks_per_host = 1;
    network.rails.resize(4);
    const NcclCall call{Coll::all_gather, 1 << 20};
    CHECK(nccl_algos(p5(64), Coll::all_gather).size() == 1);
    CHECK(nccl_algos(p5(64), Coll::all_reduce).size() == 2);
    REQUIRE(nccl_algos(network, Coll::all_gather).size() == 2);
    const double pat = nccl_simulate(network, call, plan::NcclAlgo::pat).value().time_ns;
    CHECK(pat * 3 < nccl_simulate(network, call, plan::NcclAlgo::ring).value().time_ns);
    CHECK_FALSE(nccl_simulate(p5(2), call, plan::NcclAlgo::pat).ok());
}

}  // namespace weft::sim
