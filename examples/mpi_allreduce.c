/*
 * An MPI program that does its all-reduce with Weft: MPI starts the processes and carries the
 * 128 bytes of the unique id, Weft moves the data. MPI's own datatypes and communicators are not
 * touched, and MPI calls may go on beside.
 *
 *     mpirun -np 4 weft-mpi-allreduce [bytes]
 *
 * Every size from 8 bytes up to the given one is checked against MPI_Allreduce on the same input
 * (integers in floats, so that every order of the sum gives the same bits) and timed.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { rounds = 10 };

static size_t wrong_count(const float* got, const float* expected, size_t count) {
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        wrong += got[i] != expected[i];
    }
    return wrong;
}

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    int rank, rank_count;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    const size_t bytes_max = argc > 1 ? strtoull(argv[1], NULL, 0) : 4 << 20;
    if (bytes_max < 8 || bytes_max > (size_t)1 << 30) {
        if (rank == 0) {
            fprintf(stderr, "usage: %s [bytes, 8 to 2^30]\n", argv[0]);
        }
        MPI_Finalize();
        return 2;
    }

    ncclUniqueId id;
    memset(&id, 0, sizeof id);
    if (rank == 0) {
        CHECK(ncclGetUniqueId(&id));
    }
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, MPI_COMM_WORLD);
    ncclComm_t comm;
    CHECK(ncclCommInitRank(&comm, rank_count, id, rank));

    float* input = malloc(bytes_max);
    float* expected = malloc(bytes_max);
    void* shared = NULL; /* ncclMemAlloc memory is reached by local peers without a copy */
    CHECK(ncclMemAlloc(&shared, bytes_max));
    float* output = shared;
    if (input == NULL || expected == NULL) {
        perror("malloc");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (size_t i = 0; i < bytes_max / sizeof *input; i++) {
        input[i] = (float)((i * 7 + (size_t)rank * 13) % 101);
    }

    if (rank == 0) {
        printf("%12s %12s %12s %8s\n", "bytes", "time_us", "busbw_GB/s", "wrong");
    }
    unsigned long long wrong_all = 0;
    for (size_t bytes = 8; bytes <= bytes_max; bytes *= 8) {
        const size_t count = bytes / sizeof *input;
        MPI_Allreduce(input, expected, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        CHECK(ncclAllReduce(input, output, count, ncclFloat, ncclSum, comm, NULL));
        unsigned long long wrong = wrong_count(output, expected, count);

        MPI_Barrier(MPI_COMM_WORLD);
        const double start_s = MPI_Wtime();
        for (int i = 0; i < rounds; i++) {
            CHECK(ncclAllReduce(input, output, count, ncclFloat, ncclSum, comm, NULL));
        }
        double time_s = (MPI_Wtime() - start_s) / rounds;
        wrong += wrong_count(output, expected, count);

        MPI_Allreduce(MPI_IN_PLACE, &time_s, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_UNSIGNED_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
        wrong_all += wrong;
        if (rank == 0) {
            const double wire_bytes = 2.0 * (rank_count - 1) / rank_count * (double)bytes;
            printf("%12zu %12.1f %12.3f %8llu\n", bytes, time_s * 1e6, wire_bytes / time_s / 1e9,
                   wrong);
        }
    }

    CHECK(ncclMemFree(shared));
    free(expected);
    free(input);
    CHECK(ncclCommDestroy(comm));
    if (rank == 0) {
        printf("mpi_allreduce: %d ranks, %llu wrong\n", rank_count, wrong_all);
    }
    MPI_Finalize();
    return wrong_all == 0 ? 0 : 1;
}
