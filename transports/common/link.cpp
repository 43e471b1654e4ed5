#include "transports/link.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>

#include "src/base/log.h"
#include "transports/common/grant_table.h"
#include "transports/common/link_channel.h"

namespace weft {

namespace {

constexpr uint32_t link_version = 2;
constexpr uint64_t flush_bytes_max = 8;

// What both sides tell each other through the wire's hello.
struct Hello {
    uint32_t magic = 0x5746544c;  // "LTFW"
    uint32_t version = link_version;
    uint32_t token_base = 0;
    uint32_t slots = 0;
    uint32_t channels = 0;
    uint32_t eager_bytes = 0;
};

Imm seq_imm(uint32_t token, uint32_t seq) {
    return Imm{token, seq & 0xff, seq >> 8 & 0xf};
}
uint32_t imm_seq(Imm imm) {
    return imm.piece | imm.generation << 8;
}

struct Link {
    Wire* wire = nullptr;
    std::string address;
    PeerState state = PeerState::idle;
    uint32_t token_base = 0;  // ours: 2 per channel, then grants
    uint32_t peer_token_base = 0;
    std::vector<LinkChannel> channels;
    GrantTable grants;
    bool credit_due = false;
    uint32_t pieces_out = 0;  // posted, not delivered
    uint64_t bytes_out = 0;
};

struct PutJob {
    uint32_t peer = 0;
    GrantBody to;
    const std::byte* from = nullptr;
    Region region;
    uint64_t cookie = 0;
    uint32_t pieces = 0, posted = 0, delivered = 0;
};

}  // namespace

uint64_t piece_bytes_for(const Caps& caps, uint64_t bytes, uint32_t pieces_max) {
    const uint64_t preferred = std::max<uint64_t>(caps.piece_bytes, 4096);
    const uint64_t least =
        std::min<uint64_t>(std::max<uint64_t>(caps.piece_bytes_min, 4096), preferred);
    const uint64_t shared = std::clamp(bytes / std::max(caps.rails, 1u), least, preferred);
    const uint64_t piece = std::max(shared, (bytes + pieces_max - 1) / pieces_max);
    const uint64_t align = caps.piece_align;
    return std::min<uint64_t>((piece + align - 1) & ~(align - 1), UINT32_MAX & ~(align - 1));
}

GrantBody shortened(const GrantBody& grant, uint64_t bytes) {
    GrantBody body = grant;
    Imm imm = Imm::unpack(grant.imm_base);
    imm.piece += static_cast<uint32_t>((grant.bytes + grant.piece_bytes - 1) / grant.piece_bytes);
    body.imm_base = imm.pack();
    body.bytes = bytes;
    return body;
}

bool GrantBody::read(GrantBody* body, const std::byte* from, size_t bytes) {
    constexpr size_t fixed = sizeof(GrantBody) - sizeof(RemoteRef);
    if (bytes < fixed || bytes > sizeof(GrantBody) || (bytes - fixed) % sizeof(uint64_t) != 0) {
        return false;
    }
    *body = GrantBody{};
    std::memcpy(static_cast<void*>(body), from, bytes);
    return true;
}

struct Links::Impl final : WireSink {
    LinkConfig config;
    std::vector<Link> links;
    std::vector<Wire*> wires;
    std::vector<std::vector<uint32_t>> token_owner;  // per wire: token / tokens_per_link -> peer
    std::vector<PutJob> jobs;
    std::vector<uint32_t> jobs_free;
    std::deque<uint32_t> jobs_posting;
    std::vector<uint32_t> credits_due;
    std::vector<uint32_t> connecting;
    std::vector<std::byte> staging;
    LinkSink* sink = nullptr;  // during progress
    uint32_t current_wire = 0;
    size_t puts_open = 0;
    LinkCounters counters;

    uint32_t tokens_per_link() const { return config.channels * 2 + config.grants; }

    uint32_t wire_index(const Wire* wire) const {
        return static_cast<uint32_t>(std::find(wires.begin(), wires.end(), wire) - wires.begin());
    }

