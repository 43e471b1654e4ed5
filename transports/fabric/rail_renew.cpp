// A rail given up and opened again. Closing the endpoint is what no write of a peer survives, on
// every provider: connections break (tcp), queue pairs go with their keys (EFA); a put that a
// stopped or stuck peer makes later finds no endpoint of that name.
#include <rdma/fi_errno.h>

#include "transports/fabric/rail.h"

namespace weft::fabric {

namespace {
// A rail whose completions cannot be read again so soon after it was opened is broken.
constexpr Nanos renewals_apart = 10 * nanos_per_s;
}  // namespace

Result<void> Rail::usable() const {
    if (lost_.empty()) {
        return {};
    }
    return make_error(Code::system, Scope::process, lost_);
}

bool Rail::busy_towards(const Inbox* inbox, uint32_t peer) const {
    for (const TxOp& op : ops_) {
        if (op.busy && op.owner.inbox == inbox && op.owner.peer == peer) {
            return true;
        }
    }
    return false;
}

// libfabric's shm of 1.17 crashes when an endpoint goes that a peer of the same process has mapped.
// Its tcp;ofi_rxm did when one went that had received a part of a write: rail_write.cpp.
Result<void> Rail::renewable() const {
    const char* provider = info_->fabric_attr->prov_name;
    const bool bound = (info_->domain_attr->mr_mode & FI_MR_ENDPOINT) != 0;
    if (!bound && provider_traits(provider).real_network) {
        return {};
    }
    return make_error(
        Code::unsupported, Scope::process,
        format("rail %u (%s) cannot be opened again, for %s %s: end this process", index_,
               name_.c_str(), provider,
               bound ? "binds memory to the endpoint" : "shares memory with its peers"));
}

// Children before parents.
void Rail::close_objects() {
    if (flush_self_ != nullptr) {
        endpoint_release(flush_self_);
        flush_self_ = nullptr;
    }
    endpoint_.reset();
    queue_.reset();
    addresses_.reset();
    wait_fd_ = -1;
    peers_->vector_renewed();
    buffers_->posted_reclaim();
    receives_posted_ = 0;
}

Result<void> Rail::open_again() {
    const bool broke = queue_broken_;
    const Nanos now = clock_now();
    const bool too_soon = broke && renewed_ != 0 && now - renewed_ < renewals_apart;
    queue_broken_ = false;
    renewed_ = now;
    if (too_soon) {
        return make_error(Code::system, Scope::process, "it failed again within 10 s");
    }
    TRY(open_vector());
    TRY(open_queue());
    TRY(open_endpoint());
    receives_post();
    return {};
}

// The endpoint is closed: no completion comes any more, and nobody uses their memory.
void Rail::end_transmits(RailEvents& events, const std::string& why) {
    for (TxOp& op : ops_) {
        if (!op.busy) {
            continue;
        }
        const TxOwner owner = op.owner;
        const Error ended = make_error(
            Code::remote, Scope::peer,
            format("rail %u (%s, %s): what was under way to rank %u ended with the rail: %s",
                   index_, name_.c_str(), info_->fabric_attr->prov_name, owner.peer, why.c_str()));
        tx_give(op);
        events.on_finished(*this, owner, &ended);
    }
}

Result<void> Rail::renew(RailEvents& events, const std::string& why) {
    if (!lost_.empty()) {
        return {};
    }
    TRY(renewable());
    close_objects();
    incarnation_.fetch_add(1);
    const auto opened = open_again();
    if (!opened.ok()) {
        close_objects();
        controls_.clear();
        controls_waiting_.store(0);
        lost_ = format("rail %u (%s) is lost: %s, and opening it again failed: %s", index_,
                       name_.c_str(), why.c_str(), opened.error().what.c_str());
    }
    log_warn(opened.ok() ? format("rail %u (%s) was given up and opened again: %s", index_,
                                  name_.c_str(), why.c_str())
                         : lost_);
    end_transmits(events, why);
    return {};
}

}  // namespace weft::fabric
