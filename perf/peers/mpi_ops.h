/*
 * MPI's side of the comparisons: the collectives that both libraries have, on floats (MPI_FLOAT,
 * MPI_SUM, root 0). Thread rule: the thread that initialised MPI.
 */
#ifndef WEFT_PERF_PEERS_MPI_OPS_H_
#define WEFT_PERF_PEERS_MPI_OPS_H_

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names as weft-perf has them. NULL ends the list. */
extern const char* const mpi_op_names[];

/* Index of the name, -1 if there is none. */
int mpi_op_find(const char* name);

/* Elements that a rank sends and receives; `count` is what the call is given. */
typedef struct mpi_shape {
    size_t count;
    size_t send;
    size_t recv;
} mpi_shape;

/* The shape whose larger side has at most `elements`. */
mpi_shape mpi_op_shape(int op, size_t elements, int rank_count);

/* Bus bandwidth over algorithm bandwidth. */
double mpi_op_bus_factor(int op, int rank_count);

/* Reduce_scatter by the call that takes a count per rank: MPIs have other algorithms for it. */
void mpi_ops_vector(int on);

void mpi_op_run(int op, const void* send, void* recv, size_t count, MPI_Comm comm);

/* "8", "64K", "16M", "1G" in bytes; 0 if it is no size. */
size_t mpi_size_read(const char* text);

#ifdef __cplusplus
}
#endif

#endif /* WEFT_PERF_PEERS_MPI_OPS_H_ */
