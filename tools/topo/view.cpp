#include "tools/topo/view.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace weft::topo {

using namespace topology;

namespace {

std::string ranks_where(const View& view, const std::function<bool(size_t)>& fits) {
    std::vector<int32_t> ranks;
    for (size_t rank = 0; rank < view.rank_places.size(); ++rank) {
        if (fits(rank)) {
            ranks.push_back(static_cast<int32_t>(rank));
        }
    }
    return ranks.empty() ? "" : (ranks.size() == 1 ? "rank " : "ranks ") + list_text(ranks);
}

}  // namespace

View view_of(Machine machine, int32_t ranks) {
    View view;
    view.rank_places = rank_places(machine, ranks);
    view.rails = rails_map(machine, view.rank_places);
    view.rank_gpus = rank_gpus(machine, ranks);
    view.rank_gpus.resize(view.rank_places.size(), -1);  // none without GPUs
    view.machine = std::move(machine);
    return view;
}

int32_t rail_of(const View& view, size_t nic) {
    const auto& nics = view.rails.nics;
    const auto found = std::find(nics.begin(), nics.end(), static_cast<int32_t>(nic));
    return found == nics.end() ? -1 : static_cast<int32_t>(found - nics.begin());
}

std::string list_text(const std::vector<int32_t>& numbers) {
    std::string text;
    for (const int32_t number : numbers) {
        text += (text.empty() ? "" : ", ") + std::to_string(number);
    }
    return text;
}

std::string ranks_of_gpu(const View& view, size_t gpu) {
    return ranks_where(
        view, [&](size_t rank) { return view.rank_gpus[rank] == static_cast<int32_t>(gpu); });
}

std::string ranks_of_place(const View& view, size_t place) {
    return ranks_where(view, [&](size_t rank) {
        return view.rank_gpus[rank] < 0 && view.rank_places[rank] == static_cast<int32_t>(place);
    });
}

}  // namespace weft::topo
