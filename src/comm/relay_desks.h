// The desks of one device side, one for each lane of a launch (message_lanes.h): each is an order
// of its own, so what is asked for at one waits for nothing at another. Collectives and then
// messages of one group are two launches to the first. Desks that no launch has used yet cost
// nothing. Thread rule, lifetime, failure rule: as relay_desk.h.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>

#include "src/comm/relay_desk.h"

namespace weft {

class RelayDesks {
  public:
    struct Words {
        RelayDesk::Words desks[DeviceStreamed::lanes_max];
    };

    RelayDesks(const std::shared_ptr<gpu::Seat>& seat, uint32_t places,
               const std::function<void()>& wake);
    void words_are(Words* words, gpu::Address device);

    // For what a launch enqueues.
    RelayDesk& of(uint32_t lane);
    void graph_over(uint64_t graph);

    void serve(Shard& shard, const std::function<bool()>& stopped,
               const std::function<void(const Error&)>& failed);
    bool round();
    bool expects() const;
    bool serves() const;
    void let_go();
    void leave();

  private:
    std::deque<RelayDesk> desks_;  // by lane
    std::atomic<uint32_t> used_{1};
};

}  // namespace weft
