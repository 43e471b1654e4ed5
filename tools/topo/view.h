// What the printers print: a machine, its local ranks and their rails.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/graph.h"
#include "topology/rails.h"

namespace weft::topo {

struct View {
    topology::Machine machine;
    std::vector<int32_t> rank_places;  // by local rank
    std::vector<int32_t> rank_gpus;    // by local rank: index into Machine::gpus, -1 for none
    topology::RailMap rails;
};

View view_of(topology::Machine machine, int32_t ranks);

// The rail that NIC `index` of the machine is, -1 if none.
int32_t rail_of(const View& view, size_t nic);

std::string list_text(const std::vector<int32_t>& numbers);  // "0, 1, 2"

// "ranks 0, 1" of a GPU or of a place without GPUs; empty if there are none.
std::string ranks_of_gpu(const View& view, size_t gpu);
std::string ranks_of_place(const View& view, size_t place);

}  // namespace weft::topo
