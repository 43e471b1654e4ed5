// From hwloc's tree to ours, and what can be said against an hwloc file before hwloc sees it. Only
// discover.cpp and tests include it. Thread rule: reentrant; the topology is borrowed.
#pragma once

#include <hwloc.h>

#include "topology/graph.h"
#include "topology/system_facts.h"
#include "topology/xml.h"

namespace weft::topology {

// Loaded with the PCI and network filters of discover.cpp. `facts` is null for a recorded machine.
Machine machine_of_hwloc(hwloc_topology_t topology, const SystemFacts* facts);

// hwloc answers any fault in a file with "invalid argument", and takes what cannot be (a PCI
// address twice, a negative rate). This says file, line and reason.
Result<void> hwloc_document_check(const XmlDocument& document);

}  // namespace weft::topology