    Result<void> prepare(uint32_t peer) {
        Link& link = links[peer];
        if (link.state != PeerState::idle) {
            return {};
        }
        ASSERT(link.wire != nullptr);
        link.token_base = TRY(link.wire->tokens_reserve(tokens_per_link()));
        remember_tokens(link, peer);
        link.channels.assign(config.channels, LinkChannel(config.slots));
        link.grants = GrantTable(config.grants);
        Hello hello;
        hello.token_base = link.token_base;
        hello.slots = config.slots;
        hello.channels = config.channels;
        hello.eager_bytes = config.eager_bytes;
        const std::string_view text(reinterpret_cast<const char*>(&hello), sizeof hello);
        TRY(link.wire->connect(peer, link.address, text));
        link.state = PeerState::connecting;
        connecting.push_back(peer);
        return {};
    }

    void remember_tokens(const Link& link, uint32_t peer) {
        auto& owner = token_owner[wire_index(link.wire)];
        for (uint32_t t = 0; t < tokens_per_link(); t++) {
            const uint32_t token = link.token_base + t;
            if (owner.size() <= token) {
                owner.resize(token + tokens_per_link(), UINT32_MAX);
            }
            owner[token] = peer;
        }
    }

    // A link is up when the wire is and the peer's hello makes sense.
    int advance_connecting() {
        int events = 0;
        for (size_t i = 0; i < connecting.size();) {
            const uint32_t peer = connecting[i];
            Link& link = links[peer];
            const PeerState state = link.wire->state(peer);
            if (state == PeerState::connecting) {
                i++;
                continue;
            }
            connecting[i] = connecting.back();
            connecting.pop_back();
            events++;
            if (link.state == PeerState::connecting && state == PeerState::up) {
                accept_hello(peer, link);
            }
        }
        return events;
    }

    void accept_hello(uint32_t peer, Link& link) {
        Hello hello{};
        const std::string_view text = link.wire->hello_of(peer);
        if (text.size() == sizeof hello) {
            std::memcpy(&hello, text.data(), sizeof hello);
        }
        if (text.size() != sizeof hello || hello.magic != Hello{}.magic ||
            hello.version != link_version || hello.slots != config.slots ||
            hello.channels != config.channels || hello.eager_bytes != config.eager_bytes ||
            hello.token_base >= token_count_max) {
            fail(peer,
                 make_error(Code::invalid_usage, Scope::peer,
                            format("rank %u speaks another link protocol or has other link "
                                   "settings (version %u, %u slots of %u bytes): run the same "
                                   "Weft and WEFT_* settings on all ranks",
                                   peer, hello.version, hello.slots, hello.eager_bytes)));
            return;
        }
        link.peer_token_base = hello.token_base;
        link.state = PeerState::up;
    }

    void fail(uint32_t peer, Error error) {
        if (links[peer].state == PeerState::failed) {
            return;
        }
        links[peer].state = PeerState::failed;
        if (sink != nullptr) {
            sink->on_link_failure(peer, std::move(error));
        }
    }

    Post send(uint32_t peer, MsgHeader& header, const void* payload, uint32_t bytes) {
        Link& link = links[peer];
        LinkChannel& channel = link.channels[header.channel];
        if (!channel.may_send()) {
            counters.again++;
            return Post::again;
        }
        header.bytes = bytes;
        header.credit = channel.credit();
        const Imm imm = seq_imm(link.peer_token_base + header.channel * 2u, channel.next_seq());
        if (post_message(link, peer, header, payload, imm) == Post::again) {
            return Post::again;
        }
        channel.message_sent();
        counters.messages++;
        counters.eager_bytes += bytes;
        counters.copied_bytes += header.kind == MsgKind::data ? bytes : 0;
        link.bytes_out += header.kind == MsgKind::data ? bytes : 0;
        return Post::accepted;
    }

    Post post_message(Link& link, uint32_t peer, const MsgHeader& header, const void* payload,
                      Imm imm) {
        std::memcpy(staging.data(), &header, sizeof header);
        if (header.bytes > 0 && payload != nullptr) {
            std::memcpy(staging.data() + sizeof header, payload, header.bytes);
        }
        Put put;
        put.peer = peer;
        put.from = staging.data();
        put.bytes = sizeof header + header.bytes;
        put.imm = imm;
        put.notify = false;
        const Post result = link.wire->put(put);
        counters.again += result == Post::again;
        return result;
    }

