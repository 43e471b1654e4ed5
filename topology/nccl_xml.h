// NCCL's topology files (NCCL_TOPO_FILE, NCCL_TOPO_DUMP_FILE): <system> holds <cpu>, which hold
// <pci>, which hold <pci>, <gpu> and <nic>; a <nic> holds <net>. Only these elements and the links
// inside <gpu> and <pci> are accepted; attributes that are not needed here are ignored, because
// NCCL adds some with every version. Pure. Thread rule: reentrant. Failure rule: the first fault as
// "FILE:LINE: reason".
#pragma once

#include "topology/graph.h"
#include "topology/xml.h"

namespace weft::topology {

// A file of one host. The file does not know packages; a <cpu> is a NUMA node.
Result<Machine> machine_of_nccl(const XmlDocument& document);

// Of a PCIe link, per direction, after its line code. 0 if either is 0.
int64_t pcie_rate(double gigatransfers, int64_t width);

}  // namespace weft::topology
