// How the settings of a process open its fabric: the same for whoever is the composition root.
// Pure. Thread rule: reentrant.
#pragma once

#include "src/base/settings.h"
#include "transports/hubs.h"

namespace weft {

FabricOptions fabric_options(const Settings& settings);

}  // namespace weft
