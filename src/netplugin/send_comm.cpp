#include "src/netplugin/send_comm.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft::netplugin {

SendComm::SendComm(std::shared_ptr<Shared> shared, const Device& device, Met met)
    : Connection(std::move(shared), device, std::move(met)) {
    for (std::vector<uint32_t>* list : {&free_, &queue_, &untold_}) {
        list->reserve(buffers_max);
    }
    for (uint32_t i = buffers_max; i > 0; i--) {
        free_.push_back(i - 1);
    }
}

// What is under way reads from the caller's memory, so it ends first.
SendComm::~SendComm() {
    for (Send& send : sends_) {
        if (send.region.id != 0) {
            wire_->release(send.region);
        }
    }
}

Result<Request*> SendComm::isend(const Buffer& from, int tag) {
    TRY(healthy());
    if (from.bytes > message_bytes_max) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("isend of %llu bytes: one message has at most %llu (maxP2pBytes)",
                                 static_cast<unsigned long long>(from.bytes),
                                 static_cast<unsigned long long>(message_bytes_max)));
    }
    if (free_.empty()) {
        TRY(drive());
        return static_cast<Request*>(nullptr);
    }
    const uint32_t id = free_.back();
    free_.pop_back();
    Send& send = sends_[id];
    send = Send{};
    send.owner = this;
    send.taken = true;
    send.from = from;
    send.label = order_.next(tag);
    const auto grant = grants_.take(send.label);
    if (!start_by_slot(send)) {
        if (grant) {
            start_by_grant(send, *grant);
        } else {
            queue_.push_back(id);
            waited(send);
        }
    }
    TRY(healthy());
    return static_cast<Request*>(&send);
}

// The caller's bytes have left it when the wire has them.
bool SendComm::start_by_slot(Send& send) {
    const bool fits = send.from.bytes <= eager_bytes_ && (send.from.host || send.from.bytes == 0);
    if (!fits ||
        links_.send(peer_, header_of(MsgKind::data, channel_data, send.label), send.from.data,
                    static_cast<uint32_t>(send.from.bytes)) == Post::again) {
        return false;
    }
    send.state = Send::State::done;
    return true;
}

void SendComm::start_by_grant(Send& send, const GrantBody& grant) {
    send.state = Send::State::put;
    if (send.from.bytes > grant.bytes) {
        static_cast<void>(tell(Word::size, send.label, send.from.bytes));  // the receiver ends too
        return fail(mismatch(send.label, send.from.bytes, grant.bytes));
    }
    send.owes_size = send.from.bytes != grant.bytes || grant.bytes == 0;
    send.delivered = send.from.bytes == 0;
    if (!send.delivered) {
        put(send, grant);
    }
    if (send.owes_size) {
        size_tell(send);
    }
    finish(send);
}

void SendComm::put(Send& send, const GrantBody& grant) {
    auto region = wire_->expose(send.from.data, send.from.bytes);
    if (!region.ok()) {
        return fail(std::move(region).error());
    }
    send.region = region.value();
    links_.put_start(peer_, send.owes_size ? shortened(grant, send.from.bytes) : grant,
                     send.from.data, send.region, static_cast<uint64_t>(&send - sends_.data()));
}

void SendComm::size_tell(Send& send) {
    send.told = tell(Word::size, send.label, send.from.bytes);
    if (!send.told) {
        untold_.push_back(static_cast<uint32_t>(&send - sends_.data()));
    }
}

void SendComm::finish(Send& send) {
    if (send.delivered && (send.told || !send.owes_size)) {
        send.state = Send::State::done;
    }
}

void SendComm::on_put_delivered(uint64_t cookie) {
    Send& send = sends_[cookie];
    wire_->release(send.region);
    send.region = {};
    send.delivered = true;
    finish(send);
}

// A small message of a GPU may go to a receive that counts on a slot; larger ones are granted
// anyway.
void SendComm::waited(Send& send) {
    const bool never_by_slot = !send.from.host && send.from.bytes <= eager_bytes_;
    const bool long_enough = ++send.rounds >= patience_rounds || never_by_slot;
    if (long_enough && !send.wanted) {
        send.wanted = tell(Word::want, send.label, send.from.bytes);
    }
}

void SendComm::work() {
    std::erase_if(untold_, [this](uint32_t id) {
        Send& send = sends_[id];
        send.told = tell(Word::size, send.label, send.from.bytes);
        finish(send);
        return send.told;
    });
    std::erase_if(queue_, [this](uint32_t id) {
        Send& send = sends_[id];
        if (start_by_slot(send)) {
            return true;
        }
        waited(send);
        return false;
    });
}

SendComm::Send* SendComm::queued(Label label) {
    const auto found =
        std::ranges::find_if(queue_, [&](uint32_t id) { return sends_[id].label == label; });
    return found == queue_.end() ? nullptr : &sends_[*found];
}

void SendComm::on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) {
    if (header.channel == channel_words && header.kind == MsgKind::grant) {
        room_heard(header, payload);
    } else {
        fail(make_error(Code::internal, Scope::peer,
                        format("a message of kind %d came to the sending side",
                               static_cast<int>(header.kind))));
    }
    links_.slot_release(slot);
}

void SendComm::room_heard(const MsgHeader& header, const std::byte* payload) {
    const Label label = label_of(header);
    GrantBody grant;
    grant.bytes = header.root;
    if (header.bytes != 0 && (!GrantBody::read(&grant, payload, header.bytes) || grant.bytes == 0 ||
                              grant.piece_bytes == 0)) {
        return fail(make_error(Code::remote, Scope::peer,
                               format("a grant of %u bytes that is none", header.bytes)));
    }
    if (Send* send = queued(label)) {
        std::erase(queue_, static_cast<uint32_t>(send - sends_.data()));
        return start_by_grant(*send, grant);
    }
    if (!order_.posted(label) && !grants_.add(label, grant)) {
        fail(make_error(Code::remote, Scope::peer,
                        format("more than %u receives at a time", buffers_max)));
    }
}

Result<bool> SendComm::test(Request& request, int* sizes) {
    Send& send = static_cast<Send&>(request);
    if (send.state != Send::State::done) {
        TRY(drive());
    }
    if (send.state != Send::State::done) {
        return false;
    }
    if (sizes != nullptr) {
        sizes[0] = static_cast<int>(send.from.bytes);
    }
    send.taken = false;
    free_.push_back(static_cast<uint32_t>(&send - sends_.data()));
    return true;
}

}  // namespace weft::netplugin
