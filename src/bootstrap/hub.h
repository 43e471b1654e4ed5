// The control hub over any Net: what control_hub_make() builds on TCP and tests on a simulation.
#pragma once

#include <memory>

#include "src/bootstrap/control.h"
#include "src/bootstrap/net.h"

namespace weft {

std::unique_ptr<ControlHub> control_hub_on(std::unique_ptr<Net> net, const Settings& settings);

}  // namespace weft
