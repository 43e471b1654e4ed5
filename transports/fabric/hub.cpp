#include "transports/fabric/hub.h"

#include <algorithm>
#include <thread>

#include "src/base/machine.h"
#include "transports/fabric/fabric_wire.h"
#include "transports/fabric/meeting.h"
#include "transports/fabric/nic.h"
#include "transports/fabric/service.h"

namespace weft::fabric {

namespace {

constexpr size_t wire_slots = 1u << 16;
constexpr size_t piece_bytes = 512 * 1024;
// Of the only rail, where a piece is two writes: with smaller ones 1 MiB messages over TCP have 0.8
// of plain writes' rate, with these 1.1. Several rails share a message better in smaller pieces.
// docs/MEASUREMENTS.md has both.
constexpr size_t piece_bytes_of_two_writes = 1024 * 1024;
// EFA moves whole 128-byte lines; a stripe below 64 KiB costs more in posts than another rail
// gives.
constexpr size_t piece_align = 128;
constexpr size_t piece_bytes_min = 64 * 1024;
constexpr size_t put_bytes_max = size_t{1} << 30;  // one EFA work request
constexpr uint32_t puts_in_flight = 64;
// EFA takes at most 2^20 pages in a registration that peers may write to (libfabric's provider efa
// refuses more), and pages may be of 4 KiB.
constexpr WindowLimits windows_default{uint64_t{4} << 30, uint64_t{64} << 20};
// 100 us at 100 GB/s. Where packets stay in order, what the rail takes in 7 ms (measured, see
// docs/MEASUREMENTS.md): fewer leave the wire idle, more hold up the grants that go the same way.
constexpr WindowSpan window = {10 << 20, 10 << 20, 10 << 20, 0};
constexpr WindowSpan window_in_order = {64 << 10, 512 << 10, 4 << 20, 7 * nanos_per_ms};
constexpr Nanos drain_limit = 1 * nanos_per_s;

const char* progress_name(const fi_info& info) {
    return info.domain_attr->data_progress == FI_PROGRESS_AUTO ? "auto" : "manual";
}

// Registering with a device is a system call and a command to the NIC, there and back on every
// rail: some 100 us, taken for as long as copying this much (an estimate: not measured on EFA).
// Providers over sockets and shared memory only make an entry in a table.
constexpr size_t stage_below_device = 1 << 20;

WindowLimits windows_of(const FabricLimits& limits) {
    return limits.window_bytes != 0 ? WindowLimits{limits.window_bytes, limits.window_overlap}
                                    : windows_default;
}

}  // namespace

// Turns what one poll finds into events of the wires concerned.
class FabricHub::Dispatch final : public RailEvents {
  public:
    Dispatch(FabricHub& hub, const Inbox* self) : hub_(hub), self_(self) {}

    void on_write(uint32_t imm) override {
        Inbox* inbox = hub_.token_owner(Imm::unpack(imm).token);
        if (inbox == nullptr) {
            LOG(info, net, "dropped a write for token %u, which nobody owns", imm >> 12);
            return;
        }
        Event event;
        event.imm = imm;
        inbox->push(std::move(event), inbox != self_);
    }

