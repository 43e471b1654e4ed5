// Split and shrink.
#include "tests/catch.h"
#include "tests/semantics/ranks.h"

using namespace weft::test;

TEST_CASE("split orders by key, then by old rank") {
    ranks_run(6, [](int rank, ncclComm_t comm) {
        ncclComm_t child = nullptr;
        // Colours 0 and 1; within a colour keys fall, ranks 4 and 5 share the lowest.
        const int keys[] = {5, 5, 3, 3, 1, 1};
        must(ncclCommSplit(comm, rank % 2, keys[rank], &child, nullptr), "split");
        int child_rank = -1, child_count = 0;
        must(ncclCommUserRank(child, &child_rank), "rank");
        must(ncclCommCount(child, &child_count), "count");
        must(child_count == 3, "count");
        must(child_rank == 2 - rank / 2, "order by key");
        sum_check(child);
        sum_check(comm);
        must(ncclCommDestroy(child), "destroy");
    });
}

TEST_CASE("equal keys keep the old order") {
    ranks_run(4, [](int rank, ncclComm_t comm) {
        ncclComm_t child = nullptr;
        must(ncclCommSplit(comm, 7, 0, &child, nullptr), "split");
        int child_rank = -1;
        must(ncclCommUserRank(child, &child_rank), "rank");
        must(child_rank == rank, "order by rank");
        must(ncclCommDestroy(child), "destroy");
    });
}

TEST_CASE("no colour gives no child") {
    ranks_run(3, [](int rank, ncclComm_t comm) {
        ncclComm_t child = comm;
        const int color = rank == 0 ? NCCL_SPLIT_NOCOLOR : 1;
        must(ncclCommSplit(comm, color, rank, &child, nullptr), "split");
        must((child == nullptr) == (rank == 0), "child where there should be none");
        if (child != nullptr) {
            sum_check(child);
            must(ncclCommDestroy(child), "destroy");
        }
    });
}

TEST_CASE("arguments of split and shrink") {
    ranks_run(2, [](int rank, ncclComm_t comm) {
        ncclComm_t child = nullptr;
        must(ncclCommSplit(comm, 0, 0, nullptr, nullptr), "no newcomm", ncclInvalidArgument);
        int self = rank, far = 9;
        must(ncclCommShrink(comm, &self, 0, &child, nullptr, NCCL_SHRINK_DEFAULT), "count 0",
             ncclInvalidArgument);
        must(ncclCommShrink(comm, &self, -1, &child, nullptr, NCCL_SHRINK_DEFAULT), "count -1",
             ncclInvalidArgument);
        must(ncclCommShrink(comm, &self, 1, &child, nullptr, NCCL_SHRINK_DEFAULT), "own rank",
             ncclInvalidArgument);
        must(ncclCommShrink(comm, &far, 1, &child, nullptr, NCCL_SHRINK_DEFAULT), "no such rank",
             ncclInvalidArgument);
        must(ncclCommShrink(comm, nullptr, 1, &child, nullptr, NCCL_SHRINK_DEFAULT), "no list",
             ncclInvalidArgument);
        sum_check(comm);
    });
}

TEST_CASE("a child of a child outlives both") {
    ranks_run(4,
              [](int rank, ncclComm_t comm) {
                  ncclComm_t child = nullptr, grandchild = nullptr;
                  must(ncclCommSplit(comm, rank / 2, rank, &child, nullptr), "split");
                  must(ncclCommSplit(child, 0, -rank, &grandchild, nullptr), "split of the child");
                  must(ncclCommDestroy(comm), "destroy of the parent");
                  must(ncclCommDestroy(child), "destroy of the child");
                  sum_check(grandchild);
                  must(ncclCommDestroy(grandchild), "destroy");
              },
              {.destroy = false});
}

TEST_CASE("one thread splits all ranks in a group") {
    OneThread world(4);
    ncclComm_t children[4] = {};
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 4; r++) {
        CHECK(ncclCommSplit(world[r], r % 2, r, &children[r], nullptr) == ncclSuccess);
        CHECK(children[r] == nullptr);
    }
    REQUIRE(ncclGroupEnd() == ncclSuccess);
    float in[4] = {1, 2, 3, 4}, out[4] = {};
    REQUIRE(ncclGroupStart() == ncclSuccess);
    for (int r = 0; r < 4; r++) {
        CHECK(ncclAllReduce(&in[r], &out[r], 1, ncclFloat, ncclSum, children[r], nullptr) ==
              ncclSuccess);
    }
    REQUIRE(ncclGroupEnd() == ncclSuccess);
    CHECK(out[0] == 4);
    CHECK(out[1] == 6);
    for (ncclComm_t child : children) {
        CHECK(ncclCommDestroy(child) == ncclSuccess);
    }
}

TEST_CASE("shrink without the excluded ranks' help") {
    ranks_run(4, [](int rank, ncclComm_t comm) {
        if (rank == 2) {
            return;
        }
        ncclComm_t child = nullptr;
        int exclude[] = {2};
        must(ncclCommShrink(comm, exclude, 1, &child, nullptr, NCCL_SHRINK_DEFAULT), "shrink");
        int child_rank = -1, child_count = 0;
        must(ncclCommUserRank(child, &child_rank), "rank");
        must(ncclCommCount(child, &child_count), "count");
        must(child_count == 3 && child_rank == (rank < 2 ? rank : rank - 1), "order");
        sum_check(child);
        must(ncclCommDestroy(child), "destroy");
    });
}

TEST_CASE("shrink after an abort goes on with the survivors") {
    ranks_run(3,
              [](int rank, ncclComm_t comm) {
                  if (rank == 1) {
                      must(ncclCommAbort(comm), "abort");
                      return;
                  }
                  float x = 1;
                  must(ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, nullptr), "call",
                       ncclRemoteError);
                  ncclComm_t child = nullptr;
                  int exclude[] = {1};
                  must(ncclCommShrink(comm, exclude, 1, &child, nullptr, NCCL_SHRINK_ABORT),
                       "shrink");
                  sum_check(child);
                  must(ncclCommDestroy(child), "destroy");
                  must(ncclCommDestroy(comm), "destroy of the parent");
              },
              {.destroy = false, .together = true});
}

TEST_CASE("shrink takes the list in any order and sorts it") {
    ranks_run(5, [](int rank, ncclComm_t comm) {
        if (rank == 1 || rank == 3) {
            return;
        }
        ncclComm_t child = nullptr;
        int exclude[] = {3, 1};
        must(ncclCommShrink(comm, exclude, 2, &child, nullptr, NCCL_SHRINK_DEFAULT), "shrink");
        must(exclude[0] == 1, "list is not sorted");
        sum_check(child);
        must(ncclCommDestroy(child), "destroy");
    });
}
