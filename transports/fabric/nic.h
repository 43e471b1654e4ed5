// The NIC below an fi_info. Thread rule: reentrant.
#pragma once

#include <rdma/fabric.h>

#include <string>

namespace weft::fabric {

// "0000:10:1b.0", or nothing where the provider knows no PCI device.
std::string nic_address(const fi_info& info);

}  // namespace weft::fabric
