#include "topology/cluster.h"

#include <algorithm>
#include <map>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "topology/units.h"

namespace weft::topology {

namespace {

constexpr uint8_t wire_version = 1;

Error wrong(std::string what) {
    return make_error(Code::invalid_argument, Scope::call, std::move(what));
}

Result<void> value_check(const char* what, int64_t value, int64_t most) {
    if (value < 0 || value > most) {
        return wrong(format("%s is %lld: expected 0 (unknown) to %lld", what,
                            static_cast<long long>(value), static_cast<long long>(most)));
    }
    return {};
}

Result<void> rails_check(const Host& host, size_t rank) {
    const auto& rails = host.rank_rails[rank];
    if (rails.empty() != host.rail_rates.empty()) {
        return wrong(format("local rank %zu has %zu rails on a host with %d", rank, rails.size(),
                            host.rail_count()));
    }
    for (size_t i = 0; i < rails.size(); ++i) {
        if (rails[i] >= host.rail_rates.size()) {
            return wrong(
                format("local rank %zu names rail %u of %d", rank, rails[i], host.rail_count()));
        }
        if (i > 0 && rails[i] <= rails[i - 1]) {
            return wrong(format("local rank %zu: its rails are not in ascending order", rank));
        }
    }
    return {};
}

Result<Host> rates_decode(ByteReader& reader, uint16_t rails) {
    Host host;
    while (host.rail_rates.size() < rails) {
        const uint16_t count = TRY(reader.u16());
        const int64_t rate = TRY(reader.i64());
        const size_t wanted = rails - host.rail_rates.size();
        const bool repeats = !host.rail_rates.empty() && host.rail_rates.back() == rate;
        if (count == 0 || count > wanted || repeats) {
            return wrong(format("a run of %u rail rates where %zu are left", count, wanted));
        }
        host.rail_rates.insert(host.rail_rates.end(), count, rate);
    }
    return host;
}

Result<Host> fields_decode(ByteReader& reader) {
    const uint8_t version = TRY(reader.u8());
    if (version != wire_version) {
        return wrong(format("version %u, this is version %u", version, wire_version));
    }
    const uint16_t ranks = TRY(reader.u16());
    const uint16_t rails = TRY(reader.u16());
    if (ranks > host_ranks_max || rails > host_rails_max) {
        return wrong(format("%u ranks and %u rails, at most %d and %d are possible", ranks, rails,
                            host_ranks_max, host_rails_max));
    }
    Host host = TRY(rates_decode(reader, rails));
    host.local_rate = TRY(reader.i64());
    host.local_latency_ns = TRY(reader.i64());
    host.rail_latency_ns = TRY(reader.i64());
    for (uint16_t rank = 0; rank < ranks; ++rank) {
        const uint16_t count = TRY(reader.u16());
        if (count > rails) {
            return wrong(format("local rank %u has %u rails of %u", rank, count, rails));
        }
        auto& own = host.rank_rails.emplace_back();
        for (uint16_t i = 0; i < count; ++i) {
            own.push_back(TRY(reader.u16()));
        }
    }
    TRY(reader.end());
    TRY(host_check(host));
    return host;
}

// How many hosts and ranks, both within bounds.
struct Size {
    int64_t hosts = 0;
    int64_t ranks = 0;
};

Result<Size> size_of(const std::vector<Hosts>& hosts) {
    Size size;
    for (const Hosts& group : hosts) {
        if (group.count < 1 || group.count > hosts_max) {
            return wrong(format("%d hosts of a kind: expected 1 to %d", group.count, hosts_max));
        }
        size.hosts += group.count;
        size.ranks += int64_t{group.count} * group.host.rank_count();
        if (size.hosts > hosts_max || size.ranks > ranks_max) {
            return wrong(format("more than %d hosts or %d ranks", hosts_max, ranks_max));
        }
    }
    if (size.hosts == 0) {
        return wrong("a cluster without hosts");
    }
    return size;
}

// Equal hosts share a shape, wherever they stand.
Result<void> shapes_find(Cluster& cluster, const std::vector<Hosts>& hosts, int64_t host_count) {
    std::map<std::string, int32_t> known;
    for (const Hosts& group : hosts) {
        const size_t index = cluster.host_shape.size();
        auto checked = host_check(group.host);
        if (!checked.ok()) {
            checked.error().what = format("host %zu: ", index) + checked.error().what;
            return checked;
        }
        if (host_count > 1 && group.host.rail_rates.empty()) {
            return wrong(
                format("host %zu has no rails: its ranks cannot reach other hosts (%lld "
                       "in all)",
                       index, static_cast<long long>(host_count)));
        }
        const auto fresh = static_cast<int32_t>(cluster.shapes.size());
        const auto [found, added] = known.emplace(host_encode(group.host), fresh);
        if (added) {
            cluster.shapes.push_back(group.host);
        }
        const auto count = static_cast<size_t>(group.count);
        cluster.host_shape.insert(cluster.host_shape.end(), count, found->second);
        cluster.host_ranks.insert(cluster.host_ranks.end(), count,
                                  std::vector<int32_t>(group.host.rank_rails.size(), -1));
    }
    return {};
}

Result<void> rank_seat(Cluster& cluster, size_t rank, const RankPlace& place) {
    const bool exists = place.host >= 0 && place.host < cluster.host_count() && place.local >= 0 &&
                        place.local < cluster.host(place.host).rank_count();
    if (!exists) {
        return wrong(format("rank %zu is placed at local rank %d of host %d, which does not exist",
                            rank, place.local, place.host));
    }
    int32_t& seat =
        cluster.host_ranks[static_cast<size_t>(place.host)][static_cast<size_t>(place.local)];
    if (seat != -1) {
        return wrong(format("ranks %d and %zu are both local rank %d of host %d", seat, rank,
                            place.local, place.host));
    }
    seat = static_cast<int32_t>(rank);
    return {};
}

}  // namespace

std::vector<std::vector<uint16_t>> rails_in_blocks(int32_t ranks, int32_t rails) {
    std::vector<std::vector<uint16_t>> shares(static_cast<size_t>(ranks));
    for (int32_t i = 0; i < ranks && rails > 0; ++i) {
        const int32_t from = i * rails / ranks;
        const int32_t to = std::max((i + 1) * rails / ranks, from + 1);
        for (int32_t rail = from; rail < to; ++rail) {
            shares[static_cast<size_t>(i)].push_back(static_cast<uint16_t>(rail));
        }
    }
    return shares;
}

Result<void> host_check(const Host& host) {
    if (host.rank_rails.empty() || host.rank_rails.size() > host_ranks_max) {
        return wrong(format("%zu ranks on a host: expected 1 to %d", host.rank_rails.size(),
                            host_ranks_max));
    }
    if (host.rail_rates.size() > host_rails_max) {
        return wrong(format("%zu rails on a host: expected at most %d", host.rail_rates.size(),
                            host_rails_max));
    }
    TRY(value_check("the rate inside the host", host.local_rate, rate_max));
    TRY(value_check("the latency inside the host", host.local_latency_ns, latency_max_ns));
    TRY(value_check("the latency of the rails", host.rail_latency_ns, latency_max_ns));
    for (const int64_t rate : host.rail_rates) {
        TRY(value_check("the rate of a rail", rate, rate_max));
    }
    for (size_t rank = 0; rank < host.rank_rails.size(); ++rank) {
        TRY(rails_check(host, rank));
    }
    return {};
}

Result<Cluster> cluster_of(const std::vector<Hosts>& hosts, std::vector<RankPlace> ranks) {
    const Size size = TRY(size_of(hosts));
    if (size.ranks != static_cast<int64_t>(ranks.size())) {
        return wrong(format("%zu ranks for %lld places on the hosts", ranks.size(),
                            static_cast<long long>(size.ranks)));
    }
    Cluster cluster;
    TRY(shapes_find(cluster, hosts, size.hosts));
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
        TRY(rank_seat(cluster, rank, ranks[rank]));
    }
    cluster.ranks = std::move(ranks);
    return cluster;
}

