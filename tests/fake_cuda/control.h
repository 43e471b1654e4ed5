// How tests talk to the stand-in driver beside CUDA's own functions: a struct of switches found by
// dlsym("fake_cuda_control"). Thread rule: set before the driver is loaded or while nothing runs.
#pragma once

struct FakeCudaControl {
    int version;          // what cuDriverGetVersion says
    int devices;          // how many there are
    const char* lacking;  // this function is not found; null: all are
    int stub;             // every call fails as those of the toolkit's stub library
    int init_count;       // how often cuInit was called
    int primary_refs;     // references to all primary contexts
    int live_allocations;
    unsigned block_threads;  // of every block, whatever the launch says
};
