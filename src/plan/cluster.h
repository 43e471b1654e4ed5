// Which ranks share a host, for the plans that have a level inside the hosts and one between them.
// Thread rule: values; a ClusterRef is shared and never changed.
//
// Rail l joins the l-th rank of every host. There are as many rails as the largest host has ranks;
// on a host of k ranks, its rank l % k stands in for rail l.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "src/base/result.h"

namespace weft::plan {

class Cluster {
  public:
    // The ranks of each host, in local order: together every rank from 0 on, once.
    static Result<std::shared_ptr<const Cluster>> of(std::vector<std::vector<int32_t>> hosts);

    int32_t host_count() const { return static_cast<int32_t>(hosts_.size()); }
    int32_t rank_count() const { return static_cast<int32_t>(host_of_.size()); }
    int32_t rails() const { return rails_; }
    int32_t ranks_min() const { return ranks_min_; }  // of the smallest host
    // Rails that the same two ranks may have in common, at most.
    int32_t rails_shared() const { return rails_shared_; }
    const std::vector<int32_t>& host(int32_t host) const {
        return hosts_[static_cast<size_t>(host)];
    }
    int32_t ranks_on(int32_t host) const { return static_cast<int32_t>(this->host(host).size()); }
    int32_t host_of(int32_t rank) const { return host_of_[static_cast<size_t>(rank)]; }
    int32_t local_of(int32_t rank) const { return local_of_[static_cast<size_t>(rank)]; }
    // Who stands for the rail on the host; and the rank whose number there it is, -1 if none.
    int32_t rail_rank(int32_t host, int32_t rail) const {
        const auto& ranks = this->host(host);
        const auto at = static_cast<size_t>(rail);
        return ranks[at < ranks.size() ? at : at % ranks.size()];
    }
    int32_t rank_at(int32_t host, int32_t local) const {
        const auto& ranks = this->host(host);
        return static_cast<size_t>(local) < ranks.size() ? ranks[static_cast<size_t>(local)] : -1;
    }
    const std::vector<std::vector<int32_t>>& hosts() const { return hosts_; }
    bool operator==(const Cluster& other) const { return hosts_ == other.hosts_; }

  private:
    std::vector<std::vector<int32_t>> hosts_;
    std::vector<int32_t> host_of_, local_of_;
    int32_t rails_ = 0, ranks_min_ = 0, rails_shared_ = 1;
};

// Shared, because every choice and program of a communicator names the one list of its hosts.
struct ClusterRef {
    std::shared_ptr<const Cluster> at;

    explicit operator bool() const { return at != nullptr; }
    const Cluster* operator->() const { return at.get(); }
    const Cluster& operator*() const { return *at; }
    bool operator==(const ClusterRef& other) const {
        return at == other.at || (at && other.at && *at == *other.at);
    }
};

}  // namespace weft::plan
