#include "src/netplugin/recv_comm.h"

#include <algorithm>
#include <cstring>

#include "src/base/log.h"

namespace weft::netplugin {

namespace {
constexpr size_t flush_bytes = 8;
}

RecvComm::RecvComm(std::shared_ptr<Shared> shared, const Device& device, Met met)
    : Connection(std::move(shared), device, std::move(met)) {
    for (std::vector<uint32_t>* list : {&free_, &waiting_, &wanting_, &landing_}) {
        list->reserve(buffers_max);
    }
    for (auto i = static_cast<uint32_t>(receives_.size()); i > 0; i--) {
        free_.push_back(i - 1);
    }
}

RecvComm::~RecvComm() {
    for (Flush& flush : flushes_) {
        flush_end(flush);
    }
    cut();
}

// The wires of a device share what is registered, so the end of a region is not the end of access
// to its memory: the sender is stopped.
void RecvComm::cut() {
    if (landings_region_.id != 0) {
        wire_->release(landings_region_);  // after what is put from it
        landings_region_ = {};
    }
    const auto exposed = [](const Room& room) { return room.region.id != 0; };
    if (std::ranges::none_of(rooms_, exposed)) {
        return;
    }
    const auto done = wire_->cut(peer_, "the receiving side ended with receives under way");
    if (!done.ok()) {
        log_warn(done.error().what, done.error().where);
    }
    for (Room& room : rooms_) {
        if (exposed(room)) {
            wire_->conceal(room.region);
            room.region = {};
            exposed_[id_of(room)].store(nullptr);
        }
    }
}

void RecvComm::memory_ends(const std::byte* base, size_t bytes) {
    const bool used = std::ranges::any_of(exposed_, [&](const auto& at) {
        const std::byte* address = at.load();
        return address >= base && address < base + bytes;
    });
    if (!used) {
        return;
    }
    if (!failure_) {
        failure_ = make_error(
            Code::invalid_usage, Scope::communicator,
            format("device %s: the connection from %s ended: %zu bytes were deregistered with a "
                   "receive of them under way",
                   device_.name.c_str(), peer_name_.c_str(), bytes));
        LOG(info, net, "%s", failure_->what.c_str());
    }
    cut();
}

Result<Request*> RecvComm::irecv(std::span<const Buffer> into, const int* tags) {
    TRY(healthy());
    if (into.empty() || into.size() > receives_max) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("irecv of %zu buffers in one group: 1 to %d (maxRecvs)",
                                 into.size(), receives_max));
    }
    if (free_.empty()) {
        TRY(drive());
        return static_cast<Request*>(nullptr);
    }
    const uint32_t id = free_.back();
    free_.pop_back();
    Receive& receive = receives_[id];
    receive.owner = this;
    receive.taken = true;
    receive.count = receive.left = static_cast<uint32_t>(into.size());
    for (uint32_t i = 0; i < receive.count; i++) {
        post(id * receives_max + i, into[i], order_.next(tags[i]));
    }
    if (!failure_) {
        work();
    }
    TRY(healthy());
    return static_cast<Request*>(&receive);
}

void RecvComm::post(uint32_t id, const Buffer& into, Label label) {
    Room& room = rooms_[id];
    room = Room{};
    room.state = Room::State::posted;
    room.into = into;
    room.label = label;
    waiting_.push_back(id);
    const auto wanted = wanted_.take(label);
    if (const auto held = held_.take(label)) {
        deliver(room, held->payload, held->bytes);
        return links_.slot_release(held->slot);
    }
    if (wanted && *wanted > into.bytes) {
        return refuse(label, *wanted, into.bytes);
    }
    const bool never_by_slot = !into.host && into.bytes != 0;
    if (into.bytes > eager_bytes_ || wanted || never_by_slot) {
        want(room);
    }
}

// The sender is told, if it can be, so that it need not wait.
void RecvComm::refuse(Label label, uint64_t bytes, uint64_t room) {
    static_cast<void>(tell(Word::room, label, room));
    fail(mismatch(label, bytes, room));
}

void RecvComm::want(Room& room) {
    room.state = Room::State::wanting;
    wanting_.push_back(id_of(room));
}

// A message, whatever else the room was offered for: its sender forgets the grant.
void RecvComm::deliver(Room& room, const std::byte* payload, uint32_t bytes) {
    if (bytes > room.into.bytes) {
        return refuse(room.label, bytes, room.into.bytes);
    }
    if (bytes != 0 && !room.into.host) {
        return land(room, payload, bytes);
    }
    if (room.state == Room::State::wanting) {
        std::erase(wanting_, id_of(room));
    }
    if (room.open && !links_.grant_expect(peer_, room.grant, 0)) {
        return fail(make_error(Code::remote, Scope::peer,
                               "a message came for what has been put to as well"));
    }
    if (bytes != 0) {
        std::memcpy(room.into.data, payload, bytes);
    }
    finish(room, bytes);
}