    void on_message(Rail& rail, BufferPtr buffer, size_t bytes) override {
        auto header = message_parse(buffer->data, bytes);
        if (header && header->kind == MessageKind::probe) {
            return;
        }
        if (header && header->kind == MessageKind::meet) {
            const char* body = reinterpret_cast<const char*>(buffer->data + sizeof *header);
            return hub_.introductions().heard(rail.index(), *header, {body, header->bytes});
        }
        Inbox* inbox = header ? hub_.wire_find(header->to_wire) : nullptr;
        if (inbox == nullptr || header->from_rank >= inbox->rank_count() ||
            !inbox->rides(header->rail, rail.index())) {
            if (!header || header->kind != MessageKind::fence_ack) {  // of who went later than ours
                LOG(info, net, "rail %u: dropped a message of %zu bytes for no wire here",
                    rail.index(), bytes);
            }
            return;
        }
        FlowRail& flow_rail = inbox->flow_rail(header->from_rank, header->rail);
        if (RemoteEndpoint* from = flow_rail.endpoint.load()) {
            Rail::heard(*from, clock_now());
        }
        switch (header->kind) {
            case MessageKind::value:
                return on_value(rail, *inbox, *header, std::move(buffer));
            case MessageKind::fence:
                return on_fence(rail, *inbox, *header);
            case MessageKind::hello:
                if (uint32_t bit = 1u << header->rail;
                    (inbox->flow(header->from_rank).hello_waiting.fetch_or(bit) & bit) == 0) {
                    push(*inbox, Event::Kind::hello, *header, std::move(buffer));
                }
                return;
            case MessageKind::hello_ack:
                return push(*inbox, Event::Kind::hello_ack, *header, nullptr);
            case MessageKind::value_ack:
                return push(*inbox, Event::Kind::value_ack, *header, nullptr);
            case MessageKind::fence_ack:
                return push(*inbox, Event::Kind::fence_ack, *header, nullptr);
            case MessageKind::moved:
                return push(*inbox, Event::Kind::moved, *header, std::move(buffer));
            case MessageKind::moved_ack:
                return push(*inbox, Event::Kind::moved_ack, *header, nullptr);
            case MessageKind::lost:
                return push(*inbox, Event::Kind::lost, *header, std::move(buffer));
            case MessageKind::probe:
            case MessageKind::meet:
                return;
        }
    }

    void on_finished(Rail& rail, const TxOwner& owner, const Error* error) override {
        // Before the owner hears that it may let the memory go, after it hears of a failure.
        const auto lower = [&owner] {
            if (owner.use != nullptr) {
                owner.use->fetch_sub(1);
            }
        };
        if (owner.inbox == nullptr) {
            return lower();
        }
        // Before the owner hears of it: it may be waiting for this room.
        if (owner.flow_rail != nullptr) {
            FlowRail& flow = *owner.flow_rail;
            flow.window.finished(hub_.rail_window(), owner.mark, owner.rail_bytes, clock_now());
            flow.bytes.fetch_sub(owner.rail_bytes);
        }
        if (error != nullptr) {
            Event event;
            event.kind = Event::Kind::failure;
            event.peer = owner.peer;
            event.word = failure_of_ours;
            event.error = std::make_unique<Error>(*error);
            owner.inbox->push(std::move(event), owner.inbox != self_);
        }
        lower();
        if (owner.notify && (error == nullptr || owner.own)) {
            Event event;
            event.kind = owner.own ? Event::Kind::flushed : Event::Kind::delivered;
            event.word = owner.cookie;
            owner.inbox->push(std::move(event), owner.inbox != self_);
        }
        if (owner.flow->in_flight.fetch_sub(1) == 1) {
            fence_answer(rail, owner.at, *owner.inbox, owner.peer);
        }
    }

  private:
    void push(Inbox& inbox, Event::Kind kind, const MessageHeader& header, BufferPtr buffer) {
        Event event;
        event.kind = kind;
        event.rail = header.rail;
        event.peer = header.from_rank;
        event.imm = header.imm;
        event.bytes = header.bytes;
        event.word = header.word;
        event.buffer = std::move(buffer);
        inbox.push(std::move(event), &inbox != self_);
    }

    void on_value(Rail& rail, Inbox& inbox, const MessageHeader& header, BufferPtr buffer) {
        if (hub_.token_owner(Imm::unpack(header.imm).token) != &inbox) {
            LOG(info, net, "dropped a value of rank %u for a token it was not given",
                header.from_rank);
            return;
        }
        if ((header.flags & value_wants_ack) != 0) {
            reply(rail, header.rail, inbox, header.from_rank, MessageKind::value_ack, header.word);
        }
        push(inbox, Event::Kind::value, header, std::move(buffer));
    }

