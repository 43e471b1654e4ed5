#include "src/base/settings.h"

#include <random>
#include <set>

#include "src/base/settings_table.h"
#include "tests/catch.h"

using namespace weft;

namespace {

SettingSource environment(std::initializer_list<std::pair<std::string, std::string>> entries) {
    SettingSource source;
    for (const auto& [name, value] : entries) {
        source[name] = {value, "environment"};
    }
    return source;
}

}  // namespace

TEST_CASE("conf files are NAME=VALUE lines", "[base][settings]") {
    std::vector<std::string> warnings;
    const SettingSource source = conf_parse(
        "# a comment\n"
        "NCCL_DEBUG=INFO\r\n"
        "\n"
        "  WEFT_STATS = 1  \n"
        "NCCL_DEBUG=TRACE\n"
        "nonsense\n"
        "=value\n"
        "   # indented comment = x\n"
        "NCCL_ALGO=a=b",
        "/etc/x", warnings);
    CHECK(source.size() == 3);
    CHECK(source.at("NCCL_DEBUG").text == "INFO");  // the first one wins
    CHECK(source.at("NCCL_DEBUG").origin == "/etc/x:2");
    CHECK(source.at("WEFT_STATS").text == "1");
    CHECK(source.at("NCCL_ALGO").text == "a=b");
    REQUIRE(warnings.size() == 2);
    CHECK(warnings[0].find("/etc/x:6") == 0);
    CHECK(warnings[1].find("/etc/x:7") == 0);
}

TEST_CASE("the first source that names a setting wins", "[base][settings]") {
    const SettingSource file = {{"NCCL_DEBUG", {"WARN", "f:1"}}, {"WEFT_SPIN_US", {"7", "f:2"}}};
    const SettingsTable table =
        settings_build({environment({{"NCCL_DEBUG", "INFO"}}), file, environment({})});
    CHECK(table.values.debug == "INFO");
    CHECK(table.values.spin_us == 7);
    CHECK(table.chosen.at("WEFT_SPIN_US").origin == "f:2");
    CHECK(table.warnings.empty());
}

TEST_CASE("numbers are read as strtoll does", "[base][settings]") {
    const auto spin = [](const char* text) {
        return settings_build({environment({{"WEFT_SPIN_US", text}})}).values.spin_us;
    };
    CHECK(spin("0x10") == 16);
    CHECK(spin("010") == 8);
    CHECK(spin("-1") == -1);
    CHECK(spin("") == -1);
    const SettingsTable table = settings_build({environment(
        {{"NCCL_COMM_BLOCKING", "0"}, {"NCCL_LOCAL_REGISTER", "0"}, {"WEFT_STATS", "2"}})});
    CHECK(table.values.comm_blocking == 0);
    CHECK(!table.values.comm_split_share.has_value());
    CHECK(!table.values.local_register);
    CHECK(table.values.stats);
}

TEST_CASE("a bad value is named once and leaves the default", "[base][settings]") {
    for (const char* text : {"4M", "fast", "99999999999999999999", "-2", "1 2"}) {
        const SettingsTable table = settings_build({environment({{"WEFT_SPIN_US", text}})});
        CHECK(table.values.spin_us == -1);
        REQUIRE(table.warnings.size() == 1);
        CHECK(table.warnings[0].find("WEFT_SPIN_US=" + std::string(text)) == 0);
        CHECK(table.warnings[0].find("environment") != std::string::npos);
        CHECK(table.warnings[0].find("from -1 to") != std::string::npos);
    }
    const SettingsTable table = settings_build({environment({{"NCCL_SOCKET_FAMILY", "ipv4"}})});
    CHECK(table.values.socket_family.empty());
    REQUIRE(table.warnings.size() == 1);
    CHECK(table.warnings[0].find("AF_INET AF_INET6") != std::string::npos);
    CHECK(settings_build({environment({{"NCCL_DEBUG", "info"}})}).values.debug == "info");
}

TEST_CASE("an unknown name is answered with the nearest one", "[base][settings]") {
    const SettingsTable table = settings_build({environment({{"WEFT_SPINUS", "1"},
                                                             {"WEFT_TEST_BIN", "x"},
                                                             {"WEFT_RUN_X", "1"},
                                                             {"WEFT_PERF_CORRUPT", "1"},
                                                             {"WEFT_EFA_DEVICE_HOST", "1"},
                                                             {"NCCL_NEW", "1"}})});
    REQUIRE(table.warnings.size() == 1);
    CHECK(table.warnings[0].find("WEFT_SPINUS (environment)") == 0);
    CHECK(table.warnings[0].find("WEFT_SPIN_US") != std::string::npos);
}

TEST_CASE("secrets stay secret", "[base][settings]") {
    const SettingsTable table = settings_build({environment({{"WEFT_SECRET", "hush"}})});
    CHECK(table.values.secret == "hush");
    CHECK(settings_explain().find("hush") == std::string::npos);
}

TEST_CASE("the reference has one row per setting", "[base][settings]") {
    const std::string text = settings_reference();
    std::set<std::string> names;
    for (const SettingRow& row : settings_rows()) {
        CHECK(names.insert(row.name).second);
        CHECK(text.find("| `" + std::string(row.name) + "` |") != std::string::npos);
        CHECK(settings_explain().find(row.name) != std::string::npos);
    }
    CHECK(text.find("| `WEFT_INIT_TIMEOUT` | a whole number from 1 to 1000000 | 600 |") !=
          std::string::npos);
}

TEST_CASE("no text makes the parsers misbehave", "[base][settings]") {
    std::mt19937_64 random(1);
    const std::string seed =
        "# c\nNCCL_DEBUG=INFO\nWEFT_SPIN_US=5\n\n=\nWEFT_X=0x7f\nNCCL_SOCKET_IFNAME==eth0\n";
    for (int i = 0; i < 3000; ++i) {
        std::string text = seed;
        for (uint64_t edits = random() % 8; edits > 0; --edits) {
            const size_t at = random() % (text.size() + 1);
            switch (random() % 3) {
                case 0:
                    text.insert(at, 1, static_cast<char>(random()));
                    break;
                case 1:
                    text.erase(at, random() % 5);
                    break;
                default:
                    text.resize(at);
            }
        }
        std::vector<std::string> warnings;
        const SettingsTable table = settings_build({conf_parse(text, "f", warnings)});
        CHECK(table.values.init_timeout_s == 600);
    }
}
