// weft-topo --svg: nested boxes, GPUs above the NICs of the same place, a line from every rank to
// each of its rails. Bridges that only pass something on are left out.
#pragma once

#include <string>

#include "tools/topo/view.h"

namespace weft::topo {

std::string machine_svg(const View& view);

}  // namespace weft::topo
