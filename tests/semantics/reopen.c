/* Loaded, used, closed, and again: what a Python interpreter or a plugin host does. Two ranks in
 * one thread. The library stays mapped (-z nodelete), so the second time meets the first one's
 * state. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "include/weft/nccl.h"

#define RANKS 2
#define LOOK_UP(name)          \
    __typeof__(&name) name##_; \
    *(void**)&name##_ = dlsym(library, #name)

static int used(void* library) {
    LOOK_UP(ncclCommInitAll);
    LOOK_UP(ncclGroupStart);
    LOOK_UP(ncclGroupEnd);
    LOOK_UP(ncclAllReduce);
    LOOK_UP(ncclCommDestroy);
    LOOK_UP(ncclGetLastError);
    ncclComm_t comms[RANKS];
    float in[RANKS] = {1, 2}, out[RANKS] = {0, 0};
    ncclResult_t result = ncclCommInitAll_(comms, RANKS, NULL);
    if (result == ncclSuccess) {
        ncclGroupStart_();
        for (int rank = 0; rank < RANKS; rank++) {
            ncclAllReduce_(&in[rank], &out[rank], 1, ncclFloat, ncclSum, comms[rank], NULL);
        }
        result = ncclGroupEnd_();
        for (int rank = 0; rank < RANKS; rank++) {
            ncclCommDestroy_(comms[rank]);
        }
    }
    if (result != ncclSuccess || out[0] != 3 || out[1] != 3) {
        fprintf(stderr, "result %d, sums %g %g: %s\n", (int)result, out[0], out[1],
                ncclGetLastError_(NULL));
        return 0;
    }
    return 1;
}

int main(int argc, char** argv) {
    for (int round = 0; round < 3; round++) {
        void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
        if (library == NULL) {
            fprintf(stderr, "cannot load: %s\n", argc == 2 ? dlerror() : "no library named");
            return 1;
        }
        if (!used(library) || dlclose(library) != 0) {
            return 1;
        }
    }
    return 0;
}
