#include "perf/table.h"

#include <sstream>

#include "tests/catch.h"

using namespace weft::perf;

namespace {

std::vector<std::string> fields(const std::string& line) {
    std::istringstream in(line);
    std::vector<std::string> words;
    for (std::string word; in >> word;) {
        words.push_back(word);
    }
    return words;
}

Row row_checked() {
    return {1024, 256, Type::f32, Op::sum, -1, {12.5, 0}, Timing{1234567.8, 3}};
}

}  // namespace

TEST_CASE("bus bandwidth") {
    const auto factor = [](Collective collective) {
        const Bandwidth rate = bandwidth(collective, 4, 1000000, 1000);
        CHECK(rate.algorithm_gbs == Approx(1.0));
        return rate.bus_gbs;
    };
    CHECK(factor(Collective::all_reduce) == Approx(1.5));
    CHECK(factor(Collective::all_gather) == Approx(0.75));
    CHECK(factor(Collective::reduce_scatter) == Approx(0.75));
    CHECK(factor(Collective::all_to_all) == Approx(0.75));
    CHECK(factor(Collective::gather) == Approx(0.75));
    CHECK(factor(Collective::scatter) == Approx(0.75));
    CHECK(factor(Collective::broadcast) == Approx(1.0));
    CHECK(factor(Collective::reduce) == Approx(1.0));
    CHECK(factor(Collective::send_recv) == Approx(1.0));
    CHECK(bandwidth(Collective::reduce, 1, 8, 0).bus_gbs == 0);
}

TEST_CASE("a row has thirteen fields, whatever was measured") {
    Row row = row_checked();
    CHECK(fields(table_row(Collective::all_reduce, 2, row)) ==
          std::vector<std::string>{"1024", "256", "float", "sum", "-1", "12.50", "0.08", "0.08",
                                   "0", "1234568", "0.00", "0.00", "3"});
    row.out_of_place.wrong.reset();
    row.in_place.reset();
    const std::vector<std::string> words = fields(table_row(Collective::all_to_all, 2, row));
    REQUIRE(words.size() == 13);
    CHECK(words[8] == "N/A");
    CHECK(words[12] == "N/A");
    row.bytes = size_t{1} << 40;
    CHECK(fields(table_row(Collective::all_reduce, 2, row)).size() == 13);
}

TEST_CASE("header and footer are comments") {
    const std::string text =
        table_header({}, 8, false) + table_footer(Collective::reduce, 8, {row_checked()});
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        CHECK(line.substr(0, 1) == "#");
    }
    CHECK(text.find("# Out of bounds values : 3 FAILED") != std::string::npos);
    CHECK(text.find("# Avg bus bandwidth    : ") != std::string::npos);
    CHECK(text.find("# Collective test concluded: reduce") != std::string::npos);
    CHECK(table_footer(Collective::reduce, 8, {}).find("values : 0 OK") != std::string::npos);
}

TEST_CASE("the header says what became of registered buffers") {
    const auto has = [](LocalRegister asked, bool registered, const char* line) {
        Options options;
        options.local_register = asked;
        return table_header(options, 2, registered).find(line) != std::string::npos;
    };
    CHECK(has(LocalRegister::windows, true, "\n# windows: yes\n#\n"));
    CHECK(has(LocalRegister::windows, false, "\n# windows: no\n#\n"));
    CHECK(has(LocalRegister::buffers, true, "\n# registered: yes\n#\n"));
    CHECK(has(LocalRegister::buffers, false, "\n# registered: no\n#\n"));
    CHECK_FALSE(has(LocalRegister::none, false, "windows"));
    CHECK_FALSE(has(LocalRegister::none, false, "registered"));
}

TEST_CASE("JSON") {
    Row unchecked = row_checked();
    unchecked.out_of_place.wrong.reset();
    CHECK(rows_json(Collective::all_reduce, 2, 1, {row_checked(), unchecked}) ==
          "{\"op\": \"all_reduce\", \"ranks\": 2, \"hosts\": 1, \"rows\": [\n"
          "  {\"bytes\": 1024, \"count\": 256, \"type\": \"float\", \"redop\": \"sum\", "
          "\"time_us\": 12.500, \"algbw_gbs\": 0.0819, \"busbw_gbs\": 0.0819, \"wrong\": 3},\n"
          "  {\"bytes\": 1024, \"count\": 256, \"type\": \"float\", \"redop\": \"sum\", "
          "\"time_us\": 12.500, \"algbw_gbs\": 0.0819, \"busbw_gbs\": 0.0819, \"wrong\": "
          "null}\n]}\n");
}
