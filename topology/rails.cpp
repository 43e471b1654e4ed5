#include "topology/rails.h"

#include <algorithm>
#include <map>
#include <utility>

#include "src/base/log.h"

namespace weft::topology {

namespace {

class Mapper {
  public:
    Mapper(const Machine& machine, const std::vector<int32_t>& ranks)
        : machine_(machine), ranks_(ranks) {}
    RailMap run();

  private:
    void rails_choose();
    void groups_serve();
    void group_serve(const std::vector<size_t>& ranks, const std::vector<int32_t>& near);
    void unused_give();
    std::pair<int32_t, std::vector<int32_t>> nearest(int32_t place) const;
    int32_t depth(size_t rank, int32_t rail) const {
        return common_depth(machine_, ranks_[rank], rail_places_[static_cast<size_t>(rail)]);
    }
    void give(size_t rank, int32_t rail) {
        map_.by_rank[rank].push_back(rail);
        used_[static_cast<size_t>(rail)] = true;
    }

    const Machine& machine_;             // borrowed for the call
    const std::vector<int32_t>& ranks_;  // borrowed for the call
    RailMap map_;
    std::vector<int32_t> rail_places_;
    std::vector<bool> used_;
};

void Mapper::rails_choose() {
    const NicKind kind = rail_kind(machine_);
    for (size_t i = 0; i < machine_.nics.size(); ++i) {
        if (machine_.nics[i].kind == kind && kind != NicKind::verbs) {
            map_.nics.push_back(static_cast<int32_t>(i));
            rail_places_.push_back(machine_.nics[i].place);
        }
    }
    used_.assign(map_.nics.size(), false);
}

// The depth of the deepest place that `place` has in common with a rail, and the rails there.
std::pair<int32_t, std::vector<int32_t>> Mapper::nearest(int32_t place) const {
    int32_t deepest = -1;
    std::vector<int32_t> near;
    for (size_t rail = 0; rail < rail_places_.size(); ++rail) {
        const int32_t here = common_depth(machine_, place, rail_places_[rail]);
        if (here > deepest) {
            deepest = here;
            near.clear();
        }
        if (here == deepest) {
            near.push_back(static_cast<int32_t>(rail));
        }
    }
    return {deepest, near};
}

void Mapper::group_serve(const std::vector<size_t>& ranks, const std::vector<int32_t>& near) {
    std::vector<int32_t> share;
    std::copy_if(near.begin(), near.end(), std::back_inserter(share),
                 [&](int32_t rail) { return !used_[static_cast<size_t>(rail)]; });
    if (share.empty()) {
        share = near;
    }
    for (size_t i = 0; i < ranks.size(); ++i) {
        const size_t from = i * share.size() / ranks.size();
        const size_t to = std::max((i + 1) * share.size() / ranks.size(), from + 1);
        for (size_t rail = from; rail < to; ++rail) {
            give(ranks[i], share[rail]);
        }
    }
}

void Mapper::groups_serve() {
    // Deepest first; the same nearest rails is the same place, for places form a tree.
    std::map<std::pair<int32_t, std::vector<int32_t>>, std::vector<size_t>> groups;
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
        auto [deepest, near] = nearest(ranks_[rank]);
        groups[{-deepest, std::move(near)}].push_back(rank);
    }
    for (const auto& [key, ranks] : groups) {
        group_serve(ranks, key.second);
    }
}

void Mapper::unused_give() {
    for (size_t i = 0; i < used_.size(); ++i) {
        if (used_[i]) {
            continue;
        }
        const auto rail = static_cast<int32_t>(i);
        size_t best = 0;
        for (size_t rank = 1; rank < ranks_.size(); ++rank) {
            const auto key = [&](size_t r) {
                return std::pair(-depth(r, rail), map_.by_rank[r].size());
            };
            best = key(rank) < key(best) ? rank : best;
        }
        give(best, rail);
    }
}

RailMap Mapper::run() {
    rails_choose();
    map_.by_rank.resize(ranks_.size());
    if (!map_.nics.empty() && !ranks_.empty()) {
        groups_serve();
        unused_give();
    }
    for (auto& rails : map_.by_rank) {
        std::sort(rails.begin(), rails.end());
    }
    return std::move(map_);
}

size_t count_of(const Machine& machine, NicKind kind) {
    return static_cast<size_t>(std::count_if(machine.nics.begin(), machine.nics.end(),
                                             [&](const Nic& nic) { return nic.kind == kind; }));
}

}  // namespace

