// A rank that forks with a communicator open: forker [LIBRARY]. Its children end in the ways that
// programs end, none of them hurt by what the library holds, while the rank goes on. LIBRARY is
// loaded before anything else. `forker leave` returns from main with the communicator open,
// `forker destroy` right after destroying it.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "include/weft/nccl.h"

namespace {

constexpr size_t count = 1 << 18;

[[noreturn]] void give_up(const char* what, ncclResult_t result) {
    std::fprintf(stderr, "forker: %s: %s (%s)\n", what, ncclGetErrorString(result),
                 ncclGetLastError(nullptr));
    std::exit(1);
}

void must(ncclResult_t result, const char* what) {
    if (result != ncclSuccess) {
        give_up(what, result);
    }
}

int number(const char* name) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::atoi(text) : 0;
}

struct Rank {
    ncclComm_t comm = nullptr;
    int rank = 0, ranks = 1;
    std::vector<float> in, out;
};

void sum(Rank& rank, float value) {
    for (float& one : rank.in) {
        one = value;
    }
    must(ncclAllReduce(rank.in.data(), rank.out.data(), count, ncclFloat, ncclSum, rank.comm,
                       nullptr),
         "all-reduce");
    for (const float one : rank.out) {
        if (one != value * static_cast<float>(rank.ranks)) {
            give_up("wrong sum", ncclInternalError);
        }
    }
}

// What a child does with memory that the parent had given to the NIC, then how it ends.
void child(Rank& rank, int how) {
    std::memset(rank.in.data(), 0x55, rank.in.size() * sizeof(float));
    std::memset(rank.out.data(), 0x55, rank.out.size() * sizeof(float));
    switch (how) {
        case 0:
            _exit(0);
        case 1:
            std::exit(0);  // with what runs at exit
        case 2:
            execl("/bin/true", "true", nullptr);
            _exit(127);
        default:
            // Refused, not a hang.
            std::exit(ncclAllReduce(rank.in.data(), rank.out.data(), count, ncclFloat, ncclSum,
                                    rank.comm, nullptr) == ncclInvalidUsage
                          ? 0
                          : 3);
    }
}

bool children_end_well(Rank& rank) {
    for (int how = 0; how < 4; how++) {
        const pid_t pid = fork();
        if (pid == 0) {
            child(rank, how);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            std::fprintf(stderr, "forker: child %d ended with status %#x\n", how,
                         static_cast<unsigned>(status));
            return false;
        }
        sum(rank, static_cast<float>(how + 2));
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string word = argc > 1 ? argv[1] : "";
    const bool end = word == "leave" || word == "destroy";
    if (!word.empty() && !end && dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) == nullptr) {
        std::fprintf(stderr, "forker: %s\n", dlerror());
        return 1;
    }
    Rank rank{nullptr, number("WEFT_RANK"), number("WEFT_RANK_COUNT"), std::vector<float>(count),
              std::vector<float>(count)};
    ncclUniqueId id;  // all meet at NCCL_COMM_ID
    must(ncclGetUniqueId(&id), "unique id");
    must(ncclCommInitRank(&rank.comm, rank.ranks, id, rank.rank), "init");
    if (word == "destroy") {
        must(ncclCommDestroy(rank.comm), "destroy");
    }
    if (end) {
        return 0;
    }
    sum(rank, 1);
    if (!children_end_well(rank)) {
        return 1;
    }
    must(ncclCommDestroy(rank.comm), "destroy");
    std::puts("children ended well");
    return 0;
}
