// The text of weft-topo.
#pragma once

#include <span>
#include <string>

#include "tools/topo/view.h"
#include "topology/profiles.h"

namespace weft::topo {

// Tree, rails, ranks, the host as a cluster's text, notes.
std::string tree_text(const View& view);

std::string comparison_text(std::span<const topology::Comparison> rows);
std::string profiles_text();
std::string cluster_summary(const topology::Cluster& cluster);

}  // namespace weft::topo
