// weft-topo --json. Unknown values are null.
#pragma once

#include <string>

#include "tools/topo/view.h"
#include "topology/cluster.h"

namespace weft::topo {

std::string machine_json(const View& view);
std::string cluster_json(const topology::Cluster& cluster);

}  // namespace weft::topo
