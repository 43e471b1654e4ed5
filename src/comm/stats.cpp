#include "src/comm/stats.h"

#include <cinttypes>

#include "src/base/log.h"

namespace weft {

std::string stats_line(const RankStats& stats) {
    const OpCounters& ops = stats.counters.ops;
    uint64_t copied = ops.copied_bytes, again = ops.again;
    for (const auto& [name, wire] : stats.counters.wires) {
        copied += wire.copied_bytes;
        again += wire.again;
    }
    std::string line = format("weft stats: rank %d comm %p ops=%" PRIu64 " copied_bytes=%" PRIu64
                              " messages=%" PRIu64 " puts=%" PRIu64 " put_bytes=%" PRIu64
                              " eager_bytes=%" PRIu64 " grants=%" PRIu64 " again=%" PRIu64
                              " late=%" PRIu64 " duplicates=%" PRIu64 " stale=%" PRIu64,
                              stats.rank, stats.comm, ops.ops, copied, ops.messages, ops.puts,
                              ops.put_bytes, ops.eager_bytes, ops.grants, again, ops.late_reports,
                              ops.duplicates_dropped, ops.stale_dropped);
    const char* separator = " to=";
    for (const auto& [peer, bytes] : stats.counters.sent) {
        line += format("%s%u:%" PRIu64, separator, peer, bytes);
        separator = ",";
    }
    for (const auto& [name, wire] : stats.counters.wires) {
        const std::string key = name.substr(0, name.find('('));
        line += format(" %s.puts=%" PRIu64 " %s.put_bytes=%" PRIu64 " %s.arrivals=%" PRIu64
                       " %s.arrival_bytes=%" PRIu64 " %s.copied_bytes=%" PRIu64 " %s.again=%" PRIu64
                       " %s.registrations=%" PRIu64 " %s.deregistrations=%" PRIu64
                       " %s.registration_hits=%" PRIu64,
                       key.c_str(), wire.puts, key.c_str(), wire.put_bytes, key.c_str(),
                       wire.arrivals, key.c_str(), wire.arrival_bytes, key.c_str(),
                       wire.copied_bytes, key.c_str(), wire.again, key.c_str(), wire.registrations,
                       key.c_str(), wire.deregistrations, key.c_str(), wire.registration_hits);
        for (size_t rail = 0; rail < wire.rail_bytes.size(); rail++) {
            line += rail == 0 ? format(" %s.rails=", key.c_str()) : ",";
            line += std::to_string(wire.rail_bytes[rail]);
        }
    }
    return line;
}

void StatsRegistry::keep(RankStats stats) {
    const std::lock_guard lock(mutex_);
    kept_.push_back(std::move(stats));
}

std::vector<RankStats> StatsRegistry::kept() const {
    const std::lock_guard lock(mutex_);
    return kept_;
}

}  // namespace weft