    // Credits ride on messages; one of their own is sent when half the slots were released without
    // any.
    void slot_release(SlotRef ref) {
        Link& link = links[ref.peer];
        LinkChannel& channel = link.channels[ref.channel];
        channel.release(ref.slot);
        if (channel.credit_owed() && !link.credit_due) {
            link.credit_due = true;
            credits_due.push_back(ref.peer);
        }
    }

    void send_credits() {
        for (size_t i = 0; i < credits_due.size();) {
            const uint32_t peer = credits_due[i];
            Link& link = links[peer];
            if (link.state == PeerState::up && !send_link_credits(peer, link)) {
                i++;
                continue;
            }
            link.credit_due = false;
            credits_due[i] = credits_due.back();
            credits_due.pop_back();
        }
    }

    bool send_link_credits(uint32_t peer, Link& link) {
        for (uint32_t c = 0; c < config.channels; c++) {
            LinkChannel& channel = link.channels[c];
            if (!channel.credit_owed()) {
                continue;
            }
            MsgHeader header;
            header.kind = MsgKind::credit;
            header.channel = static_cast<uint8_t>(c);
            header.credit = channel.credit();
            if (post_message(link, peer, header, nullptr,
                             Imm{link.peer_token_base + c * 2 + 1, 0, 0}) == Post::again) {
                return false;
            }
            channel.credit_told();
            counters.credits_sent++;
        }
        return true;
    }

    // How many pieces of which size; 0: cannot now. Where the wire allows fewer than the best
    // number, they are larger.
    uint32_t pieces_reserve(uint32_t peer, Wire& wire, uint64_t bytes, uint32_t pieces_max,
                            uint64_t* piece) {
        *piece = piece_bytes_for(wire.caps(), bytes, pieces_max);
        const auto wanted = static_cast<uint32_t>((bytes + *piece - 1) / *piece);
        const uint32_t allowed = wire.pieces_reserve(peer, wanted);
        if (allowed == wanted) {
            return wanted;
        }
        uint32_t used = 0;
        if (allowed != 0) {
            *piece = piece_bytes_for(wire.caps(), bytes, allowed);
            used = *piece <= wire.caps().put_bytes_max
                       ? static_cast<uint32_t>((bytes + *piece - 1) / *piece)
                       : 0;
        }
        wire.pieces_return(peer, allowed - used);
        return used;
    }

    bool grant_open(uint32_t peer, Region region, uint64_t offset, uint64_t bytes, uint64_t cookie,
                    GrantBody* body, bool may_be_short) {
        Link& link = links[peer];
        uint64_t piece = 0;
        const uint32_t most = may_be_short ? piece_count_max / 2 : piece_count_max;
        const uint32_t pieces =
            link.grants.full() ? 0 : pieces_reserve(peer, *link.wire, bytes, most, &piece);
        if (pieces == 0) {
            return false;
        }
        const auto [id, generation] = link.grants.open(pieces, cookie, may_be_short);
        body->ref = link.wire->ref(region, offset, peer);
        body->bytes = bytes;
        body->imm_base = Imm{link.token_base + config.channels * 2 + id, 0, generation}.pack();
        body->piece_bytes = static_cast<uint32_t>(piece);
        counters.grants++;
        return true;
    }

    uint32_t grant_id(const Link& link, const GrantBody& body) const {
        return Imm::unpack(body.imm_base).token - link.token_base - config.channels * 2;
    }

    bool grant_expect(uint32_t peer, const GrantBody& body, uint64_t bytes) {
        Link& link = links[peer];
        if (bytes > body.bytes) {
            return false;
        }
        const uint64_t pieces = (bytes + body.piece_bytes - 1) / body.piece_bytes;
        const auto expected =
            link.grants.expect(grant_id(link, body), static_cast<uint32_t>(pieces));
        if (expected) {
            link.wire->pieces_return(peer, expected->returned);
        }
        return expected && expected->filled;
    }

    void grant_close(uint32_t peer, const GrantBody& body) {
        Link& link = links[peer];
        const uint32_t id = grant_id(link, body);
        if (const auto landed = link.grants.close(id)) {
            link.wire->pieces_return(peer, *landed);  // the others may yet land
        }
    }

