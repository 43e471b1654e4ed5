/* Stops the program with the call, the result and the library's reason. */
#ifndef WEFT_EXAMPLE_CHECK_H_
#define WEFT_EXAMPLE_CHECK_H_

#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>

static inline void check(ncclResult_t result, const char* call) {
    if (result != ncclSuccess) {
        fprintf(stderr, "%s: %s: %s\n", call, ncclGetErrorString(result), ncclGetLastError(NULL));
        exit(1);
    }
}

#define CHECK(call) check(call, #call)

#endif /* WEFT_EXAMPLE_CHECK_H_ */
