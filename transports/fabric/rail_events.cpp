// What goes wrong on a rail and belongs to no transfer of ours. EFA's provider sends packets of its
// own (the first exchange with a peer); where one fails it writes to the endpoint's event queue,
// and where there is none it calls abort() (efa_eq_write_error in libfabric's prov/efa, 1.17 to
// 2.5). So that a peer which cannot be reached does not end this process, every endpoint has one.
#include <rdma/fi_errno.h>

#include "transports/fabric/rail.h"
#include "transports/fabric/translate.h"

namespace weft::fabric {

void Rail::open_events() {
    if (!std::string_view(info_->fabric_attr->prov_name).starts_with("efa")) {
        return;
    }
    fi_eq_attr attributes{};
    attributes.wait_obj = FI_WAIT_NONE;
    fid_eq* events = nullptr;
    const int rc = fi_eq_open(fabric_.get(), &attributes, &events, nullptr);
    if (rc == 0) {
        events_.reset(events);
    } else {
        LOG(info, net, "rail %s: no event queue: %s", name_.c_str(), library_.error_text(-rc));
    }
}

void Rail::events_bind(fid_ep* endpoint) {
    const int rc = events_ ? fi_ep_bind(endpoint, &events_.get()->fid, 0) : 0;
    if (rc != 0) {
        LOG(info, net, "rail %s: binding the event queue: %s", name_.c_str(),
            library_.error_text(-rc));
    }
}

// The transfer that such a packet went before fails by itself, with its peer's name.
void Rail::events_read() {
    fi_eq_err_entry entry{};
    while (events_ && fi_eq_readerr(events_.get(), &entry, 0) > 0) {
        LOG(info, net, "rail %u (%s): a packet of libfabric's own failed: %s%s", index_,
            name_.c_str(), library_.error_text(entry.err),
            completion_hint(info_->fabric_attr->prov_name, entry.err, entry.prov_errno).c_str());
        entry = {};
    }
}

}  // namespace weft::fabric
