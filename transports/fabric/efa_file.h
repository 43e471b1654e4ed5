// What libfabric's `efa` leaves outside of the process. Before 1.21 every endpoint has 16 MiB in
// /dev/shm, for peers of the same host, whatever the settings say (FI_EFA_ENABLE_SHM_TRANSFER=0
// only keeps it from being used), and a process that does not close it leaves it there. Weft
// reaches peers of its host by memory of its own, so the name goes as soon as the endpoint has it.
// Thread rule: reentrant. Failure rule: a name that is not there is fine; nothing else is said.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

namespace weft::fabric {

// Of an endpoint with this raw address (fi_getname); empty where that is not one of EFA.
std::string efa_file_name(std::string_view endpoint_name, uid_t user);

void efa_file_remove(std::string_view endpoint_name);

}  // namespace weft::fabric
