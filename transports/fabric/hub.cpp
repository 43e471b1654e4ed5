#include "transports/fabric/hub.h"

#include <sys/epoll.h>

#include <algorithm>
#include <thread>

#include "src/base/machine.h"
#include "transports/fabric/fabric_wire.h"
#include "transports/fabric/service.h"

namespace weft::fabric {

namespace {

constexpr size_t wire_slots = 1u << 16;
constexpr size_t piece_bytes = 256 * 1024;
constexpr size_t put_bytes_max = size_t{1} << 30;  // one EFA work request
constexpr uint32_t puts_in_flight = 64;
// 100 us at 100 GB/s. Where packets stay in order, small messages wait behind all that is under
// way: 8 ms at 1 Gbit/s.
constexpr uint64_t window = 10 << 20;
constexpr uint64_t window_in_order = 1 << 20;
constexpr Nanos drain_limit = 1 * nanos_per_s;

const char* progress_name(const fi_info& info) {
    return info.domain_attr->data_progress == FI_PROGRESS_AUTO ? "auto" : "manual";
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
        Inbox* inbox = header ? hub_.wire_find(header->to_wire) : nullptr;
        if (inbox == nullptr || header->from_rank >= inbox->rank_count() ||
            header->rail != rail.index()) {
            LOG(info, net, "rail %u: dropped a message of %zu bytes for no wire here", rail.index(),
                bytes);
            return;
        }
        switch (header->kind) {
            case MessageKind::value:
                return on_value(rail, *inbox, *header, std::move(buffer));
            case MessageKind::fence:
                return on_fence(rail, *inbox, *header);
            case MessageKind::hello:
                if (!inbox->flow(header->from_rank).hello_waiting[rail.index()].exchange(true)) {
                    push(*inbox, Event::Kind::hello, *header, std::move(buffer));
                }
                return;
            case MessageKind::hello_ack:
                return push(*inbox, Event::Kind::hello_ack, *header, nullptr);
            case MessageKind::value_ack:
                return push(*inbox, Event::Kind::value_ack, *header, nullptr);
            case MessageKind::fence_ack:
                return push(*inbox, Event::Kind::fence_ack, *header, nullptr);
            case MessageKind::probe:
                return;
        }
    }

    void on_finished(Rail& rail, const TxOwner& owner, const Error* error) override {
        if (owner.use != nullptr) {
            owner.use->fetch_sub(1);
        }
        if (owner.inbox == nullptr) {
            return;
        }
        // Before the owner hears of it: it may be waiting for this room.
        owner.flow->rail_bytes[rail.index()].fetch_sub(owner.rail_bytes);
        if (error != nullptr) {
            Event event;
            event.kind = Event::Kind::failure;
            event.peer = owner.peer;
            event.error = std::make_unique<Error>(*error);
            owner.inbox->push(std::move(event), owner.inbox != self_);
        } else if (owner.notify) {
            Event event;
            event.kind = Event::Kind::delivered;
            event.word = owner.cookie;
            owner.inbox->push(std::move(event), owner.inbox != self_);
        }
        if (owner.flow->in_flight.fetch_sub(1) == 1) {
            fence_answer(rail, *owner.inbox, owner.peer);
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
            reply(rail, inbox, header.from_rank, MessageKind::value_ack, header.word);
        }
        push(inbox, Event::Kind::value, header, std::move(buffer));
    }

    // The sequence is stored before the count is read, and a finishing put lowers the count before
    // it reads the sequence: one of the two answers.
    void on_fence(Rail& rail, Inbox& inbox, const MessageHeader& header) {
        PeerFlow& flow = inbox.flow(header.from_rank);
        flow.fence.store(header.word);
        if (flow.in_flight.load() == 0) {
            fence_answer(rail, inbox, header.from_rank);
        }
    }

    void fence_answer(Rail& rail, Inbox& inbox, uint32_t peer) {
        if (uint64_t sequence = inbox.flow(peer).fence.exchange(0)) {
            reply(rail, inbox, peer, MessageKind::fence_ack, sequence);
        }
    }

    void reply(Rail& rail, Inbox& inbox, uint32_t peer, MessageKind kind, uint64_t word) {
        PeerFlow& flow = inbox.flow(peer);
        fi_addr_t address = flow.addresses[rail.index()].load();
        if (address == FI_ADDR_UNSPEC) {
            return;  // not connected to that rank: it has no business asking
        }
        MessageHeader header;
        header.kind = kind;
        header.from_rank = inbox.rank();
        header.to_wire = flow.wire.load();
        header.word = word;
        rail.control(address, header, {});
    }

