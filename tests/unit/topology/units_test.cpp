#include "topology/units.h"

#include "tests/catch.h"

using namespace weft::topology;

TEST_CASE("rates parse exactly and print in the largest unit") {
    CHECK(rate_parse("12.5GB/s").value() == 12'500'000'000);
    CHECK(rate_parse("100Gbit/s").value() == 12'500'000'000);
    CHECK(rate_parse("1B/s").value() == 1);
    CHECK(rate_parse("0.000000001GB/s").value() == 1);
    CHECK(rate_parse("8kbit/s").value() == 1000);
    CHECK(rate_parse("1000TB/s").value() == rate_max);
    CHECK(rate_text(12'500'000'000) == "12.5GB/s");
    CHECK(rate_text(15'753'846'169) == "15.753846169GB/s");
    CHECK(rate_text(999) == "999B/s");
    CHECK(rate_text(1000) == "1KB/s");
    CHECK(rate_text(0) == "unknown");
    for (const int64_t rate : {int64_t{1}, int64_t{1023}, int64_t{63'015'384'674}, rate_max}) {
        CHECK(rate_parse(rate_text(rate)).value() == rate);
    }
}

TEST_CASE("rates for people have four digits") {
    CHECK(rate_rounded(15'753'846'169) == "15.75GB/s");
    CHECK(rate_rounded(31'507'692'337) == "31.51GB/s");
    CHECK(rate_rounded(12'500'000'000) == "12.5GB/s");
    CHECK(rate_rounded(99'999) == "100KB/s");
    CHECK(rate_rounded(999) == "999B/s");
    CHECK(rate_rounded(0) == "unknown");
}

TEST_CASE("latencies parse exactly and print in the largest unit") {
    CHECK(latency_parse("20us").value() == 20'000);
    CHECK(latency_parse("1.5ms").value() == 1'500'000);
    CHECK(latency_text(20'000) == "20us");
    CHECK(latency_text(1'234) == "1.234us");
    CHECK(latency_text(latency_max_ns) == "1000s");
    CHECK(latency_parse(latency_text(latency_max_ns)).value() == latency_max_ns);
}

TEST_CASE("rates that are none are refused with what is accepted") {
    const auto refusal = [](const char* text) { return rate_parse(text).error().what; };
    CHECK(refusal("12.5") == "'12.5': expected a rate such as 12.5GB/s or 100Gbit/s");
    CHECK(refusal("GB/s") == "'GB/s': expected a rate such as 12.5GB/s or 100Gbit/s");
    CHECK(refusal("1.GB/s") == "'1.GB/s': expected a rate such as 12.5GB/s or 100Gbit/s");
    CHECK(refusal("-1GB/s") == "'-1GB/s': expected a rate such as 12.5GB/s or 100Gbit/s");
    CHECK(refusal("1001TB/s") == "'1001TB/s': too large");
    CHECK(refusal("1000.1TB/s") == "'1000.1TB/s': too large");
    CHECK(refusal("999999999999999999TB/s") == "'999999999999999999TB/s': too large");
    CHECK(refusal("0.5B/s") == "'0.5B/s': finer than can be kept");
    CHECK(refusal("0.001kbit/s") == "'0.001kbit/s': finer than can be kept");
    CHECK(refusal("0GB/s") == "'0GB/s': must be more than 0 (leave it out where it is unknown)");
}

TEST_CASE("counts are whole and within their range") {
    CHECK(count_parse("7", 0, 7).value() == 7);
    for (const char* text : {"8", "-1", "", "7x", "+7", " 7", "99999999999999999999"}) {
        CHECK_FALSE(count_parse(text, 0, 7).ok());
    }
    CHECK(count_parse("8", 1, 7).error().what == "'8': expected a whole number from 1 to 7");
}