    void put_start(uint32_t peer, const GrantBody& to, const void* from, Region region,
                   uint64_t cookie) {
        uint32_t id = 0;
        if (jobs_free.empty()) {
            id = static_cast<uint32_t>(jobs.size());
            jobs.emplace_back();
        } else {
            id = jobs_free.back();
            jobs_free.pop_back();
        }
        const uint64_t pieces =
            to.piece_bytes == 0 ? 0 : (to.bytes + to.piece_bytes - 1) / to.piece_bytes;
        jobs[id] = PutJob{
            peer,   to,     static_cast<const std::byte*>(from),
            region, cookie, static_cast<uint32_t>(std::min<uint64_t>(pieces, piece_count_max)),
            0,      0};
        puts_open++;
        counters.puts++;
        counters.put_bytes += to.bytes;
        links[peer].bytes_out += to.bytes;
        if (!job_post(id)) {
            jobs_posting.push_back(id);
        }
    }

    Result<bool> flush(uint32_t peer, Region region, uint64_t bytes) {
        Wire& wire = *links[peer].wire;
        const Post posted = TRY(wire.flush(peer, region, std::min(bytes, flush_bytes_max)));
        counters.again += posted == Post::again;
        return posted == Post::accepted && !wire.busy(region);
    }

    // Posts pieces until done or `again`. True when all are posted.
    bool job_post(uint32_t id) {
        PutJob& job = jobs[id];
        Link& link = links[job.peer];
        while (job.posted < job.pieces) {
            const uint64_t at = static_cast<uint64_t>(job.posted) * job.to.piece_bytes;
            Put put;
            put.peer = job.peer;
            put.to = job.to.ref;
            put.offset = at;
            put.from = job.from + at;
            put.bytes = std::min<uint64_t>(job.to.piece_bytes, job.to.bytes - at);
            put.from_region = job.region;
            put.imm = Imm::unpack(job.to.imm_base);
            put.imm.piece += job.posted;
            put.cookie = id;
            // A wire may report the delivery inside put(): count the piece as posted before.
            job.posted++;
            link.pieces_out++;
            if (link.state != PeerState::up || link.wire->put(put) == Post::again) {
                jobs[id].posted--;
                // With pieces under way it is no pressure: the next delivery wakes the driver.
                counters.again += --link.pieces_out == 0;
                return false;
            }
        }
        return true;
    }

    void on_delivered(uint64_t cookie) override {
        PutJob& job = jobs[cookie];
        links[job.peer].pieces_out--;
        if (++job.delivered < job.pieces) {
            return;
        }
        const uint64_t owner = job.cookie;
        jobs_free.push_back(static_cast<uint32_t>(cookie));
        puts_open--;
        sink->on_put_delivered(owner);
    }

    void on_failure(uint32_t peer, Error error) override { fail(peer, std::move(error)); }

    void on_arrival(Imm imm, const std::byte* value, uint32_t value_bytes) override {
        const auto& owner = token_owner[current_wire];
        const uint32_t peer = imm.token < owner.size() ? owner[imm.token] : UINT32_MAX;
        if (peer == UINT32_MAX) {
            counters.stale_dropped++;
            return;
        }
        Link& link = links[peer];
        const uint32_t local = imm.token - link.token_base;
        if (local >= config.channels * 2) {
            piece_landed(peer, local - config.channels * 2, imm);
        } else {
            message_arrived(link, peer, local, imm, value, value_bytes);
        }
    }

    void piece_landed(uint32_t peer, uint32_t id, Imm imm) {
        Link& link = links[peer];
        switch (link.grants.land(id, imm)) {
            case GrantTable::Landing::counted:
                return;
            case GrantTable::Landing::stale:
                counters.stale_dropped++;
                return;
            case GrantTable::Landing::repeated:
                counters.duplicates_dropped++;
                return;
            case GrantTable::Landing::filled: {
                const uint64_t cookie = link.grants.cookie(id);
                link.wire->pieces_return(peer, link.grants.pieces(id));
                sink->on_grant_filled(cookie);
            }
        }
    }

