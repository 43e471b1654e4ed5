// Where machine graphs come from: this machine, or a file. The only part of the module that looks
// at the machine it runs on. Thread-safe; takes milliseconds to tenths of a second. Failure rule:
// one line; for files "FILE:LINE: reason" where a line is at fault.
#pragma once

#include <string>

#include "topology/graph.h"

namespace weft::topology {

// By hwloc and the kernel. All processes of a host get the same graph, whatever cores they may use;
// but interfaces are those of the caller's network namespace.
Result<Machine> machine_live();

// An XML file of hwloc (lstopo FILE.xml) or NCCL (NCCL_TOPO_DUMP_FILE), told apart by its first
// element.
Result<Machine> machine_read(const std::string& path);

// This machine (empty path), or an hwloc file, as hwloc's XML with PCI devices.
Result<std::string> hwloc_xml(const std::string& path);

}  // namespace weft::topology