    // The sequence is stored before the count is read, and a finishing put lowers the count before
    // it reads the sequence: one of the two answers.
    void on_fence(Rail& rail, Inbox& inbox, const MessageHeader& header) {
        PeerFlow& flow = inbox.flow(header.from_rank);
        if ((header.flags & fence_last) != 0) {
            flow.ended.store(true);
        }
        flow.fence.store(header.word);
        if (flow.in_flight.load() == 0) {
            fence_answer(rail, header.rail, inbox, header.from_rank);
        } else if ((header.flags & fence_hard) != 0) {
            hub_.sever_later(inbox.uid(), header.from_rank);
        }
    }

    // `at`: the rail, counted among the wire's.
    void fence_answer(Rail& rail, uint8_t at, Inbox& inbox, uint32_t peer) {
        if (uint64_t sequence = inbox.flow(peer).fence.exchange(0)) {
            reply(rail, at, inbox, peer, MessageKind::fence_ack, sequence);
        }
    }

    void reply(Rail& rail, uint8_t at, Inbox& inbox, uint32_t peer, MessageKind kind,
               uint64_t word) {
        PeerFlow& flow = inbox.flow(peer);
        RemoteEndpoint* to = inbox.flow_rail(peer, at).endpoint.load();
        if (to == nullptr) {
            return;  // not connected to that rank: it has no business asking
        }
        MessageHeader header;
        header.kind = kind;
        header.rail = at;
        header.from_rank = inbox.rank();
        header.to_wire = flow.wire.load();
        header.word = word;
        rail.control(*to, header, {}, peer);
    }

