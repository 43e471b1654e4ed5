#include "tools/gpu_suite/check/options.h"

#include "tools/common/args.h"

namespace weft::suite {

const char* const usage =
    "usage: weft-gpu-check COMMAND [OPTION...]\n"
    "  facts health litmus memory copy correct crossed windows graph abort rates latency\n"
    "  version\n"
    "  --device N --deadline S --ranks N --rank R --root R --count N --coll NAME --type NAME\n"
    "  --op NAME --mode gang|threads|process --in-place --streams --bytes SIZE --rounds N --all\n"
    "  --windows none|library|program (whose memory lies in symmetric windows)\n"
    "  --foreign (libnccl is another's)\n"
    "The last line is RESULT {...}; exit status 0 passed, 1 failed, 3 hung, 77 not possible "
    "here.\n";

namespace {

enum Which {
    device = 256,
    deadline,
    ranks,
    rank,
    root,
    count,
    coll,
    type,
    op,
    mode,
    windows,
    in_place,
    streams,
    bytes,
    rounds,
    all,
    foreign
};

const option longs[] = {{"device", required_argument, nullptr, device},
                        {"deadline", required_argument, nullptr, deadline},
                        {"ranks", required_argument, nullptr, ranks},
                        {"rank", required_argument, nullptr, rank},
                        {"root", required_argument, nullptr, root},
                        {"count", required_argument, nullptr, count},
                        {"coll", required_argument, nullptr, coll},
                        {"type", required_argument, nullptr, type},
                        {"op", required_argument, nullptr, op},
                        {"mode", required_argument, nullptr, mode},
                        {"windows", required_argument, nullptr, windows},
                        {"in-place", no_argument, nullptr, in_place},
                        {"streams", no_argument, nullptr, streams},
                        {"bytes", required_argument, nullptr, bytes},
                        {"rounds", required_argument, nullptr, rounds},
                        {"all", no_argument, nullptr, all},
                        {"foreign", no_argument, nullptr, foreign},
                        {nullptr, 0, nullptr, 0}};

// One of the enumerators up to `last`, by the name to_string gives it.
template <class Enum>
Result<Enum> named(std::string_view option, const std::string& text, int last) {
    std::string known;
    for (int i = 0; i <= last; i++) {
        const char* const name = to_string(static_cast<Enum>(i));
        if (text == name) {
            return static_cast<Enum>(i);
        }
        known += std::string(" ") + name;
    }
    return tools::wrong(std::string(option) + " '" + text + "' is not one of" + known);
}

Result<int> small(std::string_view option, const std::string& text, int least, int most) {
    return static_cast<int>(TRY(tools::number_read(option, text, least, most)));
}

Result<Mode> mode_read(const std::string& text) {
    constexpr const char* names[] = {"gang", "threads", "process"};
    for (int i = 0; i < 3; i++) {
        if (text == names[i]) {
            return static_cast<Mode>(i);
        }
    }
    return tools::wrong("--mode '" + text + "' is not one of gang threads process");
}

Result<void> apply_what(Options& into, int which, const std::string& text) {
    switch (which) {
        case coll:
            into.coll = TRY(named<Coll>("--coll", text, static_cast<int>(Coll::send_recv)));
            return {};
        case type:
            into.type = TRY(named<DataType>("--type", text, data_type_count - 1));
            return {};
        case op:
            into.op = TRY(named<RedOp>("--op", text, static_cast<int>(RedOp::pre_mul_sum)));
            return {};
        case mode:
            into.mode = TRY(mode_read(text));
            return {};
        case windows:
            into.windows =
                TRY(named<InWindows>("--windows", text, static_cast<int>(InWindows::program)));
            return {};
        case count:
            into.count =
                static_cast<uint64_t>(TRY(tools::number_read("--count", text, 0, 1ll << 40)));
            return {};
        case bytes:
            into.bytes = TRY(tools::size_read("--bytes", text));
            return {};
        default:
            return tools::wrong("an option that is not known");
    }
}

Result<void> apply(Options& into, int which, const std::string& text) {
    switch (which) {
        case device:
            into.device = TRY(small("--device", text, 0, 1023));
            return {};
        case deadline:
            into.deadline_s = TRY(small("--deadline", text, 1, 3600));
            return {};
        case ranks:
            into.ranks = TRY(small("--ranks", text, 1, 32));
            return {};
        case rank:
            into.rank = TRY(small("--rank", text, 0, 31));
            return {};
        case root:
            into.root = TRY(small("--root", text, 0, 31));
            return {};
        case rounds:
            into.rounds = TRY(small("--rounds", text, 1, 1 << 30));
            return {};
        case in_place:
            into.in_place = true;
            return {};
        case streams:
            into.streams = true;
            return {};
        case all:
            into.all = true;
            return {};
        case foreign:
            into.foreign = true;
            return {};
        default:
            return apply_what(into, which, text);
    }
}

}  // namespace

const char* to_string(InWindows windows) {
    constexpr const char* names[] = {"none", "library", "program"};
    return names[static_cast<int>(windows)];
}

Result<Options> options_of(int argc, char** argv) {
    Options made;
    if (argc < 2 || argv[1][0] == '-') {
        return tools::wrong("a command must come first");
    }
    made.command = argv[1];
    const tools::CommandLine line{"weft-gpu-check", argc, argv, longs, "", 2};
    const int end = TRY(tools::options_read(
        line, [&](int which, const std::string& text) { return apply(made, which, text); }));
    if (end != argc) {
        return tools::wrong(std::string("'") + argv[end] + "' is not an option");
    }
    if (made.root >= made.ranks || made.rank >= made.ranks) {
        return tools::wrong("--root and --rank must be smaller than --ranks");
    }
    return made;
}

}  // namespace weft::suite
