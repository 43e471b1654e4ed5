#include "src/comm/relay_desks.h"

#include <algorithm>

namespace weft {

// What they ask for may all be under way at once.
static_assert(DeviceStreamed::lanes_max * RelayDesk::places_max <= bundles_apart_max);

RelayDesks::RelayDesks(const std::shared_ptr<gpu::Seat>& seat, uint32_t places,
                       const std::function<void()>& wake) {
    for (uint32_t lane = 0; lane < DeviceStreamed::lanes_max; lane++) {
        desks_.emplace_back(seat, places, wake);
    }
}

void RelayDesks::words_are(Words* words, gpu::Address device) {
    for (uint32_t lane = 0; lane < desks_.size(); lane++) {
        desks_[lane].words_are(&words->desks[lane], device + lane * sizeof(RelayDesk::Words));
    }
}

RelayDesk& RelayDesks::of(uint32_t lane) {
    used_.store(std::max(used_.load(), lane + 1));  // launches do it one after the other
    return desks_[lane];
}

void RelayDesks::graph_over(uint64_t graph) {
    for (RelayDesk& desk : desks_) {
        desk.graph_over(graph);
    }
}

void RelayDesks::serve(Shard& shard, const std::function<bool()>& stopped,
                       const std::function<void(const Error&)>& failed) {
    for (RelayDesk& desk : desks_) {
        desk.serve(shard, stopped, failed);
    }
}

bool RelayDesks::round() {
    bool moved = false;
    for (uint32_t lane = 0; lane < used_.load(); lane++) {
        moved = desks_[lane].round() || moved;
    }
    return moved;
}

bool RelayDesks::expects() const {
    return std::ranges::any_of(desks_, &RelayDesk::expects);
}

bool RelayDesks::serves() const {
    return std::ranges::any_of(desks_, &RelayDesk::serves);
}

void RelayDesks::let_go() {
    for (RelayDesk& desk : desks_) {
        desk.let_go();
    }
}

void RelayDesks::leave() {
    for (RelayDesk& desk : desks_) {
        desk.leave();
    }
}

}  // namespace weft