NicKind rail_kind(const Machine& machine) {
    for (const NicKind kind : {NicKind::efa, NicKind::unknown, NicKind::ethernet}) {
        if (count_of(machine, kind) > 0) {
            return kind;
        }
    }
    return NicKind::verbs;
}

std::vector<int32_t> gpu_places(const Machine& machine) {
    std::vector<int32_t> places;
    for (const Gpu& gpu : machine.gpus) {
        places.push_back(gpu.place);
    }
    return places;
}

std::vector<int32_t> cpu_places(const Machine& machine, int32_t count) {
    std::vector<std::pair<int32_t, int32_t>> nodes;
    for (size_t i = 0; i < machine.places.size(); ++i) {
        if (machine.places[i].kind == PlaceKind::numa) {
            nodes.emplace_back(machine.places[i].os_index, static_cast<int32_t>(i));
        }
    }
    std::sort(nodes.begin(), nodes.end());
    if (nodes.empty()) {
        nodes.emplace_back(0, 0);
    }
    const size_t ranks = count > 0 ? static_cast<size_t>(count) : nodes.size();
    std::vector<int32_t> places;
    for (size_t i = 0; i < ranks; ++i) {
        places.push_back(nodes[i * nodes.size() / ranks].second);
    }
    return places;
}

std::vector<int32_t> rank_gpus(const Machine& machine, int32_t count) {
    const size_t gpus = machine.gpus.size();
    const size_t ranks = gpus == 0 ? 0 : count > 0 ? static_cast<size_t>(count) : gpus;
    std::vector<int32_t> indices;
    for (size_t i = 0; i < ranks; ++i) {
        indices.push_back(static_cast<int32_t>(ranks > gpus ? i * gpus / ranks : i));
    }
    return indices;
}

std::vector<int32_t> rank_places(const Machine& machine, int32_t count) {
    if (machine.gpus.empty()) {
        return cpu_places(machine, count);
    }
    std::vector<int32_t> places = rank_gpus(machine, count);
    for (int32_t& place : places) {
        place = machine.gpus[static_cast<size_t>(place)].place;
    }
    return places;
}

RailMap rails_map(const Machine& machine, const std::vector<int32_t>& rank_places) {
    return Mapper(machine, rank_places).run();
}

std::vector<std::string> rails_notes(const Machine& machine, const RailMap& map) {
    std::vector<std::string> notes;
    const NicKind kind = rail_kind(machine);
    const size_t plain = count_of(machine, NicKind::ethernet);
    const size_t unlabelled = count_of(machine, NicKind::unknown);
    if (map.nics.empty()) {
        notes.push_back("no rails: no EFA device and no plain interface was found");
    } else if (kind == NicKind::ethernet) {
        notes.push_back("no EFA device: plain interfaces serve as rails");
    } else if (kind == NicKind::unknown) {
        notes.push_back("the file does not say what its NICs are: all it lists serve as rails");
    } else if (plain > 0) {
        notes.push_back(format("%zu plain interface%s: not used as rail%s, EFA is", plain,
                               plain == 1 ? "" : "s", plain == 1 ? "" : "s"));
    }
    if (kind == NicKind::efa && unlabelled > 0) {
        notes.push_back(format("%zu NIC%s of unknown kind: not used, EFA is", unlabelled,
                               unlabelled == 1 ? "" : "s"));
    }
    return notes;
}

}  // namespace weft::topology
