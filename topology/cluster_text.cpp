#include "topology/cluster_text.h"

#include <algorithm>
#include <optional>
#include <set>

#include "src/base/log.h"
#include "topology/units.h"
#include "topology/xml.h"

namespace weft::topology {

namespace {

constexpr size_t text_bytes_max = size_t{16} << 20;  // a million ranks out of order take 14 MB

Error wrong(std::string what) {
    return make_error(Code::invalid_argument, Scope::call, std::move(what));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(separator, at), text.size());
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

Result<int64_t> rate_or_unknown(std::string_view text) {
    return text == "unknown" ? Result<int64_t>(int64_t{0}) : rate_parse(text);
}

Result<int64_t> latency_or_unknown(std::string_view text) {
    return text == "unknown" ? Result<int64_t>(int64_t{0}) : latency_parse(text);
}

// One kind of hosts while its words are read.
struct Kind {
    int64_t hosts = 0;
    int64_t ranks = 0;
    int64_t rails = 0;
    std::vector<int64_t> rates;
    std::vector<std::vector<uint16_t>> map;
    Host host;
    std::set<std::string, std::less<>> seen;
};

class Parser {
  public:
    Result<Cluster> run(std::string_view text);

  private:
    Result<void> word(Kind& kind, std::string_view key, std::string_view value);
    Result<void> map(Kind& kind, std::string_view value) const;
    Result<void> order(std::string_view value);
    Result<void> finish(Kind& kind);

