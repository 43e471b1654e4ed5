#include "src/plan/cluster.h"

#include "src/base/log.h"

namespace weft::plan {

Result<std::shared_ptr<const Cluster>> Cluster::of(std::vector<std::vector<int32_t>> hosts) {
    const auto bad = [](const std::string& what) {
        return make_error(Code::invalid_argument, Scope::operation, what);
    };
    auto made = std::make_shared<Cluster>();
    size_t ranks = 0;
    for (const auto& host : hosts) {
        ranks += host.size();
    }
    made->host_of_.assign(ranks, -1);
    made->local_of_.assign(ranks, 0);
    std::vector<size_t> sizes;
    for (size_t h = 0; h < hosts.size(); h++) {
        if (hosts[h].empty()) {
            return bad(format("host %zu of the list has no rank", h));
        }
        sizes.push_back(hosts[h].size());
        for (size_t l = 0; l < hosts[h].size(); l++) {
            const int32_t rank = hosts[h][l];
            if (rank < 0 || static_cast<size_t>(rank) >= ranks ||
                made->host_of_[static_cast<size_t>(rank)] >= 0) {
                return bad(format("the hosts' lists name rank %d: expected each of %zu ranks once",
                                  rank, ranks));
            }
            made->host_of_[static_cast<size_t>(rank)] = static_cast<int32_t>(h);
            made->local_of_[static_cast<size_t>(rank)] = static_cast<int32_t>(l);
        }
    }
    if (hosts.empty()) {
        return bad("a cluster without hosts");
    }
    std::sort(sizes.begin(), sizes.end());
    made->rails_ = static_cast<int32_t>(sizes.back());
    made->ranks_min_ = static_cast<int32_t>(sizes.front());
    const size_t second = sizes[std::min<size_t>(1, sizes.size() - 1)];
    made->rails_shared_ = static_cast<int32_t>((sizes.back() + second - 1) / second);
    made->hosts_ = std::move(hosts);
    return std::shared_ptr<const Cluster>(std::move(made));
}

}  // namespace weft::plan
