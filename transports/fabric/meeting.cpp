#include "transports/fabric/meeting.h"

#include <algorithm>

#include "src/base/lines.h"
#include "src/base/machine.h"
#include "transports/fabric/service.h"

namespace weft::fabric {

namespace {
constexpr uint32_t rank_calling = 0, rank_accepting = 1, ranks = 2;
constexpr Nanos ask_wait_first = nanos_per_s / 4;
constexpr Nanos ask_wait_longest = 4 * nanos_per_s;
// Asked so often without a word, 0.75 s: then it is looked whether anybody is there.
constexpr size_t unheard_long = 3;

std::vector<std::string> names_of(const std::vector<Rail*>& rails) {
    std::vector<std::string> names;
    for (Rail* rail : rails) {
        std::lock_guard guard(rail->lock());
        names.push_back(rail->endpoint_name());
    }
    return names;
}

std::string name_of(Rail& rail, const std::string& endpoint) {
    std::lock_guard guard(rail.lock());
    return rail.address_text(endpoint);
}

}  // namespace

FabricListener::FabricListener(FabricHub& hub, const MeetConfig& config,
                               const std::vector<Rail*>& ridden)
    : hub_(hub),
      rails_(config.rails),
      shares_memory_(config.shares_memory),
      port_(hub.introductions().port_open(true)),
      handle_(handle_encode({port_, names_of(ridden)})) {
    hub_.service().stir();
}

bool FabricListener::agrees(const Introductions::Caller& caller) {
    const LineDifference found = lines_differ(caller.ask.features, hub_.features());
    if (found.name.empty()) {
        return true;
    }
    const std::string why = format(
        "the network differs: %s is %s at the caller, %s at the listener; use the same libfabric, "
        "driver and FI_* variables on all hosts",
        found.name.c_str(), found.a.c_str(), found.b.c_str());
    log_warn("a caller was refused: " + why);
    hub_.introductions().refuse(caller, why);
    return false;
}

Result<std::optional<Met>> FabricListener::accept(Doorbell* doorbell) {
    hub_.service().driven(clock_now());
    hub_.poll(nullptr);
    auto caller = hub_.introductions().caller_next(port_);
    while (caller && !agrees(*caller)) {
        caller = hub_.introductions().caller_next(port_);
    }
    if (!caller) {
        return std::optional<Met>();
    }
    auto wire =
        hub_.attach({caller->ask.group, rank_accepting, ranks, doorbell, rails_, shares_memory_});
    if (!wire.ok()) {
        hub_.introductions().refuse(*caller, wire.error().what);
        return std::move(wire).error();
    }
    const std::string address = wire.value()->address();
    hub_.introductions().answer(*caller, address_parse(address).value().wire, address);
    Met met{std::move(wire).value(), rank_calling, std::move(caller->ask.address),
            name_of(*hub_.rails()[caller->rail], caller->ask.endpoint)};
    return std::optional<Met>(std::move(met));
}

Result<std::unique_ptr<PeerCall>> FabricCall::make(FabricHub& hub, const MeetConfig& config,
                                                   std::vector<Rail*> ridden,
                                                   const MeetingHandle& handle) {
    PortAddress listener = TRY(handle_parse(handle));
    std::unique_ptr<FabricCall> call(
        new FabricCall(hub, std::move(listener), std::move(ridden), config.patience));
    call->wire_ = TRY(hub.attach(
        {call->group_, rank_calling, ranks, config.doorbell, config.rails, config.shares_memory}));
    return std::unique_ptr<PeerCall>(std::move(call));
}

FabricCall::FabricCall(FabricHub& hub, PortAddress handle, std::vector<Rail*> ridden,
                       Nanos patience)
    : hub_(hub),
      listener_(std::move(handle)),
      ridden_(std::move(ridden)),
      patience_(patience),
      port_(hub.introductions().port_open(false)),
      group_(random_u64()),
      doors_(std::min(ridden_.size(), listener_.rails.size())) {
    for (size_t i = 0; i < doors_.size(); i++) {
        const char* provider = ridden_[i]->info().fabric_attr->prov_name;
        doors_[i].process = process_watch(provider, listener_.rails[i]);
    }
}

FabricCall::~FabricCall() {
    if (!over_ && asked_ != 0) {
        hub_.introductions().leave(*ridden_[0], 0, listener_.rails[0], listener_.port, port_);
    }
    hub_.introductions().port_close(port_);
}

// By another rail each time: one of them is enough.
void FabricCall::ask(Nanos now) {
    const size_t at = asked_++ % doors_.size();
    if (unheard_++ >= unheard_long) {
        knock();
    }
    hub_.introductions().ask(*ridden_[at], at, listener_.rails[at], listener_.port,
                             {port_, group_, {}, hub_.features(), wire_->address()});
    ask_wait_ = std::clamp(2 * ask_wait_, ask_wait_first, ask_wait_longest);
    ask_again_ = now + ask_wait_;
}

void FabricCall::knock() {
    for (size_t i = 0; i < doors_.size(); i++) {
        doors_[i].knock = Knock(ridden_[i]->info(), listener_.rails[i]);
    }
}

// At none of the endpoints. One of them alone may have been given up.
bool FabricCall::nobody() {
    for (size_t i = 0; i < doors_.size(); i++) {
        Door& door = doors_[i];
        if (!door.knock.refused() && !process_ended(door.process) &&
            !hub_.introductions().absent(*ridden_[i], listener_.rails[i])) {
            return false;
        }
    }
    return true;
}

Error FabricCall::deserted() {
    Rail& rail = *ridden_[0];
    return make_error(
        Code::remote, Scope::peer,
        format("rail %u (%s, %s): nobody is at %s any more, where the peer to connect to "
               "listened: its process has ended, or has given its rails up",
               rail.index(), rail.name().c_str(), rail.info().fabric_attr->prov_name,
               name_of(rail, listener_.rails[0]).c_str()),
        FI_ECONNREFUSED);
}

Result<std::optional<Met>> FabricCall::replied(const Introductions::Reply& reply) {
    if (reply.kind == MeetKind::wait) {
        return std::optional<Met>();
    }
    over_ = true;
    if (reply.kind == MeetKind::refuse) {
        return make_error(Code::remote, Scope::peer,
                          "the peer refused the connection: " + printable(reply.text));
    }
    TRY(address_parse(reply.text));
    Met met{std::move(wire_), rank_accepting, reply.text, name_of(*ridden_[0], listener_.rails[0])};
    return std::optional<Met>(std::move(met));
}

Error FabricCall::unanswered() {
    Rail& rail = *ridden_[0];
    return make_error(
        Code::remote, Scope::peer,
        format("rail %u (%s, %s): nothing was heard for %lld s of the peer to connect to at %s",
               rail.index(), rail.name().c_str(), rail.info().fabric_attr->prov_name,
               static_cast<long long>(patience_ / nanos_per_s),
               hub_.introductions().trouble(rail, listener_.rails[0]).c_str()),
        FI_ETIMEDOUT);
}

Result<std::optional<Met>> FabricCall::advance(Nanos now) {
    if (over_) {
        return make_error(Code::invalid_usage, Scope::call, "this call is over: make another");
    }
    hub_.service().driven(clock_now());
    hub_.poll(nullptr);
    heard_ = heard_ == 0 ? now : heard_;
    if (const auto reply = hub_.introductions().reply_take(port_)) {
        heard_ = now;
        unheard_ = 0;
        return replied(*reply);
    }
    if (unheard_ > unheard_long && nobody()) {
        over_ = true;
        return deserted();
    }
    if (patience_ != 0 && now - heard_ >= patience_) {
        over_ = true;
        return unanswered();
    }
    if (now >= ask_again_) {
        ask(now);
    }
    return std::optional<Met>();
}

}  // namespace weft::fabric
