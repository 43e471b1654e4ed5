// The command line of weft-perf: the flags of nccl-tests plus a few of our own.
// Thread rule: values, reentrant. Failure rule: `error` holds one line.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "perf/verifiable.h"

namespace weft::perf {

enum class Collective : int {
    all_reduce,
    all_gather,
    reduce_scatter,
    broadcast,
    reduce,
    all_to_all,
    gather,
    scatter,
    send_recv,
};
inline constexpr int collective_count = 9;
const char* collective_name(Collective collective);
bool collective_reduces(Collective collective);
bool collective_has_root(Collective collective);

enum class Memory { library, heap, device };
enum class Average : int { rank0, mean, min, max };
// What the library is told of the send and receive buffers before the calls.
enum class LocalRegister : int { none, buffers, windows };

struct Options {
    Collective collective = Collective::all_reduce;
    size_t bytes_min = 32 << 20;
    size_t bytes_max = 32 << 20;
    size_t step_bytes = 1 << 20;
    double step_factor = 0;  // 0: step_bytes counts
    int iterations = 20;
    int warmups = 1;
    int checks = 1;
    std::vector<Op> ops = {Op::sum};
    std::vector<Type> types = {Type::f32};
    int root = 0;  // -1: all
    int threads = 1;
    Average average = Average::mean;
    Memory memory = Memory::library;
    LocalRegister local_register = LocalRegister::none;
    size_t rotate_bytes = 0;
    std::string json_file;

    bool help = false;
    std::string error;
};

Options options_parse(int argc, const char* const* argv);
std::string options_usage();

// The message sizes that -b, -e, -i and -f stand for.
std::vector<size_t> options_sizes(const Options& options);

}  // namespace weft::perf
