// The ranks of one device communicator in this process, and what keeps their memory: a kernel of
// one rank reaches the memory of all, so none is freed before all are through. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "src/comm/device_rank.h"
#include "src/comm/device_side.h"
#include "src/comm/stream_claims.h"

namespace weft {

class DeviceClique : public DeviceSide {
  public:
    explicit DeviceClique(uint32_t rank_count) : claims_(rank_count), ranks_(rank_count) {}
    // Waits until nothing runs.
    ~DeviceClique() override;
    DeviceClique(const DeviceClique&) = delete;
    DeviceClique& operator=(const DeviceClique&) = delete;

    // Once a rank, before connect().
    void join(std::unique_ptr<DeviceRank> rank);
    // Tells this rank where all have their memory. All have joined. `names` by rank, for messages.
    Result<void> connect(uint32_t rank, std::vector<std::string> names);
    DeviceRank* rank(uint32_t rank) const { return ranks_[rank].get(); }
    const std::vector<std::string>& names() const { return names_; }
    const gpu::Seat& seat(uint32_t rank) const override { return ranks_[rank]->seat(); }
    void stop(uint32_t rank) override { ranks_[rank]->stop(); }
    bool rank_idle(uint32_t rank) override { return ranks_[rank]->idle(); }
    bool in_graphs(uint32_t rank) override { return ranks_[rank]->in_graphs(); }
    std::optional<Error> poll(uint32_t rank) override { return ranks_[rank]->poll(names_); }
    std::optional<uint64_t> standing(uint32_t rank) override;
    std::string waits_for(uint32_t rank) override { return claims_.waits_for(rank); }
    bool idle() const override;

    StreamClaims& claims() { return claims_; }

  private:
    mutable std::mutex mutex_;
    StreamClaims claims_;
    std::vector<std::unique_ptr<DeviceRank>> ranks_;  // by rank; constant once all have joined
    std::vector<std::string> names_;
};

}  // namespace weft
