// Every collective out of place and in its in-place form, counts of nothing, operators.
#include <vector>

#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

namespace {

constexpr int ranks = 4;
const size_t counts[] = {1, 7, 1000, 70'001};

// Element i of block b of rank r's input: small integers, whose float sums are exact.
float element(int rank, size_t block, size_t i) {
    return static_cast<float>((rank * 31 + static_cast<int>(block) * 7 + static_cast<int>(i)) % 13);
}

std::vector<float> blocks(int rank, size_t block_count, size_t count) {
    std::vector<float> data(block_count * count);
    for (size_t b = 0; b < block_count; b++) {
        for (size_t i = 0; i < count; i++) {
            data[b * count + i] = element(rank, b, i);
        }
    }
    return data;
}

float sum_of(size_t block, size_t i) {
    float sum = 0;
    for (int r = 0; r < ranks; r++) {
        sum += element(r, block, i);
    }
    return sum;
}

void each_count(const std::function<void(int, ncclComm_t, size_t)>& body) {
    ranks_run(ranks, [&](int rank, ncclComm_t comm) {
        for (const size_t count : counts) {
            body(rank, comm, count);
        }
    });
}

void expect(const float* got, size_t count, const std::function<float(size_t)>& want,
            const char* what) {
    for (size_t i = 0; i < count; i++) {
        must(got[i] == want(i), std::string(what) + ": element " + std::to_string(i) + " is " +
                                    std::to_string(got[i]) + " of " + std::to_string(count));
    }
}

}  // namespace

TEST_CASE("all_reduce") {
    each_count([](int rank, ncclComm_t comm, size_t n) {
        std::vector<float> in = blocks(rank, 1, n), out(n);
        const auto want = [](size_t i) { return sum_of(0, i); };
        must(ncclAllReduce(in.data(), out.data(), n, ncclFloat, ncclSum, comm, nullptr), "call");
        expect(out.data(), n, want, "out of place");
        // In place on some ranks only.
        float* into = rank % 2 == 0 ? in.data() : out.data();
        must(ncclAllReduce(in.data(), into, n, ncclFloat, ncclSum, comm, nullptr), "call");
        expect(into, n, want, "in place");
    });
}

TEST_CASE("reduce: recvbuff may be NULL off root") {
    each_count([](int rank, ncclComm_t comm, size_t n) {
        std::vector<float> in = blocks(rank, 1, n), out(n);
        const auto want = [](size_t i) { return sum_of(0, i); };
        float* into = rank == 1 ? out.data() : nullptr;
        must(ncclReduce(in.data(), into, n, ncclFloat, ncclSum, 1, comm, nullptr), "call");
        if (rank == 1) {
            expect(out.data(), n, want, "out of place");
        }
        must(ncclReduce(in.data(), in.data(), n, ncclFloat, ncclSum, 2, comm, nullptr), "call");
        if (rank == 2) {
            expect(in.data(), n, want, "in place");
        }
    });
}

TEST_CASE("broadcast: sendbuff is ignored off root") {
    each_count([](int rank, ncclComm_t comm, size_t n) {
        std::vector<float> in = blocks(rank, 1, n), out(n);
        const auto want = [](size_t i) { return element(3, 0, i); };
        const float* from = rank == 3 ? in.data() : nullptr;
        must(ncclBroadcast(from, out.data(), n, ncclFloat, 3, comm, nullptr), "call");
        expect(out.data(), n, want, "out of place");
        must(ncclBcast(in.data(), n, ncclFloat, 3, comm, nullptr), "ncclBcast");
        expect(in.data(), n, want, "in place");
    });
}

TEST_CASE("all_gather") {
    each_count([](int rank, ncclComm_t comm, size_t n) {
        std::vector<float> in = blocks(rank, 1, n), out(ranks * n);
        const auto want = [n](size_t i) { return element(static_cast<int>(i / n), 0, i % n); };
        must(ncclAllGather(in.data(), out.data(), n, ncclFloat, comm, nullptr), "call");
        expect(out.data(), ranks * n, want, "out of place");
        std::vector<float> both(ranks * n);
        float* mine = both.data() + static_cast<size_t>(rank) * n;
        std::copy(in.begin(), in.end(), mine);
        must(ncclAllGather(mine, both.data(), n, ncclFloat, comm, nullptr), "call");
        expect(both.data(), ranks * n, want, "in place");
    });
}

TEST_CASE("reduce_scatter") {
    each_count([](int rank, ncclComm_t comm, size_t n) {
        std::vector<float> in = blocks(rank, ranks, n), out(n);
        const auto want = [rank](size_t i) { return sum_of(static_cast<size_t>(rank), i); };
        must(ncclReduceScatter(in.data(), out.data(), n, ncclFloat, ncclSum, comm, nullptr),
             "call");
        expect(out.data(), n, want, "out of place");
        float* mine = in.data() + static_cast<size_t>(rank) * n;
        must(ncclReduceScatter(in.data(), mine, n, ncclFloat, ncclSum, comm, nullptr), "call");
        expect(mine, n, want, "in place");
    });
}

TEST_CASE("alltoall") {
    each_count([](int rank, ncclComm_t comm, size_t n) {
        std::vector<float> in = blocks(rank, ranks, n), out(ranks * n);
        must(ncclAlltoAll(in.data(), out.data(), n, ncclFloat, comm, nullptr), "call");
        expect(
            out.data(), ranks * n,
            [&](size_t i) {
                return element(static_cast<int>(i / n), static_cast<size_t>(rank), i % n);
            },
            "out of place");
    });
}

TEST_CASE("gather and scatter") {
    each_count([](int rank, ncclComm_t comm, size_t n) {
        constexpr int root = 2;
        std::vector<float> in = blocks(rank, 1, n), all(ranks * n);
        float* into = rank == root ? all.data() : nullptr;
        const auto gathered = [n](size_t i) { return element(static_cast<int>(i / n), 0, i % n); };
        must(ncclGather(in.data(), into, n, ncclFloat, root, comm, nullptr), "gather");
        if (rank == root) {
            expect(all.data(), ranks * n, gathered, "gather");
            std::fill(all.begin(), all.end(), -1.0F);
            std::copy(in.begin(), in.end(), all.begin() + root * static_cast<std::ptrdiff_t>(n));
        }
        const float* from = rank == root ? all.data() + root * n : in.data();
        must(ncclGather(from, into, n, ncclFloat, root, comm, nullptr), "gather in place");
        if (rank == root) {
            expect(all.data(), ranks * n, gathered, "gather in place");
        }
        std::vector<float> source = blocks(root, ranks, n), out(n);
        const auto scattered = [rank](size_t i) {
            return element(root, static_cast<size_t>(rank), i);
        };
        const float* send = rank == root ? source.data() : nullptr;
        must(ncclScatter(send, out.data(), n, ncclFloat, root, comm, nullptr), "scatter");
        expect(out.data(), n, scattered, "scatter");
        float* recv = rank == root ? source.data() + root * n : out.data();
        must(ncclScatter(send, recv, n, ncclFloat, root, comm, nullptr), "scatter in place");
        expect(recv, n, scattered, "scatter in place");
    });
}

TEST_CASE("a collective of nothing returns without the others") {
    ranks_run(2, [](int rank, ncclComm_t comm) {
        if (rank == 0) {
            must(ncclAllReduce(nullptr, nullptr, 0, ncclFloat, ncclSum, comm, nullptr), "call");
            must(ncclAlltoAll(nullptr, nullptr, 0, ncclFloat, comm, nullptr), "call");
        }
        sum_check(comm);
    });
}

TEST_CASE("average and premultiplied sum") {
    ranks_run(ranks, [](int rank, ncclComm_t comm) {
        float x = static_cast<float>(4 * rank), avg = 0;
        must(ncclAllReduce(&x, &avg, 1, ncclFloat, ncclAvg, comm, nullptr), "float average");
        must(avg == 6, "average is " + std::to_string(avg));
        int i = rank, whole = -1;
        must(ncclAllReduce(&i, &whole, 1, ncclInt, ncclAvg, comm, nullptr), "integer average");
        must(whole == 1, "integers are summed and then divided");

        float scalar = static_cast<float>(rank + 1);
        ncclRedOp_t op;
        must(ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat, ncclScalarHostImmediate, comm),
             "create");
        scalar = 100;  // read before the call returned
        float one = 1, sum = 0;
        must(ncclAllReduce(&one, &sum, 1, ncclFloat, op, comm, nullptr), "premulsum");
        must(ncclRedOpDestroy(op, comm), "destroy");
        must(sum == 10, "premulsum is " + std::to_string(sum));

        must(ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat, ncclScalarDevice, comm), "create");
        scalar = 2;  // read when the operation starts
        must(ncclAllReduce(&one, &sum, 1, ncclFloat, op, comm, nullptr), "premulsum");
        must(sum == 8, "premulsum is " + std::to_string(sum));
        must(ncclRedOpDestroy(op, comm), "destroy");
    });
}

TEST_CASE("one rank") {
    OneThread world(1);
    float in[3] = {1, 2, 3}, out[3] = {};
    REQUIRE(ncclAllReduce(in, out, 3, ncclFloat, ncclSum, world[0], nullptr) == ncclSuccess);
    CHECK(out[2] == 3);
    float scalar = 5;
    ncclRedOp_t op;
    REQUIRE(ncclRedOpCreatePreMulSum(&op, &scalar, ncclFloat, ncclScalarHostImmediate, world[0]) ==
            ncclSuccess);
    CHECK(ncclAllReduce(in, out, 3, ncclFloat, op, world[0], nullptr) == ncclSuccess);
    CHECK(out[2] == 15);
    CHECK(ncclAllReduce(in, out, 3, ncclFloat, ncclAvg, world[0], nullptr) == ncclSuccess);
    CHECK(out[1] == 2);
    CHECK(ncclAlltoAll(in, out, 3, ncclFloat, world[0], nullptr) == ncclSuccess);
    CHECK(out[0] == 1);
}
