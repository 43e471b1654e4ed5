#include "transports/fabric/rail.h"

#include <rdma/fi_errno.h>

#include <algorithm>
#include <cstring>

#include "src/base/machine.h"
#include "transports/fabric/efa_file.h"
#include "transports/fabric/newer.h"
#include "transports/fabric/translate.h"

namespace weft::fabric {

namespace {

constexpr uint32_t receives_of_messages = 128;  // where writes use up none
constexpr int batch = 32;
// What EFA runs out of without saying so.
constexpr const char* queue_pairs_scarce =
    "; or the NIC has no queue pair left, for other processes of this host use it: end some";
constexpr const char* address_handles_scarce =
    "; or the NIC has no address handle left: it has one for each of at most 1,024 remote NICs "
    "that all processes of this host talk to: end some, or use fewer rails (WEFT_RAILS)";
// Where no more buffers can be had, receives leave so many to what is sent.
constexpr size_t buffers_to_send = 8;
constexpr int controls_per_flush = 32;

std::string peer_text(uint32_t peer) {
    return peer == no_rank ? "a peer not met yet" : format("rank %u", peer);
}

}  // namespace

// Keys that we choose have 32 bits, so that those of many rails fit a reference.
Rail::Rail(const Library& library, const RailChoice& choice, uint8_t index, InfoPtr info,
           const FabricLimits& limits)
    : library_(library),
      name_(choice.name),
      index_(index),
      limits_(limits),
      info_(std::move(info)),
      immediate_apart_(provider_traits(info_->fabric_attr->prov_name).immediate_apart),
      share_(queue_share(limits.queue_entries, info_->tx_attr->size / (immediate_apart_ ? 2 : 1),
                         info_->rx_attr->size)),
      next_key_(random_u64()) {
    const fi_domain_attr& domain = *info_->domain_attr;
    key_bytes_ = (domain.mr_mode & FI_MR_PROV_KEY) != 0 && domain.mr_key_size > 4 ? 8 : 4;
}

// The endpoint goes first: providers with a thread of their own receive into posted buffers until
// it is closed.
Rail::~Rail() {
    endpoint_.reset();
}

Result<std::unique_ptr<Rail>> Rail::open(const Library& library, const RailChoice& choice,
                                         uint8_t index, const FabricLimits& limits) {
    InfoPtr info(library.dup_info(choice.info.get()), InfoDelete{&library});
    if (!info) {
        return make_error(Code::system, Scope::process, "no memory for a rail's description");
    }
    std::unique_ptr<Rail> rail(new Rail(library, choice, index, std::move(info), limits));
    auto opened = rail->open_objects();
    if (!opened.ok()) {
        return std::move(opened).error();
    }
    std::lock_guard guard(rail->lock_);
    rail->receives_post();
    if (rail->receives_posted_ == 0) {
        TRY(rail->check(-rail->receive_error_, "posting the first receive buffer"));
    }
    return rail;
}

Result<void> Rail::check(int rc, const char* what, const char* scarce) const {
    if (rc == 0) {
        return {};
    }
    const bool efa = std::string_view(info_->fabric_attr->prov_name).starts_with("efa");
    return make_error(
        Code::system, Scope::process,
        format("rail %s (%s): %s failed: %s%s%s", name_.c_str(), info_->fabric_attr->prov_name,
               what, library_.error_text(-rc), own_hint_for(-rc), efa ? scarce : ""),
        -rc);
}

Result<void> Rail::open_objects() {
    fid_fabric* fabric = nullptr;
    TRY(check(library_.open_fabric(info_->fabric_attr, &fabric, nullptr), "fi_fabric"));
    fabric_.reset(fabric);
    open_events();
    fid_domain* domain = nullptr;
    TRY(check(fi_domain(fabric, info_.get(), &domain, nullptr), "fi_domain"));
    domain_.reset(domain);
    TRY(open_vector());
    TRY(open_queue());
    TRY(open_endpoint());
    make_parts();
    return {};
}

Result<void> Rail::open_vector() {
    fi_av_attr attributes{};
    attributes.type = FI_AV_TABLE;
    fid_av* addresses = nullptr;
    TRY(check(fi_av_open(domain_.get(), &attributes, &addresses, nullptr), "fi_av_open"));
    addresses_.reset(addresses);
    return {};
}

Result<void> Rail::open_queue() {
    bool with_fd = provider_traits(info_->fabric_attr->prov_name).wait_fd && !limits_.no_sleepers;
    fi_cq_attr attributes{};
    attributes.size = share_.entries + (immediate_apart_ ? share_.transmits : 0);
    attributes.format = FI_CQ_FORMAT_DATA;
    attributes.wait_obj = with_fd ? FI_WAIT_FD : FI_WAIT_NONE;
    fid_cq* queue = nullptr;
    TRY(check(fi_cq_open(domain_.get(), &attributes, &queue, nullptr), "fi_cq_open"));
    queue_.reset(queue);
    if (with_fd) {
        TRY(check(fi_control(&queue->fid, FI_GETWAIT, &wait_fd_), "FI_GETWAIT"));
    }
    return {};
}

Result<void> Rail::open_endpoint() {
    fid_ep* endpoint = nullptr;
    TRY(check(fi_endpoint(domain_.get(), info_.get(), &endpoint, nullptr), "fi_endpoint"));
    endpoint_.reset(endpoint);
    TRY(check(fi_ep_bind(endpoint, &queue_.get()->fid, FI_TRANSMIT | FI_RECV), "binding the CQ"));
    TRY(check(fi_ep_bind(endpoint, &addresses_.get()->fid, 0), "binding the AV"));
    events_bind(endpoint);
    const EndpointFeatures features = endpoint_prepare(endpoint, *info_, library_.version());
    if (incarnation() == 0) {
        features_ = features;  // of the NIC: the same for every incarnation, and read by any thread
    }
    TRY(check(fi_enable(endpoint), "fi_enable", queue_pairs_scarce));
    char name[rail_name_max];
    size_t bytes = sizeof name;
    TRY(check(fi_getname(&endpoint->fid, name, &bytes), "fi_getname"));
    endpoint_name_.assign(name, bytes);
    if (features.efa && library_.version() < FI_VERSION(1, 21)) {
        efa_file_remove(endpoint_name_);
    }
    return {};
}

// What outlives an incarnation.
void Rail::make_parts() {
    peers_ = std::make_unique<Addresses>(
        address_limits(), [this](const std::string& peer) { return address_insert(peer); },
        [this](fi_addr_t address) { address_remove(address); });

    int mr_mode = info_->domain_attr->mr_mode;
    fid_ep* bound = (mr_mode & FI_MR_ENDPOINT) != 0 ? endpoint_.get() : nullptr;
    buffers_ = std::make_unique<BufferPool>(domain_.get(), bound, (mr_mode & FI_MR_LOCAL) != 0);
    receives_wanted_ = features_.receive_per_write
                           ? share_.receives
                           : std::min(receives_of_messages, share_.receives);
    ops_ = std::vector<TxOp>(share_.transmits);
    for (TxOp& op : ops_) {
        op.transmit = true;
        free_ops_.push_back(&op);
    }
}

AddressLimits Rail::address_limits() const {
    const std::string_view provider = info_->fabric_attr->prov_name;
    const bool efa = provider.starts_with("efa");
    AddressLimits limits = efa ? efa_address_limits : AddressLimits{};
    if (limits_.address_handles != 0) {
        limits.nics_max = limits_.address_handles;
        limits.idle = limits_.address_idle;
    }
    return limits;
}

Error Rail::named(Error error) const {
    error.what = format("rail %u (%s): %s", index_, name_.c_str(), error.what.c_str());
    return error;
}

Result<RemoteEndpoint*> Rail::endpoint_acquire(const std::string& endpoint_name) {
    TRY(usable());
    auto endpoint = peers_->acquire(endpoint_name, clock_now());
    return endpoint.ok() ? std::move(endpoint) : named(std::move(endpoint).error());
}

Result<fi_addr_t> Rail::address_of(RemoteEndpoint& endpoint) {
    TRY(usable());
    auto address = peers_->use(endpoint, clock_now());
    return address.ok() ? std::move(address) : named(std::move(address).error());
}

// Transmissions under way end without it.
void Rail::endpoint_release(RemoteEndpoint* endpoint) {
    if (endpoint->users == 1) {
        for (TxOp& op : ops_) {
            op.to = op.to == endpoint ? nullptr : op.to;
        }
        std::erase_if(controls_, [&](const Control& control) { return control.to == endpoint; });
        controls_waiting_.store(controls_.size());
    }
    peers_->release(endpoint);
}

Result<fi_addr_t> Rail::address_insert(const std::string& endpoint_name) {
    fi_addr_t address = FI_ADDR_UNSPEC;
    int rc = fi_av_insert(addresses_.get(), endpoint_name.data(), 1, &address, 0, nullptr);
    if (rc != 1) {
        TRY(check(rc < 0 ? rc : -FI_EINVAL, "inserting a peer's address", address_handles_scarce));
    }
    return address;
}

void Rail::address_remove(fi_addr_t address) {
    int rc = fi_av_remove(addresses_.get(), &address, 1, 0);
    if (rc != 0) {
        LOG(info, net, "rail %s: removing a peer's address failed: %s", name_.c_str(),
            library_.error_text(-rc));
    }
}

std::string Rail::address_text(const std::string& endpoint_name) const {
    if (!addresses_) {
        return "an unknown address";
    }
    char text[128] = "";
    size_t bytes = sizeof text;
    fi_av_straddr(addresses_.get(), endpoint_name.data(), text, &bytes);
    text[sizeof text - 1] = '\0';
    return text;
}

MemoryAbility Rail::ability() const {
    MemoryAbility ability = memory_ability(*info_, library_.version(), library_.api_version);
    ability.by_calls = features_.cuda_calls;
    return ability;
}

Result<FidHandle<fid_mr>> Rail::memory_register(void* memory, size_t bytes) {
    return memory_register({MemoryKind::host, memory, bytes}, FI_WRITE | FI_REMOTE_WRITE);
}

Result<FidHandle<fid_mr>> Rail::memory_register(const MemoryRequest& request, uint64_t access) {
    TRY(memory_allowed(request, ability(), name_.c_str()));
    bool provider_keys = (info_->domain_attr->mr_mode & FI_MR_PROV_KEY) != 0;
    size_t key_bytes = std::min<size_t>(info_->domain_attr->mr_key_size, 4);
    uint64_t mask = (uint64_t{1} << (8 * key_bytes)) - 1;
    fid_mr* registration = nullptr;
    int rc = -FI_ENOKEY;
    for (int attempt = 0; rc == -FI_ENOKEY && attempt < 16; ++attempt) {
        uint64_t key = provider_keys ? 0 : next_key_++ & mask;
        rc = fabric::memory_register(domain_.get(), request, access, key, &registration);
    }
    TRY(check(rc, format("registering %zu bytes", request.bytes).c_str()));
    FidHandle<fid_mr> owner(registration);
    if ((info_->domain_attr->mr_mode & FI_MR_ENDPOINT) != 0) {
        TRY(check(fi_mr_bind(registration, &endpoint_.get()->fid, 0), "binding memory"));
        TRY(check(fi_mr_enable(registration), "enabling memory"));
    }
    return owner;
}

TxOp* Rail::tx_take(const TxOwner& owner, RemoteEndpoint& to, size_t bytes) {
    if (free_ops_.empty()) {
        return nullptr;
    }
    TxOp* op = free_ops_.back();
    free_ops_.pop_back();
    op->owner = owner;
    op->to = &to;
    ++to.under_way;
    to.stream_written += bytes + stream_headers;
    op->bytes = bytes;
    op->parts = 1;
    op->stream_at = 0;
    op->busy = true;
    outstanding_.fetch_add(1, std::memory_order_relaxed);
    outstanding_bytes_.fetch_add(bytes, std::memory_order_relaxed);
    return op;
}

void Rail::tx_give(TxOp& op) {
    outstanding_.fetch_sub(1, std::memory_order_relaxed);
    outstanding_bytes_.fetch_sub(op.bytes, std::memory_order_relaxed);
    op.buffer.reset();
    op.failure.reset();
    if (op.to != nullptr) {
        --op.to->under_way;
        op.to = nullptr;
    }
    op.owner = {};
    op.busy = false;
    free_ops_.push_back(&op);
}

Result<Post> Rail::posted(TxOp& op, ssize_t rc, const char* what) {
    if (rc == 0) {
        return Post::accepted;
    }
    uint32_t peer = op.owner.peer;
    op.to->stream_written -= op.bytes + stream_headers;
    tx_give(op);
    answers_known_ = false;  // refusing, the provider may have made progress
    if (rc == -FI_EAGAIN) {
        return Post::again;
    }
    return refused(static_cast<int>(-rc), what, peer);
}

Error Rail::refused(int code, const char* what, uint32_t peer) const {
    return make_error(Code::remote, Scope::peer,
                      format("rail %u (%s, %s): %s to %s failed: %s%s", index_, name_.c_str(),
                             info_->fabric_attr->prov_name, what, peer_text(peer).c_str(),
                             library_.error_text(code), hint_for(code)),
                      code);
}

Result<Post> Rail::send(RemoteEndpoint& to, const MessageHeader& header, const void* body,
                        const TxOwner& owner) {
    fi_addr_t address = TRY(address_of(to));
    Buffer* buffer = free_ops_.empty() ? nullptr : buffers_->take();
    if (buffer == nullptr) {
        return Post::again;
    }
    TxOp* op = tx_take(owner, to, header.bytes);
    op->buffer.reset(buffer);
    std::memcpy(buffer->data, &header, sizeof header);
    if (header.bytes != 0) {
        std::memcpy(buffer->data + sizeof header, body, header.bytes);
    }
    ssize_t rc = fi_send(endpoint_.get(), buffer->data, sizeof header + header.bytes,
                         buffer->descriptor, address, static_cast<Op*>(op));
    return posted(*op, rc, "a message");
}

void Rail::control(RemoteEndpoint& to, const MessageHeader& header, std::string_view body,
                   uint32_t peer) {
    controls_.push_back({&to, header, std::string(body), peer});
    controls_.back().header.bytes = static_cast<uint32_t>(body.size());
    controls_flush();
}

// Rotates: a peer that cannot be reached yet does not hold up the others.
void Rail::controls_flush() {
    size_t count = std::min<size_t>(controls_.size(), controls_per_flush);
    for (size_t i = 0; i < count; ++i) {
        Control control = std::move(controls_.front());
        controls_.pop_front();
        TxOwner owner;
        owner.peer = control.peer;
        owner.control = true;
        auto post = send(*control.to, control.header, control.body.data(), owner);
        if (post.ok() && post.value() == Post::again) {
            controls_.push_back(std::move(control));
        } else if (!post.ok()) {
            control.to->trouble = post.error().what;
            LOG(info, net, "%s", post.error().what.c_str());
        }
    }
    controls_waiting_.store(controls_.size());
}

void Rail::receives_post() {
    while (receives_posted_ < receives_wanted_) {
        Buffer* buffer = buffers_->take(buffers_to_send);
        if (buffer == nullptr) {
            receive_error_ = buffers_->refusal();
            return;
        }
        ssize_t rc = fi_recv(endpoint_.get(), buffer->data, message_bytes_max, buffer->descriptor,
                             FI_ADDR_UNSPEC, static_cast<Op*>(buffer));
        if (rc != 0) {
            buffers_->give(buffer);
            receive_error_ = static_cast<int>(-rc);
            return;
        }
        buffer->posted = true;
        ++receives_posted_;
    }
}

int Rail::poll(RailEvents& events) {
    if (!queue_) {
        return 0;
    }
    fi_cq_data_entry entries[batch];
    ssize_t count = fi_cq_read(queue_.get(), entries, batch);
    answers_known_ = count == -FI_EAGAIN || (count >= 0 && count < batch);
    peers_writes_count(entries, count);
    for (ssize_t i = 0; i < count; ++i) {
        complete(entries[i], events);
    }
    if (count == -FI_EAVAIL) {
        complete_error(events);
    } else if (count < 0 && count != -FI_EAGAIN) {
        queue_failed(count);
    }
    // What was found is more urgent, unless peers' writes use receives up.
    if (count <= 0 || features_.receive_per_write || receives_posted_ < receives_wanted_ / 2) {
        receives_post();
    }
    if (!controls_.empty()) {
        controls_flush();
    }
    if (count <= 0 && events_) {
        events_read();
    }
    return count == -FI_EAVAIL ? 1 : static_cast<int>(std::max<ssize_t>(count, 0));
}

// The provider has given it back.
Buffer* Rail::received(Op* op) {
    auto* buffer = static_cast<Buffer*>(op);
    buffer->posted = false;
    --receives_posted_;
    return buffer;
}

// Whether this is the immediate of a peer's write: FI_REMOTE_CQ_DATA, and only some providers set
// FI_RMA or FI_REMOTE_WRITE. `sockets` sets it on the initiator's own completion too, with FI_WRITE
// (0x20204); EFA of libfabric 1.17 sets FI_WRITE on the peer's, but no context, which others do not
// leave empty (shm: the initiator's).
bool Rail::peers_write(const fi_cq_data_entry& entry) const {
    if ((entry.flags & FI_REMOTE_CQ_DATA) == 0 || (entry.flags & FI_WRITE) == 0) {
        return (entry.flags & FI_REMOTE_CQ_DATA) != 0;
    }
    return features_.efa && entry.op_context == nullptr;
}

void Rail::complete(const fi_cq_data_entry& entry, RailEvents& events) {
    if (peers_write(entry)) {
        if (features_.receive_per_write && entry.op_context != nullptr) {
            buffers_->give(received(static_cast<Op*>(entry.op_context)));
        }
        events.on_write(static_cast<uint32_t>(entry.data));
        return;
    }
    Op* op = static_cast<Op*>(entry.op_context);
    if (op->transmit) {
        TxOp& transmit = static_cast<TxOp&>(*op);
        message_came(transmit);
        transmitted(transmit, nullptr, events);
        return;
    }
    events.on_message(*this, BufferPtr(received(op)), entry.len);
}

void Rail::complete_error(RailEvents& events) {
    newer::QueueError error;
    fi_cq_err_entry& entry = error.entry;
    if (fi_cq_readerr(queue_.get(), &entry, 0) <= 0) {
        return;
    }
    bool incoming = (entry.flags & (FI_REMOTE_WRITE | FI_REMOTE_READ)) != 0;
    incoming = incoming && !features_.receive_per_write;
    Op* op = incoming ? nullptr : static_cast<Op*>(entry.op_context);
    if (op != nullptr && op->transmit) {
        TxOp& transmit = static_cast<TxOp&>(*op);
        const std::string cause = cause_of(entry);
        const Error failure = error_of(entry, transmit.owner, cause);
        message_failed(transmit, entry.prov_errno, cause);
        control_lost(transmit, failure);
        transmitted(transmit, &failure, events);
        return;
    }
    if (op != nullptr) {
        buffers_->give(received(op));
    }
    LOG(info, net, "rail %u (%s): an incoming transfer failed: %s%s", index_, name_.c_str(),
        library_.error_text(entry.err),
        completion_hint(info_->fabric_attr->prov_name, entry.err, entry.prov_errno).c_str());
}

std::string Rail::cause_of(const fi_cq_err_entry& entry) const {
    char text[128] = "";
    const char* vendor =
        fi_cq_strerror(queue_.get(), entry.prov_errno, entry.err_data, text, sizeof text);
    return format(
        "%s (provider: %s, %d)%s", library_.error_text(entry.err), vendor != nullptr ? vendor : "-",
        entry.prov_errno,
        completion_hint(info_->fabric_attr->prov_name, entry.err, entry.prov_errno).c_str());
}

Error Rail::error_of(const fi_cq_err_entry& entry, const TxOwner& owner,
                     const std::string& cause) const {
    return make_error(Code::remote, Scope::peer,
                      format("rail %u (%s, %s): %s %s failed: %s", index_, name_.c_str(),
                             info_->fabric_attr->prov_name,
                             owner.control ? "a control message to"
                             : owner.own   ? "reaching memory of our own for"
                                           : "a put to",
                             peer_text(owner.peer).c_str(), cause.c_str()),
                      entry.err);
}

void Rail::queue_failed(ssize_t rc) {
    rail_failed(
        format("reading completions failed: %s", library_.error_text(static_cast<int>(-rc))));
}

void Rail::rail_failed(const std::string& why) {
    if (!queue_broken_) {
        queue_broken_ = true;
        log_warn(format("rail %u (%s, %s): %s; the rail is given up and opened again", index_,
                        name_.c_str(), info_->fabric_attr->prov_name, why.c_str()));
    }
}

bool Rail::may_sleep() {
    if (wait_fd_ < 0 || !queue_) {
        return true;  // for as long as who polls allows: caps().needs_polling
    }
    fid* queue = &queue_.get()->fid;
    return fi_trywait(fabric_.get(), &queue, 1) == 0;
}

void Rail::orphan(const Inbox* inbox) {
    for (TxOp& op : ops_) {
        if (op.busy && op.owner.inbox == inbox) {
            op.owner = {};
        }
    }
}

void Rail::use_forget(const std::atomic<uint32_t>* use) {
    for (TxOp& op : ops_) {
        if (op.busy && op.owner.use == use) {
            op.owner.use = nullptr;
        }
    }
}

}  // namespace weft::fabric
