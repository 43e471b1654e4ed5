#include "perf/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string_view>

namespace weft::perf {
namespace {

constexpr const char* collective_names[collective_count] = {
    "all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce",
    "alltoall",   "gather",     "scatter",        "sendrecv"};

template <class Number>
bool number_read(std::string_view text, Number* value) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), *value);
    return code == std::errc() && end == text.data() + text.size();
}

// "8", "64K", "1.5M", "4G", "1GB".
bool size_read(std::string_view text, size_t* bytes) {
    if (!text.empty() && std::toupper(text.back()) == 'B') {
        text.remove_suffix(1);
    }
    double unit = 1;
    if (!text.empty()) {
        const auto letter = static_cast<char>(std::toupper(text.back()));
        const size_t power = std::string_view("KMGT").find(letter);
        if (power != std::string_view::npos) {
            unit = std::ldexp(1.0, 10 * (static_cast<int>(power) + 1));
            text.remove_suffix(1);
        }
    }
    double number = 0;
    if (!number_read(text, &number) || !(number >= 0) || number * unit > 1e15) {
        return false;
    }
    *bytes = static_cast<size_t>(number * unit);
    return true;
}

bool int_read(std::string_view text, int low, int* value) {
    int number = 0;
    if (!number_read(text, &number) || number < low) {
        return false;
    }
    *value = number;
    return true;
}

bool ops_read(std::string_view text, std::vector<Op>* ops) {
    ops->clear();
    for (int i = 0; i < op_count; ++i) {
        const auto op = static_cast<Op>(i);
        if (text == "all" || text == op_name(op)) {
            ops->push_back(op);
        }
    }
    return !ops->empty();
}

bool types_read(std::string_view text, std::vector<Type>* types) {
    constexpr struct {
        const char* name;
        Type type;
    } aliases[] = {{"char", Type::i8},
                   {"int", Type::i32},
                   {"fp8_e4m3", Type::f8e4m3},
                   {"fp8_e5m2", Type::f8e5m2}};
    types->clear();
    for (int i = 0; i < type_count; ++i) {
        const auto type = static_cast<Type>(i);
        if (text == "all" || text == type_name(type)) {
            types->push_back(type);
        }
    }
    for (const auto& alias : aliases) {
        if (text == alias.name) {
            types->push_back(alias.type);
        }
    }
    return !types->empty();
}

bool memory_read(std::string_view text, Memory* memory) {
    *memory = text == "malloc" ? Memory::heap : text == "device" ? Memory::device : Memory::library;
    return text == "malloc" || text == "lib" || text == "device";
}

std::string quoted(std::string_view text) {
    return std::string("'").append(text).append("'");
}

struct Flag {
    const char* letter;  // nullptr: long form only
    const char* name;
    const char* help;
    bool (*read)(std::string_view, Options*);
};

using Text = std::string_view;
constexpr Flag flags[] = {
    {"-b", "--minbytes", "SIZE   first size (32M); K, M, G suffixes",
     [](Text text, Options* o) { return size_read(text, &o->bytes_min); }},
    {"-e", "--maxbytes", "SIZE   last size (32M)",
     [](Text text, Options* o) { return size_read(text, &o->bytes_max); }},
    {"-i", "--stepbytes", "SIZE   add this from size to size (1M)",
     [](Text text, Options* o) { return size_read(text, &o->step_bytes) && o->step_bytes > 0; }},
    {"-f", "--stepfactor", "N      or multiply by this",
     [](Text text, Options* o) {
         return number_read(text, &o->step_factor) && o->step_factor > 1;
     }},
    {"-n", "--iters", "N      timed calls per size (20)",
     [](Text text, Options* o) { return int_read(text, 1, &o->iterations); }},
    {"-w", "--warmup_iters", "N      calls before them (1)",
     [](Text text, Options* o) { return int_read(text, 0, &o->warmups); }},
    {"-c", "--check", "N      checked calls per size (1); 0: none",
     [](Text text, Options* o) { return int_read(text, 0, &o->checks); }},
    {"-o", "--op", "OP     sum prod max min avg mulsum all (sum)",
     [](Text text, Options* o) { return ops_read(text, &o->ops); }},
    {"-d", "--datatype",
     "TYPE   int8 uint8 int32 uint32 int64 uint64 half float double bfloat16\n"
     "                              f8e4m3 f8e5m2 all (float)",
     [](Text text, Options* o) { return types_read(text, &o->types); }},
    {"-r", "--root", "RANK   or all (0)",
     [](Text text, Options* o) {
         o->root = -1;
         return text == "all" || int_read(text, 0, &o->root);
     }},
    {"-t", "--nthreads", "N      ranks of this process, one thread each (1)",
     [](Text text, Options* o) { return int_read(text, 1, &o->threads); }},
    {"-g", "--ngpus", "1      ranks per thread: always one",
     [](Text text, Options*) { return text == "1"; }},
    {"-a", "--average", "N      time over ranks: 0 rank 0, 1 mean, 2 min, 3 max (1)",
     [](Text text, Options* o) {
         int number = 0;
         const bool ok = int_read(text, 0, &number) && number <= 3;
         o->average = static_cast<Average>(number);
         return ok;
     }},
    {nullptr, "--mem",
     "KIND   lib (ncclMemAlloc), malloc, or device: CUDA memory, a stream a rank (lib)",
     [](Text text, Options* o) { return memory_read(text, &o->memory); }},
    {"-R", "--local_register",
     "N      buffers: 0 not registered, 1 by ncclCommRegister, 2 in symmetric windows,\n"
     "                              taken by ncclMemAlloc (0)",
     [](Text text, Options* o) {
         int number = 0;
         const bool ok = int_read(text, 0, &number) && number <= 2;
         o->local_register = static_cast<LocalRegister>(number);
         return ok;
     }},
    {nullptr, "--rotate", "SIZE   walk through this much memory, so that data is cold (0)",
     [](Text text, Options* o) { return size_read(text, &o->rotate_bytes); }},
    {nullptr, "--json", "FILE   rank 0 writes the rows there too",
     [](Text text, Options* o) {
         o->json_file = text;
         return !text.empty();
     }},
};

