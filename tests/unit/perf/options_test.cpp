#include "perf/options.h"

#include "tests/catch.h"

using namespace weft::perf;

namespace {

Options parse(std::vector<const char*> words) {
    words.insert(words.begin(), "weft-perf");
    return options_parse(static_cast<int>(words.size()), words.data());
}

}  // namespace

TEST_CASE("the flags of nccl-tests, in all their spellings") {
    const Options options = parse({"reduce_scatter",
                                   "-b",
                                   "8",
                                   "-e",
                                   "64M",
                                   "-f2",
                                   "--iters=7",
                                   "-w",
                                   "0",
                                   "-c",
                                   "3",
                                   "-o",
                                   "all",
                                   "-d",
                                   "bfloat16",
                                   "-r",
                                   "all",
                                   "-g",
                                   "1",
                                   "-t",
                                   "4",
                                   "--json",
                                   "out.json",
                                   "--mem",
                                   "malloc"});
    REQUIRE(options.error.empty());
    CHECK(options.collective == Collective::reduce_scatter);
    CHECK(options.bytes_min == 8);
    CHECK(options.bytes_max == 64u << 20);
    CHECK(options.step_factor == 2);
    CHECK(options.iterations == 7);
    CHECK(options.warmups == 0);
    CHECK(options.checks == 3);
    CHECK(options.ops.size() == 6);
    CHECK(options.types == std::vector<Type>{Type::bf16});
    CHECK(options.root == -1);
    CHECK(options.threads == 4);
    CHECK(options.json_file == "out.json");
    CHECK(options.memory == Memory::heap);
    CHECK(options.local_register == LocalRegister::none);
}

TEST_CASE("how buffers are registered, as nccl-tests has it") {
    const auto asked = [](const char* text) { return parse({"all_gather", text}).local_register; };
    CHECK(asked("-R0") == LocalRegister::none);
    CHECK(asked("-R1") == LocalRegister::buffers);
    CHECK(asked("--local_register=2") == LocalRegister::windows);
    CHECK(parse({"all_gather", "-R", "2", "--mem", "device"}).error.empty());
}

TEST_CASE("every collective by name, also by its nccl-tests program name") {
    for (int i = 0; i < collective_count; ++i) {
        const auto collective = static_cast<Collective>(i);
        CHECK(parse({collective_name(collective)}).collective == collective);
    }
    CHECK(parse({"alltoall_perf"}).collective == Collective::all_to_all);
}

TEST_CASE("sizes") {
    const auto size = [](const char* text) { return parse({"reduce", "-e", "1T", "-b", text}); };
    CHECK(size("1.5K").bytes_min == 1536);
    CHECK(size("2g").bytes_min == 2ull << 30);
    CHECK(size("4MB").bytes_min == 4 << 20);
    CHECK(size("0").bytes_min == 0);
    for (const char* bad : {"", "-1", "K", "8x", "nan", "1e300", "8 "}) {
        CHECK_FALSE(size(bad).error.empty());
    }
    CHECK(options_sizes(parse({"reduce", "-b8", "-e64", "-f2"})) ==
          std::vector<size_t>{8, 16, 32, 64});
    CHECK(options_sizes(parse({"reduce", "-b8", "-e40", "-i16"})) ==
          std::vector<size_t>{8, 24, 40});
    CHECK(options_sizes(parse({"reduce", "-b0", "-e4", "-f2"})) == std::vector<size_t>{0, 1, 2, 4});
    CHECK(options_sizes(parse({"reduce"})) == std::vector<size_t>{32 << 20});
}

TEST_CASE("bad options give one line") {
    const std::vector<std::vector<const char*>> all = {
        {},
        {"all_reduce", "-q", "1"},
        {"all_reduce", "--bytes", "1"},
        {"all_reduce", "-n"},
        {"all_reduce", "-n", "0"},
        {"all_reduce", "-n", "x"},
        {"all_reduce", "-f", "1"},
        {"all_reduce", "-i", "0"},
        {"all_reduce", "-o", "xor"},
        {"all_reduce", "-d", "quad"},
        {"all_reduce", "-r", "-1"},
        {"all_reduce", "-g", "2"},
        {"all_reduce", "-a", "4"},
        {"all_reduce", "--mem", "gpu"},
        {"all_reduce", "-R", "3"},
        {"all_reduce", "-R", "-1"},
        {"all_reduce", "-R", "yes"},
        {"all_reduce", "-R", "2", "--mem", "malloc"},
        {"all_reduce", "-b", "8M", "-e", "4M"},
        {"all_reduce", "all_gather"},
        {"all_shuffle"},
        {"all_reduce", ""},
    };
    for (const auto& words : all) {
        const std::string error = parse(words).error;
        CAPTURE(words.size());
        CHECK_FALSE(error.empty());
        CHECK(error.find('\n') == std::string::npos);
    }
}

TEST_CASE("help names every collective and needs none") {
    CHECK(parse({"-h"}).help);
    CHECK(parse({"all_reduce", "--help"}).help);
    const std::string usage = options_usage();
    for (int i = 0; i < collective_count; ++i) {
        CHECK(usage.find(collective_name(static_cast<Collective>(i))) != std::string::npos);
    }
}