    FabricHub& hub_;
    const Inbox* self_;  // of the wire that polls; null: the service thread
};

FabricHub::FabricHub(Library library, uint64_t process_uid)
    : library_(std::move(library)),
      process_uid_(process_uid),
      wires_(wire_slots),
      token_owners_(token_count_max / token_block),
      processes_(rails_) {
}

Result<std::unique_ptr<FabricHub>> FabricHub::open(Reactor& reactor, const FabricOptions& options) {
    Library library = TRY(library_load(options.library));
    std::unique_ptr<FabricHub> hub(new FabricHub(std::move(library), random_u64()));
    TRY(hub->rails_open(options));
    TRY(hub->wait_open());
    hub->caps_fill();
    hub->service_ = std::make_unique<Service>(*hub, reactor);
    LOG(info, net, "%s", hub->describe().c_str());
    features_warn(hub->rails_.front()->features(), hub->library_);
    return hub;
}

// The service goes first, for it polls; then what the wires posted last gets its chance to leave.
FabricHub::~FabricHub() {
    service_.reset();
    drain();
}

void FabricHub::drain() {
    Nanos limit = clock_now() + drain_limit;
    while (unfinished() && clock_now() < limit) {
        if (poll(nullptr) == 0) {
            std::this_thread::yield();
        }
    }
}

Result<void> FabricHub::rails_open(const FabricOptions& options) {
    for (RailChoice& choice : TRY(rails_choose(library_, options))) {
        auto index = static_cast<uint8_t>(rails_.size());
        rails_.push_back(TRY(Rail::open(library_, std::move(choice), index)));
    }
    return {};
}

Result<void> FabricHub::wait_open() {
    for (const auto& rail : rails_) {
        if (rail->wait_fd() < 0) {
            return {};
        }
    }
    wait_.reset(epoll_create1(EPOLL_CLOEXEC));
    for (const auto& rail : rails_) {
        epoll_event event{};
        event.events = EPOLLIN;
        if (!wait_ || epoll_ctl(wait_.get(), EPOLL_CTL_ADD, rail->wait_fd(), &event) != 0) {
            return make_error(Code::system, Scope::process,
                              "no epoll descriptor for the rails: raise `ulimit -n`", errno);
        }
    }
    return {};
}

void FabricHub::caps_fill() {
    const fi_info& info = rails_.front()->info();
    const char* provider = info.fabric_attr->prov_name;
    caps_.name = format("fabric(%s)", provider);
    caps_.put_bytes_max = std::min(info.ep_attr->max_msg_size, put_bytes_max);
    caps_.piece_bytes = piece_bytes;
    caps_.inline_bytes = value_bytes_max;
    caps_.puts_in_flight = puts_in_flight;
    rail_window_ = provider_traits(provider).in_order ? window_in_order : window;
    caps_.needs_polling = !wait_;
    caps_.real_network = provider_traits(provider).real_network;
}

std::string FabricHub::describe() const {
    const fi_info& info = rails_.front()->info();
    std::string names;
    for (const auto& rail : rails_) {
        names.append(names.empty() ? "" : ", ").append(rail->name());
    }
    return format("fabric: %s, %zu rail%s: %s; progress %s, wait %s",
                  features_text(rails_.front()->features(), info, library_).c_str(), rails_.size(),
                  rails_.size() == 1 ? "" : "s", names.c_str(), progress_name(info),
                  wait_ ? "fd" : "polling");
}

std::string FabricHub::features() const {
    const Rail& rail = *rails_.front();
    return features_record(rail.features(), rail.info(), library_.version());
}

Result<std::unique_ptr<Wire>> FabricHub::attach(const WireConfig& config) {
    return FabricWire::make(*this, config);
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
    for (const auto& rail : rails_) {
        std::lock_guard guard(rail->lock());
        rail->orphan(&inbox);
    }
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

int FabricHub::poll(const Inbox* self) {
    Dispatch dispatch(*this, self);
    int found = 0;
    for (const auto& rail : rails_) {
        std::unique_lock guard(rail->lock(), std::try_to_lock);
        if (guard.owns_lock()) {
            found += rail->poll(dispatch);
        }
    }
    return found;
}

bool FabricHub::may_sleep() {
    return std::all_of(rails_.begin(), rails_.end(), [](const auto& rail) {
        std::unique_lock guard(rail->lock(), std::try_to_lock);
        return guard.owns_lock() && rail->may_sleep();
    });
}

bool FabricHub::unfinished() const {
    return std::any_of(rails_.begin(), rails_.end(),
                       [](const auto& rail) { return rail->unfinished(); });
}

}  // namespace weft::fabric

namespace weft {

Result<std::unique_ptr<WireHub>> fabric_hub_make(Reactor& reactor, const FabricOptions& options) {
    return std::unique_ptr<WireHub>(TRY(fabric::FabricHub::open(reactor, options)));
}

}  // namespace weft
