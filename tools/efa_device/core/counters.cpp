#include "tools/efa_device/core/counters.h"

#include <iterator>

#include "src/base/log.h"

namespace weft::efa {

namespace {

struct Named {
    const char* name;
    Counters::Value Counters::*value;
};

constexpr Named table[] = {
    {"sends", &Counters::sends},
    {"writes", &Counters::writes},
    {"writes_imm", &Counters::writes_imm},
    {"reads", &Counters::reads},
    {"receives", &Counters::receives},
    {"packets", &Counters::packets},
    {"packet_bytes", &Counters::packet_bytes},
    {"retransmits", &Counters::retransmits},
    {"duplicates", &Counters::duplicates},
    {"torn", &Counters::torn},
    {"reorders", &Counters::reorders},
    {"rnrs", &Counters::rnrs},
    {"drops", &Counters::drops},
    {"stale_writes", &Counters::stale_writes},
    {"errors", &Counters::errors},
    {"cq_overruns", &Counters::cq_overruns},
    {"backpressure", &Counters::backpressure},
};
static_assert(std::size(table) * sizeof(Counters::Value) == sizeof(Counters));

}  // namespace

std::string counters_json(uint32_t host, uint32_t process, uint64_t seed,
                          const std::vector<CountersOf>& nics) {
    std::string text = format("{\"host\": %u, \"process\": %u, \"seed\": %llu, \"nics\": [", host,
                              process, static_cast<unsigned long long>(seed));
    const char* before = "\n  ";
    for (const CountersOf& nic : nics) {
        text += format("%s{\"name\": \"%s\"", before, nic.nic.c_str());
        for (const Named& one : table) {
            const auto value = static_cast<unsigned long long>((nic.values->*one.value).load());
            text += format(", \"%s\": %llu", one.name, value);
        }
        text += "}";
        before = ",\n  ";
    }
    return text + "\n]}\n";
}

}  // namespace weft::efa
