/*
 * Rows and columns of a rank grid by ncclCommSplit, as tensor and data parallel training use them.
 * One process; a single thread drives all ranks, so every call for several ranks stands in a group.
 *
 *     weft-example-splits [rows columns]
 *
 * Each rank adds up the numbers of the ranks in its row, then takes the maximum of its column.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

enum { rank_count_max = 256 };

static ncclComm_t world[rank_count_max], row[rank_count_max], column[rank_count_max];
static int mine[rank_count_max], row_sum[rank_count_max], column_max[rank_count_max];

int main(int argc, char** argv) {
    const int rows = argc > 2 ? atoi(argv[1]) : 2;
    const int columns = argc > 2 ? atoi(argv[2]) : 3;
    if (rows < 1 || columns < 1 || rows > rank_count_max / columns) {
        fprintf(stderr, "usage: %s [rows columns], at most %d ranks\n", argv[0], rank_count_max);
        return 2;
    }
    const int rank_count = rows * columns;

    CHECK(ncclCommInitAll(world, rank_count, NULL));
    CHECK(ncclGroupStart());
    for (int r = 0; r < rank_count; r++) {
        CHECK(ncclCommSplit(world[r], r / columns, r % columns, &row[r], NULL));
    }
    CHECK(ncclGroupEnd());
    CHECK(ncclGroupStart());
    for (int r = 0; r < rank_count; r++) {
        CHECK(ncclCommSplit(world[r], r % columns, r / columns, &column[r], NULL));
    }
    CHECK(ncclGroupEnd());

    /* Two communicators per rank in one group: their operations do not wait for each other. */
    CHECK(ncclGroupStart());
    for (int r = 0; r < rank_count; r++) {
        mine[r] = r;
        CHECK(ncclAllReduce(&mine[r], &row_sum[r], 1, ncclInt, ncclSum, row[r], NULL));
        CHECK(ncclAllReduce(&mine[r], &column_max[r], 1, ncclInt, ncclMax, column[r], NULL));
    }
    CHECK(ncclGroupEnd());

    int wrong = 0;
    for (int r = 0; r < rank_count; r++) {
        const int first = r / columns * columns;
        int row_rank = -1, column_size = -1;
        CHECK(ncclCommUserRank(row[r], &row_rank));
        CHECK(ncclCommCount(column[r], &column_size));
        wrong += row_rank != r % columns;
        wrong += column_size != rows;
        wrong += row_sum[r] != columns * first + columns * (columns - 1) / 2;
        wrong += column_max[r] != (rows - 1) * columns + r % columns;
    }

    CHECK(ncclGroupStart());
    for (int r = 0; r < rank_count; r++) {
        CHECK(ncclCommDestroy(row[r]));
        CHECK(ncclCommDestroy(column[r]));
        CHECK(ncclCommDestroy(world[r]));
    }
    CHECK(ncclGroupEnd());
    printf("splits: %d x %d ranks, %d wrong\n", rows, columns, wrong);
    return wrong == 0 ? 0 : 1;
}