// A message that came by value for memory of a GPU: the NIC puts it there, in the place of the
// sender, who forgets the grant as every sender does who had a slot.
void RecvComm::land(Room& room, const std::byte* payload, uint32_t bytes) {
    if (landings_ == nullptr) {
        const size_t room_bytes = size_t{buffers_max} * eager_bytes_;
        landings_ = std::make_unique_for_overwrite<std::byte[]>(room_bytes);
        auto region = wire_->expose(landings_.get(), room_bytes);
        if (!region.ok()) {
            return fail(std::move(region).error());
        }
        landings_region_ = region.value();
    }
    if (room.state == Room::State::wanting) {
        std::erase(wanting_, id_of(room));
    }
    room.state = Room::State::granted;
    room.got = bytes;
    std::memcpy(landing_of(room), payload, bytes);
    landing_.push_back(id_of(room));
}

std::byte* RecvComm::landing_of(const Room& room) const {
    return landings_.get() + size_t{id_of(room)} * eager_bytes_;
}

bool RecvComm::landed(Room& room) {
    if (!open(room)) {
        return false;
    }
    if (!room.sized) {
        room.sized = true;
        if (links_.grant_expect(peer_, room.grant, room.got)) {
            fail(make_error(Code::remote, Scope::peer,
                            "a message came for what has been put to as well"));
            return false;
        }
    }
    const GrantBody to = shortened(room.grant, room.got);
    ASSERT(to.bytes <= to.piece_bytes);
    Put put;
    put.peer = peer_;
    put.to = to.ref;
    put.from = landing_of(room);
    put.bytes = to.bytes;
    put.from_region = landings_region_;
    put.imm = Imm::unpack(to.imm_base);
    const auto posted = wire_->put_own(put);
    if (!posted.ok()) {
        fail(posted.error());
    }
    return posted.ok() && posted.value() == Post::accepted;
}

// Told without a body where there is no room to put to: the sender answers with its size.
bool RecvComm::grant(Room& room) {
    if (room.into.bytes == 0) {
        return tell(Word::room, room.label, 0);
    }
    return open(room) &&
           tell(Word::room, room.label, room.into.bytes, &room.grant, room.grant.message_bytes());
}

bool RecvComm::open(Room& room) {
    if (room.region.id == 0) {
        auto region = wire_->expose(room.into.data, room.into.bytes);
        if (!region.ok()) {
            fail(std::move(region).error());
            return false;
        }
        room.region = region.value();
        exposed_[id_of(room)].store(room.into.data, std::memory_order_relaxed);
    }
    if (!room.open) {
        room.open = links_.grant_open_short(peer_, room.region, 0, room.into.bytes, id_of(room),
                                            &room.grant);
    }
    return room.open;
}

void RecvComm::finish(Room& room, uint64_t bytes) {
    if (room.region.id != 0) {
        exposed_[id_of(room)].store(nullptr, std::memory_order_relaxed);
        wire_->release(room.region);
        room.region = {};
    }
    room.open = false;
    room.got = bytes;
    room.state = Room::State::done;
    std::erase(waiting_, id_of(room));
    receives_[id_of(room) / receives_max].left--;
}

RecvComm::Room* RecvComm::waiting_for(Label label) {
    const auto found =
        std::ranges::find_if(waiting_, [&](uint32_t id) { return rooms_[id].label == label; });
    return found == waiting_.end() ? nullptr : &rooms_[*found];
}

// In order: the oldest receives are those that sends come for first.
void RecvComm::work() {
    size_t told = 0;
    while (told < wanting_.size() && grant(rooms_[wanting_[told]])) {
        rooms_[wanting_[told++]].state = Room::State::granted;
    }
    wanting_.erase(wanting_.begin(), wanting_.begin() + static_cast<ptrdiff_t>(told));
    std::erase_if(landing_, [this](uint32_t id) { return !failure_ && landed(rooms_[id]); });
}

void RecvComm::on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) {
    if (header.channel == channel_data) {
        if (data_heard(header, payload, slot)) {
            links_.slot_release(slot);
        }
        return;
    }
    switch (static_cast<Word>(header.index)) {
        case Word::size:
            size_heard(header);
            break;
        case Word::want:
            want_heard(header);
            break;
        case Word::room:
        default:
            fail(make_error(Code::remote, Scope::peer,
                            format("word %u came to the receiving side", header.index)));
    }
    links_.slot_release(slot);
}

