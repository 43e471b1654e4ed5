// Libraries that are not a usable CUDA driver: with FAKE_OLD one from before cuGetProcAddress, else
// one that has nothing of CUDA.
#ifdef FAKE_OLD
__attribute__((visibility("default"))) int cuInit(unsigned flags);
int cuInit(unsigned flags) {
    return flags == 0 ? 0 : 1;
}
#else
__attribute__((visibility("default"))) int not_cuda(void);
int not_cuda(void) {
    return 0;
}
#endif
