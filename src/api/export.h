// How an entry point of the public C API is defined. Nothing else in the tree is exported.
// One definition makes both names: pnccl<Name>, strong, and nccl<Name>, a weak alias of it that a
// profiler may replace. The header's declaration of both checks the signature.
//
//     NCCL_ENTRY(ncclResult_t, CommCount, const ncclComm_t comm, int* count) {
//         return at_border([&]() -> Result<void> { ... });
//     }
//
// Entry points cannot be `noexcept`: users redefine nccl<Name> without it. at_border() is.
#pragma once

#define WEFT_EXPORT extern "C" __attribute__((visibility("default")))

#define NCCL_ENTRY(result, name, ...)                                             \
    extern "C" __attribute__((visibility("default"), weak, alias("pnccl" #name))) \
    result nccl##name(__VA_ARGS__);                                               \
    WEFT_EXPORT result pnccl##name(__VA_ARGS__)