const Flag* flag_find(std::string_view word) {
    for (const Flag& flag : flags) {
        if ((flag.letter && word == flag.letter) || word == flag.name) {
            return &flag;
        }
    }
    return nullptr;
}

// "-b8", "-b 8", "--minbytes 8" and "--minbytes=8" are the same.
struct Word {
    std::string_view name;
    std::string_view value;
    bool has_value = false;
};

Word word_split(std::string_view text) {
    const bool is_long = text.substr(0, 2) == "--";
    const size_t equals = is_long ? text.find('=') : std::string_view::npos;
    if (equals != std::string_view::npos) {
        return {text.substr(0, equals), text.substr(equals + 1), true};
    }
    if (!is_long && text.size() > 2 && text[0] == '-') {
        return {text.substr(0, 2), text.substr(2), true};
    }
    return {text, {}, false};
}

bool collective_read(std::string_view text, Options* options) {
    for (int i = 0; i < collective_count; ++i) {
        const std::string name = collective_names[i];
        if (text == name || text == name + "_perf") {
            options->collective = static_cast<Collective>(i);
            return true;
        }
    }
    return false;
}

std::string values_disagree(const Options& options) {
    if (options.bytes_max < options.bytes_min) {
        return "-b is larger than -e";
    }
    if (options.local_register == LocalRegister::windows && options.memory == Memory::heap) {
        return "-R 2 takes buffers by ncclMemAlloc: leave --mem malloc out";
    }
    return {};
}

}  // namespace

const char* collective_name(Collective collective) {
    return collective_names[static_cast<int>(collective)];
}

bool collective_reduces(Collective collective) {
    return collective == Collective::all_reduce || collective == Collective::reduce_scatter ||
           collective == Collective::reduce;
}

bool collective_has_root(Collective collective) {
    return collective == Collective::broadcast || collective == Collective::reduce ||
           collective == Collective::gather || collective == Collective::scatter;
}

Options options_parse(int argc, const char* const* argv) {
    Options options;
    bool named = false;
    for (int i = 1; i < argc && options.error.empty(); ++i) {
        const std::string text = argv[i];
        if (text == "-h" || text == "--help") {
            options.help = true;
            return options;
        }
        if (text[0] != '-') {
            if (named || !collective_read(text, &options)) {
                options.error = named ? "a second collective: " + quoted(text)
                                      : quoted(text) + " is no collective; -h lists them";
            }
            named = true;
            continue;
        }
        Word word = word_split(text);
        const Flag* flag = flag_find(word.name);
        if (!flag) {
            options.error = "unknown option " + quoted(text) + "; -h lists them";
        } else if (!word.has_value && i + 1 >= argc) {
            options.error = "option " + text + " needs a value";
        } else {
            word.value = word.has_value ? word.value : argv[++i];
            if (!flag->read(word.value, &options)) {
                options.error =
                    quoted(word.value) + " is not a value for option " + std::string(word.name);
            }
        }
    }
    if (options.error.empty()) {
        options.error = named ? values_disagree(options) : "name a collective; -h lists them";
    }
    return options;
}

std::string options_usage() {
    std::string text = "usage: weft-perf COLLECTIVE [options]\ncollectives:";
    for (const char* name : collective_names) {
        text += std::string(" ") + name;
    }
    text += "\noptions:\n";
    for (const Flag& flag : flags) {
        std::string line = flag.letter ? std::string("  ") + flag.letter + ", " : "      ";
        line += flag.name;
        line.resize(22, ' ');
        text += line + " " + flag.help + "\n";
    }
    return text +
           "  -h, --help             this text\n"
           "Ranks come from weft-run, mpirun, srun or torchrun; alone, from -t. Exit code 1: "
           "wrong\n"
           "values or a failed call, 2: bad options.\n";
}

std::vector<size_t> options_sizes(const Options& options) {
    std::vector<size_t> sizes;
    size_t bytes = options.bytes_min;
    while (bytes <= options.bytes_max) {
        sizes.push_back(bytes);
        const auto scaled = static_cast<size_t>(static_cast<double>(bytes) * options.step_factor);
        // A factor near 1 may not move a small size; zero times anything is zero.
        bytes = options.step_factor > 0 ? std::max(scaled, bytes + 1) : bytes + options.step_bytes;
    }
    return sizes;
}

}  // namespace weft::perf
