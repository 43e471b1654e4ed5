// What the fabric of this process can do, asked of the endpoint itself: by its options' answers,
// not by version alone. Printed in one line, and compared between ranks as far as a difference
// would do harm. Thread rule: values; endpoint_prepare() before the endpoint is enabled.
// Failure rule: an option that the library does not know is left alone.
#pragma once

#include <rdma/fi_endpoint.h>

#include <cstdint>
#include <optional>
#include <string>

#include "transports/fabric/library.h"

namespace weft::fabric {

struct EndpointFeatures {
    bool efa = false;
    bool direct = false;                 // the fabric efa-direct
    bool receive_per_write = false;      // a peer's write uses up a posted receive
    bool cuda_calls = false;             // memory of GPUs is reached by CUDA calls, or not at all
    std::optional<bool> emulated_write;  // of EFA: no write of the NIC's
    std::optional<bool> in_order_128;    // of EFA: aligned 128 bytes land at once and in order
};

// Sets the options that must be set before fi_enable, and asks what the endpoint can do.
EndpointFeatures endpoint_prepare(fid_ep* endpoint, const fi_info& info, uint32_t library_version);

// The part of the INFO line that depends on neither rails nor waiting.
std::string features_text(const EndpointFeatures& features, const fi_info& info,
                          const Library& library);

// What has to be alike on all ranks, one "name=value" a line: the library's version, the fabric,
// how writes are made, how memory is addressed. Not the library's path, what a NIC can do beyond
// it, and sizes, which every sender knows of itself.
std::string features_record(const EndpointFeatures& features, const fi_info& info,
                            uint32_t library_version);

// What to tell the user of writes that are not the NIC's; empty where they are.
std::string features_concern(const EndpointFeatures& features, const Library& library);

}  // namespace weft::fabric
