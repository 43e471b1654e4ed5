/*
 * What an MPI reaches alone: the table of weft-perf, out of place, for MPI's own collectives. One
 * source for every MPI; build it with each one's compiler.
 *
 *     mpirun -np 2 weft-mpi-peer all_reduce -b 8 -e 64M -f 8 -n 20 -R 512M
 *
 * Buffers rotate through -R bytes, so that large messages are not served from the caches.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/peers/mpi_ops.h"

typedef struct run_options {
    int op;
    size_t bytes_min, bytes_max, factor, rotate;
    int iterations, warmups;
} run_options;

static int options_read(int argc, char** argv, run_options* options) {
    const run_options defaults = {-1, 8, 64 << 20, 8, 512 << 20, 20, 3};
    *options = defaults;
    int letter;
    while ((letter = getopt(argc, argv, "b:e:f:n:w:R:")) != -1) {
        const size_t value = letter == '?' ? 0 : mpi_size_read(optarg);
        switch (letter) {
            case 'b':
                options->bytes_min = value;
                break;
            case 'e':
                options->bytes_max = value;
                break;
            case 'f':
                options->factor = value;
                break;
            case 'n':
                options->iterations = (int)value;
                break;
            case 'w':
                options->warmups = (int)value;
                break;
            case 'R':
                options->rotate = value;
                break;
            default:
                return 0;
        }
    }
    options->op = optind + 1 == argc ? mpi_op_find(argv[optind]) : -1;
    return options->op >= 0 && options->bytes_min > 0 && options->factor > 1 &&
           options->iterations > 0 && options->bytes_min <= options->bytes_max;
}

/* Mean over the iterations and over the ranks, in microseconds. */
static double time_us(const run_options* options, mpi_shape shape, char* send, char* recv,
                      size_t room) {
    const size_t larger = shape.send > shape.recv ? shape.send : shape.recv;
    const size_t stride = (larger * sizeof(float) + 4095) / 4096 * 4096;
    const size_t places = stride > 0 && room / stride > 0 ? room / stride : 1;
    double start = 0;
    for (int i = -options->warmups; i < options->iterations; i++) {
        if (i == 0) {
            MPI_Barrier(MPI_COMM_WORLD);
            start = MPI_Wtime();
        }
        const size_t at = (size_t)(i + options->warmups) % places * stride;
        mpi_op_run(options->op, send + at, recv + at, shape.count, MPI_COMM_WORLD);
    }
    double own = (MPI_Wtime() - start) * 1e6 / options->iterations, sum = 0;
    int rank_count;
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    MPI_Allreduce(&own, &sum, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return sum / rank_count;
}

static void table_print(const run_options* options, int rank, int rank_count) {
    const size_t half = options->rotate / 2;
    const size_t room = half > options->bytes_max ? half : options->bytes_max;
    char* send = malloc(room);
    char* recv = malloc(room);
    if (send == NULL || recv == NULL) {
        perror("weft-mpi-peer: malloc");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    memset(send, 0, room);
    memset(recv, 0, room);
    for (size_t bytes = options->bytes_min; bytes <= options->bytes_max; bytes *= options->factor) {
        const mpi_shape shape = mpi_op_shape(options->op, bytes / sizeof(float), rank_count);
        const double us = time_us(options, shape, send, recv, room);
        const size_t larger = shape.send > shape.recv ? shape.send : shape.recv;
        const double rate = (double)(larger * sizeof(float)) / us / 1e3;
        if (rank == 0) {
            printf("%12zu  %12zu  %8s  %6s  %6d  %10.2f  %6.2f  %6.2f\n", larger * sizeof(float),
                   shape.count, "float", "sum", 0, us, rate,
                   rate * mpi_op_bus_factor(options->op, rank_count));
            fflush(stdout);
        }
    }
    free(send);
    free(recv);
}

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    int rank, rank_count;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
    run_options options;
    const int ok = options_read(argc, argv, &options);
    if (!ok && rank == 0) {
        fprintf(stderr,
                "usage: %s OP [-b SIZE] [-e SIZE] [-f N] [-n N] [-w N] [-R SIZE]; OP:", argv[0]);
        for (int op = 0; mpi_op_names[op] != NULL; op++) {
            fprintf(stderr, " %s", mpi_op_names[op]);
        }
        fprintf(stderr, "\n");
    }
    if (ok) {
        if (rank == 0) {
            char version[MPI_MAX_LIBRARY_VERSION_STRING];
            int length;
            MPI_Get_library_version(version, &length);
            version[strcspn(version, ",\n")] = '\0';
            printf("# %s, %d ranks, %s\n", mpi_op_names[options.op], rank_count, version);
            printf("# %10s  %12s  %8s  %6s  %6s  %10s  %6s  %6s\n", "size", "count", "type",
                   "redop", "root", "time(us)", "algbw", "busbw");
        }
        table_print(&options, rank, rank_count);
    }
    MPI_Finalize();
    return ok ? 0 : 2;
}