    std::vector<Hosts> hosts_;
    std::optional<std::vector<RankPlace>> order_;
};

Result<void> Parser::map(Kind& kind, std::string_view value) const {
    for (const std::string_view rank : split(value, '/')) {
        auto& rails = kind.map.emplace_back();
        for (const std::string_view rail : split(rank, ',')) {
            rails.push_back(static_cast<uint16_t>(TRY(count_parse(rail, 0, host_rails_max - 1))));
        }
    }
    return {};
}

Result<void> Parser::order(std::string_view value) {
    order_.emplace();
    for (const std::string_view place : split(value, ',')) {
        const size_t point = std::min(place.find('.'), place.size());
        const std::string_view local = place.substr(std::min(point + 1, place.size()));
        const int64_t host = TRY(count_parse(place.substr(0, point), 0, hosts_max - 1));
        order_->push_back(
            RankPlace{static_cast<int32_t>(host),
                      static_cast<int32_t>(TRY(count_parse(local, 0, host_ranks_max - 1)))});
    }
    return {};
}

Result<void> Parser::word(Kind& kind, std::string_view key, std::string_view value) {
    if (key == "hosts") {
        kind.hosts = TRY(count_parse(value, 1, hosts_max));
    } else if (key == "ranks") {
        kind.ranks = TRY(count_parse(value, 1, host_ranks_max));
    } else if (key == "rails") {
        kind.rails = TRY(count_parse(value, 0, host_rails_max));
    } else if (key == "nic") {
        for (const std::string_view rate : split(value, ',')) {
            kind.rates.push_back(TRY(rate_or_unknown(rate)));
        }
    } else if (key == "nvlink") {
        kind.host.local_rate = TRY(rate_or_unknown(value));
    } else if (key == "alpha") {
        kind.host.rail_latency_ns = TRY(latency_or_unknown(value));
    } else if (key == "alpha_local") {
        kind.host.local_latency_ns = TRY(latency_or_unknown(value));
    } else if (key == "map") {
        TRY(map(kind, value));
    } else if (key == "order") {
        TRY(order(value));
    } else {
        return wrong(
            "is unknown; known are hosts, ranks, rails, nic, nvlink, alpha, alpha_local, map, "
            "order");
    }
    return {};
}

Result<void> Parser::finish(Kind& kind) {
    if (kind.hosts == 0 || kind.ranks == 0) {
        return wrong("hosts=N and ranks=N are needed for every kind of hosts");
    }
    const auto rails = static_cast<size_t>(kind.rails);
    if (rails == 0 && !kind.rates.empty()) {
        return wrong("nic= needs rails=N");
    }
    if (kind.rates.size() > 1 && kind.rates.size() != rails) {
        return wrong(format("nic= holds %zu rates for %zu rails", kind.rates.size(), rails));
    }
    kind.host.rail_rates = kind.rates;
    if (kind.rates.size() != rails) {
        kind.host.rail_rates.assign(rails, kind.rates.empty() ? 0 : kind.rates[0]);
    }
    if (!kind.map.empty() && kind.map.size() != static_cast<size_t>(kind.ranks)) {
        return wrong(format("map= holds %zu ranks of %lld", kind.map.size(),
                            static_cast<long long>(kind.ranks)));
    }
    kind.host.rank_rails = kind.map.empty() ? rails_in_blocks(static_cast<int32_t>(kind.ranks),
                                                              static_cast<int32_t>(rails))
                                            : std::move(kind.map);
    hosts_.push_back(Hosts{std::move(kind.host), static_cast<int32_t>(kind.hosts)});
    return {};
}

Result<Cluster> Parser::run(std::string_view text) {
    if (text.size() > text_bytes_max) {
        return wrong(format("%zu bytes, at most %zu are read", text.size(), text_bytes_max));
    }
    Kind kind;
    for (const std::string_view part : split(text, ' ')) {
        if (part.empty()) {
            continue;
        }
        if (part == "+") {
            TRY(finish(kind));
            kind = Kind{};
            continue;
        }
        if (order_) {
            return wrong("order= must be the last word");
        }
        const size_t equals = part.find('=');
        const std::string_view key = part.substr(0, equals);
        if (equals == std::string_view::npos) {
            return wrong("'" + printable(part) + "': expected NAME=VALUE");
        }
        if (!kind.seen.emplace(key).second) {
            return wrong("'" + printable(key) + "' stands twice");
        }
        auto read = word(kind, key, part.substr(equals + 1));
        if (!read.ok()) {
            read.error().what = "'" + printable(key) + "' " + read.error().what;
            return std::move(read).error();
        }
    }
    TRY(finish(kind));
    return order_ ? cluster_of(hosts_, std::move(*order_)) : cluster_in_blocks(hosts_);
}

bool in_blocks(const Cluster& cluster) {
    int32_t rank = 0;
    for (const auto& locals : cluster.host_ranks) {
        for (const int32_t other : locals) {
            if (other != rank++) {
                return false;
            }
        }
    }
    return true;
}

std::string rates_text(const std::vector<int64_t>& rates) {
    const bool same =
        std::all_of(rates.begin(), rates.end(), [&](int64_t rate) { return rate == rates[0]; });
    if (same) {
        return rate_text(rates[0]);
    }
    std::string text;
    for (const int64_t rate : rates) {
        text += (text.empty() ? "" : ",") + rate_text(rate);
    }
    return text;
}

std::string map_text(const Host& host) {
    std::string text;
    for (const auto& rails : host.rank_rails) {
        text += text.empty() ? "" : "/";
        for (size_t i = 0; i < rails.size(); ++i) {
            text += (i == 0 ? "" : ",") + std::to_string(rails[i]);
        }
    }
    return text;
}

std::string kind_text(const Host& host, int32_t hosts) {
    std::string text = format("hosts=%d ranks=%d", hosts, host.rank_count());
    if (host.rail_count() > 0) {
        text += format(" rails=%d", host.rail_count());
        const bool known = std::any_of(host.rail_rates.begin(), host.rail_rates.end(),
                                       [](int64_t rate) { return rate > 0; });
        text += known ? " nic=" + rates_text(host.rail_rates) : "";
    }
    text += host.local_rate > 0 ? " nvlink=" + rate_text(host.local_rate) : "";
    text += host.rail_latency_ns > 0 ? " alpha=" + latency_text(host.rail_latency_ns) : "";
    text += host.local_latency_ns > 0 ? " alpha_local=" + latency_text(host.local_latency_ns) : "";
    const bool blocks = host.rank_rails == rails_in_blocks(host.rank_count(), host.rail_count());
    return text + (blocks ? "" : " map=" + map_text(host));
}

}  // namespace

Result<Cluster> cluster_parse(std::string_view text) {
    auto cluster = Parser().run(text);
    if (!cluster.ok()) {
        cluster.error().what = "cluster '" + printable(text) + "': " + cluster.error().what;
    }
    return cluster;
}

std::string cluster_text(const Cluster& cluster) {
    std::string text;
    const auto& shapes = cluster.host_shape;
    for (size_t from = 0; from < shapes.size();) {
        size_t to = from;
        while (to < shapes.size() && shapes[to] == shapes[from]) {
            ++to;
        }
        const Host& host = cluster.shapes[static_cast<size_t>(shapes[from])];
        text += (from == 0 ? "" : " + ") + kind_text(host, static_cast<int32_t>(to - from));
        from = to;
    }
    if (in_blocks(cluster)) {
        return text;
    }
    text += " order=";
    for (size_t rank = 0; rank < cluster.ranks.size(); ++rank) {
        const RankPlace& place = cluster.ranks[rank];
        text +=
            (rank == 0 ? "" : ",") + std::to_string(place.host) + "." + std::to_string(place.local);
    }
    return text;
}

}  // namespace weft::topology