Result<Cluster> cluster_in_blocks(const std::vector<Hosts>& hosts) {
    TRY(size_of(hosts));
    std::vector<RankPlace> ranks;
    int32_t host = 0;
    for (const Hosts& group : hosts) {
        for (const int32_t end = host + group.count; host < end; ++host) {
            for (int32_t local = 0; local < group.host.rank_count(); ++local) {
                ranks.push_back(RankPlace{host, local});
            }
        }
    }
    return cluster_of(hosts, std::move(ranks));
}

std::string host_encode(const Host& host) {
    ByteWriter writer;
    writer.u8(wire_version);
    writer.u16(static_cast<uint16_t>(host.rank_rails.size()));
    writer.u16(static_cast<uint16_t>(host.rail_rates.size()));
    for (auto run = host.rail_rates.begin(); run != host.rail_rates.end();) {
        const auto end =
            std::find_if(run, host.rail_rates.end(), [&](int64_t rate) { return rate != *run; });
        writer.u16(static_cast<uint16_t>(end - run)).i64(*run);
        run = end;
    }
    writer.i64(host.local_rate).i64(host.local_latency_ns).i64(host.rail_latency_ns);
    for (const auto& rails : host.rank_rails) {
        writer.u16(static_cast<uint16_t>(rails.size()));
        for (const uint16_t rail : rails) {
            writer.u16(rail);
        }
    }
    return writer.take();
}

Result<Host> host_decode(std::string_view bytes) {
    ByteReader reader(bytes);
    auto host = fields_decode(reader);
    if (!host.ok()) {
        return make_error(Code::remote, Scope::peer,
                          "a peer's description of its host is not valid: " + host.error().what);
    }
    return host;
}

Digest cluster_hash(const Cluster& cluster) {
    ByteWriter writer;
    writer.text("weft cluster");
    writer.u32(static_cast<uint32_t>(cluster.shapes.size()));
    for (const Host& shape : cluster.shapes) {
        writer.text(host_encode(shape));
    }
    writer.u32(static_cast<uint32_t>(cluster.host_shape.size()));
    for (const int32_t shape : cluster.host_shape) {
        writer.i32(shape);
    }
    writer.u32(static_cast<uint32_t>(cluster.ranks.size()));
    for (const RankPlace& place : cluster.ranks) {
        writer.i32(place.host).i32(place.local);
    }
    return sha256(writer.view());
}

}  // namespace weft::topology