    FabricHub& hub_;
    const Inbox* self_;  // of the wire that polls; null: the service thread
};

FabricHub::FabricHub(Reactor& reactor, Library library, uint64_t process_uid,
                     const FabricOptions& options)
    : reactor_(reactor),
      library_(std::move(library)),
      process_uid_(process_uid),
      limits_(options.limits),
      reach_limit_(options.reach_limit),
      memory_(windows_of(options.limits), options.registered_bytes),
      wires_(wire_slots),
      token_owners_(token_count_max / token_block) {
}

Result<std::unique_ptr<FabricHub>> FabricHub::open(Reactor& reactor, const FabricOptions& options) {
    Library library = TRY(library_load(options.library));
    std::unique_ptr<FabricHub> hub(
        new FabricHub(reactor, std::move(library), random_u64(), options));
    TRY(hub->rails_open(options));
    hub->caps_fill(options);
    return hub;
}

// The service goes first, for it polls; then what the wires posted last gets its chance to leave.
FabricHub::~FabricHub() {
    if (service_ != nullptr) {
        service_->stop();
    }
    drain();
    for (const auto& user : shared_) {
        memory_.leave(*user);
    }
}

void FabricHub::drain() {
    Nanos limit = clock_now() + drain_limit;
    while (unfinished() && clock_now() < limit) {
        if (poll(nullptr) == 0) {
            std::this_thread::yield();
        }
    }
}

// NICs are opened when a wire wants them: a process uses those near its ranks, not all of the host
// (32 on p5). Rails without such an identity are all used by every wire, and opened at once.
Result<void> FabricHub::rails_open(const FabricOptions& options) {
    choices_ = TRY(rails_choose(library_, options, &concern_));
    opened_.resize(choices_.size());
    if (options.rails.empty()) {
        nics_sort();
    }
    if (nics_.empty()) {
        TRY(rails_for({}));
    }
    return {};
}

// Rail i is the NIC i by PCI address, on every host.
void FabricHub::nics_sort() {
    for (const RailChoice& choice : choices_) {
        if (nic_address(*choice.info).empty()) {
            return;
        }
    }
    std::stable_sort(choices_.begin(), choices_.end(), [](const auto& a, const auto& b) {
        return nic_address(*a.info) < nic_address(*b.info);
    });
    for (const RailChoice& choice : choices_) {
        nics_.push_back(nic_address(*choice.info));
    }
}

Result<std::vector<Rail*>> FabricHub::rails_for(const std::vector<uint32_t>& wanted) {
    std::lock_guard guard(open_lock_);
    std::vector<Rail*> rails;
    for (size_t i = 0; i < (wanted.empty() ? choices_.size() : wanted.size()); ++i) {
        rails.push_back(TRY(rail_open(wanted.empty() ? i : wanted[i])));
    }
    if (rails.size() > rails_max) {
        return make_error(
            Code::invalid_argument, Scope::process,
            format("%zu rails for one rank, at most %zu fit: name fewer in WEFT_RAILS",
                   rails.size(), rails_max));
    }
    size_t keys_max = (RemoteRef::words_max - ref_words_fixed) * sizeof(uint64_t);
    size_t fitting = keys_max / rails.front()->key_bytes();
    if (rails.size() > fitting) {
        return make_error(
            Code::unsupported, Scope::process,
            format("%zu rails with memory keys of %zu bytes, at most %zu fit a grant: name fewer "
                   "in WEFT_RAILS",
                   rails.size(), rails.front()->key_bytes(), fitting));
    }
    return rails;
}

Result<Rail*> FabricHub::rail_open(size_t choice) {
    size_t count = rail_count_.load();
    if (choice >= choices_.size() || (opened_[choice] == nullptr && count == rails_.size())) {
        return make_error(Code::invalid_argument, Scope::process,
                          format("rail %zu of %zu, of which a process opens at most %zu", choice,
                                 choices_.size(), rails_.size()));
    }
    if (opened_[choice] == nullptr) {
        auto rail =
            TRY(Rail::open(library_, choices_[choice], static_cast<uint8_t>(count), limits_));
        TRY(waits_.add(rail->wait_fd(), rail->name().c_str()));
        opened_[choice] = rail.get();
        rails_[count] = std::move(rail);
        rail_count_.store(count + 1, std::memory_order_release);
        if (service_ == nullptr) {
            if (concern_.empty()) {
                concern_ = features_concern(opened_[choice]->features(), library_);
            }
            caps_.needs_polling = waits_.fd() < 0;
            service_ = std::make_unique<Service>(*this, reactor_);
            service_->start();
        }
    }
    return opened_[choice];
}

void FabricHub::caps_fill(const FabricOptions& options) {
    const fi_info& info = *choices_.front().info;
    const char* provider = info.fabric_attr->prov_name;
    caps_.name = format("fabric(%s)", is_efa_direct(info) ? info.fabric_attr->name : provider);
    const size_t grant_bytes_max = windows_of(limits_).overlap;
    caps_.grant_bytes_max = grant_bytes_max;
    const bool device = provider == std::string_view("efa");
    caps_.stage_below = options.stage_bytes >= 0 ? static_cast<size_t>(options.stage_bytes)
                        : device                 ? stage_below_device
                                                 : 0;
    caps_.put_bytes_max = std::min({info.ep_attr->max_msg_size, put_bytes_max, grant_bytes_max});
    const bool one_of_two_writes =
        provider_traits(provider).immediate_apart && choices_.size() == 1;
    caps_.piece_bytes = one_of_two_writes ? piece_bytes_of_two_writes : piece_bytes;
    caps_.piece_bytes_min = piece_bytes_min;
    caps_.piece_align = piece_align;
    caps_.inline_bytes = value_bytes_max;
    caps_.puts_in_flight = puts_in_flight;
    rail_window_ = provider_traits(provider).in_order ? window_in_order : window;
    caps_.real_network = provider_traits(provider).real_network;
    uint32_t writes = UINT32_MAX;
    for (const RailChoice& choice : choices_) {
        const fi_info& rail = *choice.info;
        writes = std::min(
            writes,
            queue_share(limits_.queue_entries, rail.tx_attr->size, rail.rx_attr->size).writes);
    }
    pieces_.open(writes);
}

std::string FabricHub::describe() const {
    const fi_info& info = *choices_.front().info;
    std::string names;
    for (const RailChoice& choice : choices_) {
        names.append(names.empty() ? "" : ", ").append(choice.name);
    }
    const auto opened = rails();
    const EndpointFeatures features =
        opened.empty() ? EndpointFeatures{} : opened.front()->features();
    return format("fabric: %s, %zu rail%s, %zu in use: %s; progress %s, wait %s",
                  features_text(features, info, library_).c_str(), choices_.size(),
                  choices_.size() == 1 ? "" : "s", opened.size(), names.c_str(),
                  progress_name(info), waits_.fd() >= 0 ? "fd" : "polling");
}

std::string FabricHub::features() const {
    const Rail& rail = *rails().front();
    return features_record(rail.features(), rail.info(), library_.version());
}

Result<std::unique_ptr<Wire>> FabricHub::attach(const WireConfig& config) {
    std::vector<Rail*> rails = TRY(rails_for(config.rails));
    std::string names;
    for (const Rail* rail : rails) {
        names.append(names.empty() ? "" : ", ").append(rail->name());
    }
    LOG(info, net, "fabric: rank %u rides %zu of %zu rails: %s", config.rank, rails.size(),
        choices_.size(), names.c_str());
    return FabricWire::make(*this, config, std::move(rails));
}

Result<std::unique_ptr<Listener>> FabricHub::listen(const MeetConfig& config) {
    const std::vector<Rail*> rails = TRY(rails_for(config.rails));
    return std::unique_ptr<Listener>(new FabricListener(*this, config, rails));
}

Result<std::unique_ptr<PeerCall>> FabricHub::call(const MeetConfig& config,
                                                  const MeetingHandle& handle) {
    std::vector<Rail*> rails = TRY(rails_for(config.rails));
    return FabricCall::make(*this, config, std::move(rails), handle);
}

// The slot in the low bits, the rest random: a stale message never meets a new wire.
Result<uint64_t> FabricHub::wire_uid_reserve() {
    std::lock_guard guard(lock_);
    for (size_t tried = 0; tried < wire_slots; ++tried) {
        uint64_t slot = wires_ever_++ % wire_slots;
        if (wires_[slot].load() == nullptr) {
            return random_u64() / wire_slots * wire_slots + slot;
        }
    }
    return make_error(
        Code::system, Scope::communicator,
        format("%zu communicator ranks use the fabric of this process: destroy some", wire_slots));
}

void FabricHub::wire_publish(Inbox& inbox) {
    wires_[inbox.uid() % wire_slots].store(&inbox);
}

void FabricHub::wire_withdraw(Inbox& inbox) {
    wires_[inbox.uid() % wire_slots].store(nullptr);
    for (const auto& rail : rails()) {
        std::lock_guard guard(rail->lock());
        rail->orphan(&inbox);
    }
    introductions_.wire_gone(inbox.uid());
}

Inbox* FabricHub::wire_find(uint64_t uid) const {
    Inbox* inbox = wires_[uid % wire_slots].load();
    return inbox != nullptr && inbox->uid() == uid ? inbox : nullptr;
}

Result<uint32_t> FabricHub::tokens_reserve(Inbox& inbox, uint32_t count) {
    std::lock_guard guard(lock_);
    uint32_t first = TRY(tokens_.reserve(count));
    for (uint32_t token = first; token < first + TokenSpace::rounded(count); token += token_block) {
        token_owners_[token / token_block].store(&inbox);
    }
    return first;
}

void FabricHub::tokens_release(uint32_t first, uint32_t count) {
    std::lock_guard guard(lock_);
    for (uint32_t token = first; token < first + TokenSpace::rounded(count); token += token_block) {
        token_owners_[token / token_block].store(nullptr);
    }
    tokens_.release(first, count);
}

Result<void> FabricHub::rail_renew_locked(Rail& rail, const std::string& why) {
    Dispatch dispatch(*this, nullptr);
    const int closed = rail.wait_fd();
    TRY(rail.renew(dispatch, why));
    waits_.replace(closed, rail.wait_fd());
    for (auto& slot : wires_) {
        Inbox* inbox = slot.load();
        const auto at = inbox != nullptr ? inbox->rail_at(rail.index()) : std::nullopt;
        if (at) {
            Event renewed;
            renewed.kind = Event::Kind::renewed;
            renewed.rail = *at;
            inbox->push(std::move(renewed), true);
        }
    }
    return {};
}

Result<void> FabricHub::rail_renew(Rail& rail, const std::string& why) {
    std::lock_guard guard(rail.lock());
    return rail_renew_locked(rail, why);
}

void FabricHub::sever_later(uint64_t wire, uint32_t peer) {
    std::lock_guard guard(lock_);
    severs_.emplace_back(wire, peer);
    severs_waiting_.store(true);
}

void FabricHub::severs_run() {
    std::vector<std::pair<uint64_t, uint32_t>> severs;
    {
        std::lock_guard guard(lock_);
        severs.swap(severs_);
        severs_waiting_.store(false);
    }
    for (const auto& [wire, peer] : severs) {
        for (const auto& rail : rails()) {
            std::lock_guard guard(rail->lock());
            const Inbox* inbox = wire_find(wire);
            if (inbox == nullptr || !rail->busy_towards(inbox, peer)) {
                continue;
            }
            const auto renewed = rail_renew_locked(
                *rail, format("rank %u wants it fenced and puts to it do not end", peer));
            if (!renewed.ok()) {
                LOG(info, net, "%s", renewed.error().what.c_str());
            }
        }
    }
}

// Where it cannot be closed either, nothing more is known of it.
void FabricHub::rail_broken(Rail& rail) {
    const auto renewed = rail_renew_locked(rail, "its completions cannot be read");
    if (!renewed.ok()) {
        rail.failing_noted();
        log_warn(renewed.error().what);
    }
}

int FabricHub::poll(const Inbox* self) {
    if (severs_waiting_.load(std::memory_order_relaxed)) {
        severs_run();
    }
    Dispatch dispatch(*this, self);
    int found = 0;
    for (const auto& rail : rails()) {
        std::unique_lock guard(rail->lock(), std::try_to_lock);
        if (guard.owns_lock() && !ended_for_me()) {
            found += rail->poll(dispatch);
            if (rail->failing()) [[unlikely]] {
                rail_broken(*rail);
            }
        }
    }
    if (introductions_.waiting()) {
        introductions_.serve();
    }
    return found;
}

bool FabricHub::may_sleep() {
    return std::ranges::all_of(rails(), [this](const auto& rail) {
        std::unique_lock guard(rail->lock(), std::try_to_lock);
        return guard.owns_lock() && !ended_for_me() && rail->may_sleep();
    });
}

// Seen under a rail's lock: then process_ends() is yet to take it, or nobody polls any more.
bool FabricHub::ended_for_me() const {
    return ending_.load(std::memory_order_acquire) && ender_ != std::this_thread::get_id();
}

// A thread that does not leave a rail is stuck in its provider; the end does not wait for it.
void FabricHub::process_ends() {
    ender_ = std::this_thread::get_id();
    ending_.store(true, std::memory_order_release);
    const Nanos limit = clock_now() + drain_limit;
    for (const auto& rail : rails()) {
        std::unique_lock guard(rail->lock(), std::try_to_lock);
        while (!guard.owns_lock() && clock_now() < limit && !guard.try_lock()) {
            std::this_thread::yield();
        }
    }
}

bool FabricHub::unfinished() const {
    return std::ranges::any_of(rails(), [](const auto& rail) { return rail->unfinished(); });
}

}  // namespace weft::fabric

namespace weft {

Result<std::unique_ptr<WireHub>> fabric_hub_make(Reactor& reactor, const FabricOptions& options) {
    return std::unique_ptr<WireHub>(TRY(fabric::FabricHub::open(reactor, options)));
}

}  // namespace weft