// False: it stays in its slot.
bool RecvComm::data_heard(const MsgHeader& header, const std::byte* payload, SlotRef slot) {
    const Label label = label_of(header);
    if (Room* room = waiting_for(label)) {
        deliver(*room, payload, header.bytes);
        return true;
    }
    if (order_.posted(label)) {
        fail(make_error(Code::remote, Scope::peer,
                        format("a message with tag %d came twice", static_cast<int>(label.tag))));
        return true;
    }
    return !held_.add(label, {slot, payload, header.bytes});
}

void RecvComm::size_heard(const MsgHeader& header) {
    Room* room = waiting_for(label_of(header));
    if (room == nullptr || room->state != Room::State::granted || room->sized) {
        return fail(make_error(Code::remote, Scope::peer,
                               format("the size of a message with tag %d came for no receive",
                                      static_cast<int>(header.args))));
    }
    if (header.root > room->into.bytes) {
        return refuse(room->label, header.root, room->into.bytes);
    }
    room->sized = true;
    room->got = header.root;
    if (!room->open || links_.grant_expect(peer_, room->grant, room->got)) {
        finish(*room, room->got);
    }
}

// A receive that is over was served by a slot meanwhile.
void RecvComm::want_heard(const MsgHeader& header) {
    const Label label = label_of(header);
    Room* room = waiting_for(label);
    if (room == nullptr) {
        if (!order_.posted(label) && !wanted_.add(label, header.root)) {
            fail(make_error(Code::remote, Scope::peer,
                            format("more than %u sends at a time", buffers_max)));
        }
        return;
    }
    if (header.root > room->into.bytes) {
        return refuse(label, header.root, room->into.bytes);
    }
    if (room->state == Room::State::posted) {
        want(*room);
    }
}

void RecvComm::on_grant_filled(uint64_t cookie) {
    Room& room = rooms_[cookie];
    finish(room, room.sized ? room.got : room.into.bytes);
}

Result<Request*> RecvComm::iflush(std::span<const Buffer> received) {
    TRY(healthy());
    const auto of_gpu = [](const Buffer& buffer) { return !buffer.host && buffer.bytes != 0; };
    if (std::ranges::none_of(received, of_gpu)) {
        return static_cast<Request*>(nullptr);
    }
    auto found = std::ranges::find(flushes_, false, &Flush::taken);
    Flush& flush = found != flushes_.end() ? *found : flushes_.emplace_back();
    flush = Flush{};
    flush.owner = this;
    flush.taken = true;
    flush.flush = true;
    for (const Buffer& buffer : received) {
        if (of_gpu(buffer)) {
            auto region = wire_->expose(buffer.data, buffer.bytes);
            if (!region.ok()) {
                flush_end(flush);
                return std::move(region).error();
            }
            flush.parts[flush.count++] = {region.value(),
                                          std::min<size_t>(buffer.bytes, flush_bytes)};
        }
    }
    static_cast<void>(TRY(flush_post(flush)));
    return static_cast<Request*>(&flush);
}

void RecvComm::flush_end(Flush& flush) {
    for (Flush::Part& part : flush.parts) {
        if (part.region.id != 0) {
            wire_->release(part.region);
        }
    }
    flush = Flush{};
}

// False: not all of it could be posted now.
Result<bool> RecvComm::flush_post(Flush& flush) {
    for (Flush::Part& part : std::span(flush.parts).first(flush.count)) {
        if (!part.posted) {
            const Post posted = TRY(wire_->flush(peer_, part.region, part.bytes));
            part.posted = posted == Post::accepted;
        }
        if (!part.posted) {
            return false;
        }
    }
    return true;
}

// What failed is in the wire before it is busy no more, so it is looked at in this order.
Result<bool> RecvComm::flush_test(Flush& flush) {
    bool over = TRY(flush_post(flush));
    for (const Flush::Part& part : std::span(flush.parts).first(flush.count)) {
        over = over && !wire_->busy(part.region);
    }
    TRY(drive());
    if (over) {
        flush_end(flush);
    }
    return over;
}

Result<bool> RecvComm::test(Request& request, int* sizes) {
    if (request.flush) {
        return flush_test(static_cast<Flush&>(request));
    }
    auto& receive = static_cast<Receive&>(request);
    if (receive.left != 0) {
        TRY(drive());
    }
    if (receive.left != 0) {
        return false;
    }
    const auto id = static_cast<uint32_t>(&receive - receives_.data());
    for (uint32_t i = 0; i < receive.count && sizes != nullptr; i++) {
        sizes[i] = static_cast<int>(rooms_[id * receives_max + i].got);
    }
    receive.taken = false;
    free_.push_back(id);
    return true;
}

}  // namespace weft::netplugin
