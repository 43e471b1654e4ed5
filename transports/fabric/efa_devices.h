// The EFA devices that the kernel shows, whatever libfabric says of them: so that a NIC which is
// there and cannot be used is refused with the reason, not replaced by TCP. Looks at sysfs as
// topology does (PCI vendor 1d0f, device efa0 and up, or the driver efa), at the folder rdma-core
// takes for it. Thread rule: reentrant. Failure rule: what cannot be read is not there.
#pragma once

#include <string>
#include <vector>

#include "transports/fabric/environment.h"
#include "transports/fabric/library.h"

namespace weft::fabric {

struct EfaDevice {
    std::string pci;   // 0000:00:06.0
    std::string name;  // rdmap0s6, as libibverbs and libfabric name it; empty without the driver
    std::string node;  // /dev/infiniband/uverbs0; empty where the kernel offers none
    int refused = 0;   // errno of opening the node for reading and writing, 0: allowed
    bool operator==(const EfaDevice&) const = default;
};

// `sys` and `dev` are where sysfs and the device nodes are.
std::vector<EfaDevice> efa_devices(const std::string& sys, const std::string& dev = "/dev");

// SYSFS_PATH or /sys, the rule of rdma-core: a program that runs with others' rights ignores it.
std::string sysfs_root(const Environment& environment);

// Whether every EFA device can read another host's memory, as the driver says.
NicReads efa_reads();

// Why these devices cannot be used with this library, and what to do: one line.
Error efa_unusable(const Library& library, const std::vector<EfaDevice>& devices,
                   const Environment& environment, int getinfo_error);

}  // namespace weft::fabric
