#include "src/netplugin/connection.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/base/settings.h"

namespace weft::netplugin {

namespace {

constexpr int progress_budget = 64;

uint32_t eager_bytes_of(const Wire& wire) {
    const size_t fits = wire.caps().inline_bytes - sizeof(MsgHeader);
    return static_cast<uint32_t>(
        std::min<size_t>(fits, static_cast<size_t>(settings().eager_bytes)));
}

std::vector<Links::Peer> peers_of(Wire& wire, const Met& met) {
    std::vector<Links::Peer> peers(2);
    peers[met.peer] = {&wire, met.address};
    return peers;
}

LinkConfig config_of(uint32_t peer, uint32_t eager_bytes) {
    return {1 - peer, 2, eager_bytes, slots, channels, buffers_max};
}

}  // namespace

Connection::Connection(std::shared_ptr<Shared> shared, const Device& device, Met met)
    : shared_(std::move(shared)),
      device_(device),
      peer_name_(met.name),
      peer_(met.peer),
      eager_bytes_(eager_bytes_of(*met.wire)),
      wire_(std::move(met.wire)),
      links_(config_of(peer_, eager_bytes_), peers_of(*wire_, met)) {
}

Result<void> Connection::begin() {
    return links_.prepare(peer_);
}

Result<void> Connection::drive() {
    if (!failure_) {
        links_.progress(*this, clock_now(), progress_budget);
    }
    if (!failure_ && up()) {
        work();
    }
    return healthy();
}

Result<void> Connection::healthy() const {
    return failure_ ? Result<void>(*failure_) : Result<void>();
}

void Connection::fail(Error error) {
    if (failure_) {
        return;
    }
    error.what = format("device %s: the connection %s %s failed: %s", device_.name.c_str(),
                        sends() ? "to" : "from", peer_name_.c_str(), error.what.c_str());
    error.scope = Scope::communicator;  // it is logged here, once
    log_warn(error.what, error.where);
    failure_ = std::move(error);
}

void Connection::on_link_failure(uint32_t, Error error) {
    error.code = error.code == Code::invalid_usage ? error.code : Code::remote;
    fail(std::move(error));
}

bool Connection::tell(Word word, Label label, uint64_t bytes, const void* body,
                      uint32_t body_bytes) {
    return links_.send(peer_, word_header(word, label, bytes), body, body_bytes) == Post::accepted;
}

Error Connection::mismatch(Label label, uint64_t sent, uint64_t room) const {
    return make_error(
        Code::invalid_usage, Scope::peer,
        format("the %u. message with tag %d has %llu bytes, its receive room for "
               "%llu: both sides must mean the same call",
               label.ordinal + 1, static_cast<int>(label.tag),
               static_cast<unsigned long long>(sent), static_cast<unsigned long long>(room)));
}

}  // namespace weft::netplugin
