// What goes wrong on a rail and belongs to no transfer of ours. EFA's provider sends packets of its
// own (the first exchange with a peer); where one fails it writes to the endpoint's event queue,
// and where there is none it calls abort() (efa_eq_write_error in libfabric's prov/efa, 1.17 to
// 2.5). So that a peer which cannot be reached does not end this process, every endpoint has one.
#include <rdma/fi_errno.h>

#include <cstring>

#include "transports/fabric/rail.h"
#include "transports/fabric/translate.h"

namespace weft::fabric {

namespace {
// Completion status of EFA's NIC that say something of the peer (efa_io_defs.h): its queue pair is
// gone, it is not ready, it does not answer.
constexpr int peer_first = 8;
constexpr int peer_last = 15;
constexpr int no_endpoint = 9;
constexpr int no_receive_left = 10;  // its process is stopped or starved, and so it is there
}  // namespace

void Rail::message_came(const TxOp& op) const {
    if (op.to == nullptr || !(op.owner.control || op.owner.probe)) {
        return;
    }
    op.to->probes_lost = 0;
    op.to->absent = false;
    op.to->trouble.clear();
    if (op.owner.control) {
        op.to->reached = clock_now();
    }
}

void Rail::message_failed(const TxOp& op, int provider_code, const std::string& cause) const {
    if (op.to == nullptr || !(op.owner.control || op.owner.probe) ||
        (op.owner.probe && features_.efa && provider_code == no_receive_left)) {
        return;
    }
    op.to->probes_lost += op.owner.probe ? 1 : 0;
    op.to->absent = features_.efa && provider_code == no_endpoint;
    op.to->trouble = cause;
}

// A farewell is sent once, to who may have gone before.
void Rail::control_lost(const TxOp& op, const Error& failure) const {
    if (!features_.efa || !op.owner.control || op.to == nullptr || op.to->lost_told) {
        return;
    }
    MessageHeader header;
    std::memcpy(&header, op.buffer->data, sizeof header);
    const bool every = header.kind == MessageKind::fence_ack && header.word == fence_every;
    if (header.kind != MessageKind::lost && !every) {
        op.to->lost_told = true;
        log_warn(failure.what + "; it is sent again");
    }
}

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

// What a peer's NIC refused or did not answer concerns that peer, and what we have under way to it
// fails by itself, with its name. Anything else is a failure inside of the provider.
void Rail::events_read() {
    fi_eq_err_entry entry{};
    if (fi_eq_readerr(events_.get(), &entry, 0) <= 0) {
        return;
    }
    const std::string what =
        format("a packet of libfabric's own failed: %s (provider: %d)%s",
               library_.error_text(entry.err), entry.prov_errno,
               completion_hint(info_->fabric_attr->prov_name, entry.err, entry.prov_errno).c_str());
    if (entry.prov_errno >= peer_first && entry.prov_errno <= peer_last) {
        LOG(info, net, "rail %u (%s): %s", index_, name_.c_str(), what.c_str());
    } else {
        rail_failed(what);
    }
}

}  // namespace weft::fabric