    void message_arrived(Link& link, uint32_t peer, uint32_t local, Imm imm, const std::byte* value,
                         uint32_t value_bytes) {
        MsgHeader header;
        if (value == nullptr || value_bytes < sizeof header) {
            counters.stale_dropped++;
            return;
        }
        std::memcpy(&header, value, sizeof header);
        const uint32_t c = local / 2;
        LinkChannel& channel = link.channels[c];
        if (header.channel != c || header.bytes != value_bytes - sizeof header ||
            header.bytes > config.eager_bytes + sizeof(GrantBody)) {
            counters.stale_dropped++;
            return;
        }
        channel.credit_heard(header.credit);
        if (local % 2 == 1) {
            return;
        }
        const auto slot = channel.arrived(imm_seq(imm));
        if (!slot) {
            counters.duplicates_dropped++;
            return;
        }
        std::byte* const kept = channel.slot_memory(*slot, header.bytes);
        if (header.bytes > 0) {
            std::memcpy(kept, value + sizeof header, header.bytes);
        }
        sink->on_message(header, kept, SlotRef{peer, static_cast<uint16_t>(c), *slot});
    }

    int progress(LinkSink& to, Nanos now, int budget) {
        sink = &to;
        int events = 0;
        for (uint32_t w = 0; w < wires.size(); w++) {
            current_wire = w;
            events += wires[w]->progress(*this, now, budget);
        }
        if (!connecting.empty()) {
            events += advance_connecting();
        }
        for (size_t n = jobs_posting.size(); n > 0; n--) {
            const uint32_t id = jobs_posting.front();
            jobs_posting.pop_front();
            const uint32_t before = jobs[id].posted;
            if (!job_post(id)) {
                jobs_posting.push_back(id);
            }
            events += jobs[id].posted != before;
        }
        if (!credits_due.empty()) {
            send_credits();
        }
        sink = nullptr;
        return events;
    }
};

Links::Links(LinkConfig config, std::vector<Peer> peers) : impl_(std::make_unique<Impl>()) {
    ASSERT(std::has_single_bit(config.slots) && config.slots <= LinkChannel::slots_max);
    impl_->config = config;
    impl_->links.resize(peers.size());
    impl_->staging.resize(sizeof(MsgHeader) + config.eager_bytes + sizeof(GrantBody));
    for (size_t i = 0; i < peers.size(); i++) {
        impl_->links[i].wire = peers[i].wire;
        impl_->links[i].address = std::move(peers[i].address);
        auto& wires = impl_->wires;
        if (peers[i].wire != nullptr &&
            std::find(wires.begin(), wires.end(), peers[i].wire) == wires.end()) {
            wires.push_back(peers[i].wire);
        }
    }
    impl_->token_owner.resize(impl_->wires.size());
}

Links::~Links() = default;

Result<void> Links::prepare(uint32_t peer) {
    return impl_->prepare(peer);
}
bool Links::up(uint32_t peer) const {
    return impl_->links[peer].state == PeerState::up;
}
Wire* Links::wire(uint32_t peer) const {
    return impl_->links[peer].wire;
}
Post Links::send(uint32_t peer, MsgHeader header, const void* payload, uint32_t bytes) {
    return impl_->send(peer, header, payload, bytes);
}
void Links::slot_release(SlotRef slot) {
    impl_->slot_release(slot);
}
bool Links::grant_open(uint32_t peer, Region region, uint64_t offset, uint64_t bytes,
                       uint64_t cookie, GrantBody* body) {
    return impl_->grant_open(peer, region, offset, bytes, cookie, body, false);
}
bool Links::grant_open_short(uint32_t peer, Region region, uint64_t offset, uint64_t bytes,
                             uint64_t cookie, GrantBody* body) {
    return impl_->grant_open(peer, region, offset, bytes, cookie, body, true);
}
bool Links::grant_expect(uint32_t peer, const GrantBody& body, uint64_t bytes) {
    return impl_->grant_expect(peer, body, bytes);
}
void Links::grant_close(uint32_t peer, const GrantBody& body) {
    impl_->grant_close(peer, body);
}
void Links::put_start(uint32_t peer, const GrantBody& to, const void* from, Region from_region,
                      uint64_t cookie) {
    impl_->put_start(peer, to, from, from_region, cookie);
}
Result<bool> Links::flush(uint32_t peer, Region region, uint64_t bytes) {
    return impl_->flush(peer, region, bytes);
}
size_t Links::puts_under_way() const {
    return impl_->puts_open;
}
uint64_t Links::bytes_to(uint32_t peer) const {
    return impl_->links[peer].bytes_out;
}
int Links::progress(LinkSink& sink, Nanos now, int budget) {
    return impl_->progress(sink, now, budget);
}
const LinkCounters& Links::counters() const {
    return impl_->counters;
}

}  // namespace weft
