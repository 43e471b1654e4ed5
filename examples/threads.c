/*
 * One process, one thread per rank: an all-reduce on ordinary memory.
 *
 *     weft-example-threads [ranks]
 *
 * Rank r contributes r + i at element i. With the NULL stream a call returns when the caller's
 * buffers are final, so the result is checked right after it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

enum { element_count = 1 << 20 };

struct rank_job {
    pthread_t thread;
    ncclUniqueId id;
    int rank;
    int rank_count;
    size_t wrong;
};

static void* rank_run(void* arg) {
    struct rank_job* job = arg;
    ncclComm_t comm;
    CHECK(ncclCommInitRank(&comm, job->rank_count, job->id, job->rank));

    float* data = malloc(element_count * sizeof *data);
    if (data == NULL) {
        perror("malloc");
        exit(1);
    }
    for (size_t i = 0; i < element_count; i++) {
        data[i] = (float)(job->rank + (int)(i % 1000));
    }
    CHECK(ncclAllReduce(data, data, element_count, ncclFloat, ncclSum, comm, NULL));

    const int rank_sum = job->rank_count * (job->rank_count - 1) / 2;
    for (size_t i = 0; i < element_count; i++) {
        job->wrong += data[i] != (float)(rank_sum + job->rank_count * (int)(i % 1000));
    }
    free(data);
    CHECK(ncclCommDestroy(comm));
    return NULL;
}

int main(int argc, char** argv) {
    const int rank_count = argc > 1 ? atoi(argv[1]) : 4;
    if (rank_count < 1 || rank_count > 256) {
        fprintf(stderr, "usage: %s [ranks, 1 to 256]\n", argv[0]);
        return 2;
    }
    struct rank_job* jobs = calloc((size_t)rank_count, sizeof *jobs);
    ncclUniqueId id;
    CHECK(ncclGetUniqueId(&id));
    for (int r = 0; r < rank_count; r++) {
        jobs[r].id = id;
        jobs[r].rank = r;
        jobs[r].rank_count = rank_count;
        if (pthread_create(&jobs[r].thread, NULL, rank_run, &jobs[r]) != 0) {
            perror("pthread_create");
            return 1;
        }
    }
    size_t wrong = 0;
    for (int r = 0; r < rank_count; r++) {
        pthread_join(jobs[r].thread, NULL);
        wrong += jobs[r].wrong;
    }
    free(jobs);
    printf("threads: %d ranks, %d floats each, %zu wrong\n", rank_count, (int)element_count, wrong);
    return wrong == 0 ? 0 : 1;
}
