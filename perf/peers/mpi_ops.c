#include "perf/peers/mpi_ops.h"

#include <stdlib.h>
#include <string.h>

enum { all_reduce, all_gather, reduce_scatter, broadcast, reduce, all_to_all, gather, scatter };

const char* const mpi_op_names[] = {"all_reduce", "all_gather", "reduce_scatter",
                                    "broadcast",  "reduce",     "alltoall",
                                    "gather",     "scatter",    NULL};

int mpi_op_find(const char* name) {
    for (int op = 0; mpi_op_names[op] != NULL; op++) {
        if (strcmp(mpi_op_names[op], name) == 0) {
            return op;
        }
    }
    return -1;
}

mpi_shape mpi_op_shape(int op, size_t elements, int rank_count) {
    const size_t ranks = (size_t)rank_count;
    const int sends_blocks = op == reduce_scatter || op == all_to_all || op == scatter;
    const int receives_blocks = op == all_gather || op == all_to_all || op == gather;
    const size_t count = sends_blocks || receives_blocks ? elements / ranks : elements;
    mpi_shape shape = {count, sends_blocks ? count * ranks : count,
                       receives_blocks ? count * ranks : count};
    return shape;
}

double mpi_op_bus_factor(int op, int rank_count) {
    const double others = (double)(rank_count - 1) / rank_count;
    if (op == all_reduce) {
        return 2 * others;
    }
    return op == broadcast || op == reduce ? 1 : others;
}

/* Weft's broadcast has two buffers; MPI's one holds the result, which is what is compared. */
static void broadcast_run(const void* send, void* recv, int count, MPI_Comm comm) {
    int rank;
    MPI_Comm_rank(comm, &rank);
    MPI_Bcast(rank == 0 ? (void*)send : recv, count, MPI_FLOAT, 0, comm);
}

static int vector_calls = 0;

void mpi_ops_vector(int on) {
    vector_calls = on;
}

static void reduce_scatter_run(const void* send, void* recv, int count, MPI_Comm comm) {
    if (!vector_calls) {
        MPI_Reduce_scatter_block(send, recv, count, MPI_FLOAT, MPI_SUM, comm);
        return;
    }
    int size;
    MPI_Comm_size(comm, &size);
    int* const counts = malloc((size_t)size * sizeof(int));
    for (int i = 0; i < size; ++i) {
        counts[i] = count;
    }
    MPI_Reduce_scatter(send, recv, counts, MPI_FLOAT, MPI_SUM, comm);
    free(counts);
}

void mpi_op_run(int op, const void* send, void* recv, size_t elements, MPI_Comm comm) {
    const int count = (int)elements;
    switch (op) {
        case all_reduce:
            MPI_Allreduce(send, recv, count, MPI_FLOAT, MPI_SUM, comm);
            break;
        case all_gather:
            MPI_Allgather(send, count, MPI_FLOAT, recv, count, MPI_FLOAT, comm);
            break;
        case reduce_scatter:
            reduce_scatter_run(send, recv, count, comm);
            break;
        case broadcast:
            broadcast_run(send, recv, count, comm);
            break;
        case reduce:
            MPI_Reduce(send, recv, count, MPI_FLOAT, MPI_SUM, 0, comm);
            break;
        case all_to_all:
            MPI_Alltoall(send, count, MPI_FLOAT, recv, count, MPI_FLOAT, comm);
            break;
        case gather:
            MPI_Gather(send, count, MPI_FLOAT, recv, count, MPI_FLOAT, 0, comm);
            break;
        default:
            MPI_Scatter(send, count, MPI_FLOAT, recv, count, MPI_FLOAT, 0, comm);
            break;
    }
}

size_t mpi_size_read(const char* text) {
    char* end = NULL;
    const unsigned long long number = strtoull(text, &end, 10);
    int shift = 0;
    if (end != text && *end != '\0') {
        const char* const suffixes = "KMG";
        const char* const suffix = strchr(suffixes, *end);
        shift = suffix != NULL ? 10 * (int)(suffix - suffixes + 1) : 0;
        end += suffix != NULL;
    }
    return end == text || *end != '\0' || number >> 33 != 0 ? 0 : (size_t)number << shift;
}
