// Connecting, regions, and the sender's side of puts.
#include "transports/shm/wire.h"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "src/base/log.h"
#include "transports/memory.h"

namespace weft::shm {

namespace {

constexpr size_t direct_bytes_max = 1u << 20;  // more is copied in slices by progress()
// How long closing waits for a peer's slice. Only a stopped process takes longer than its memcpy.
constexpr Nanos close_limit = 2 * nanos_per_s;

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

}  // namespace

ShmWire::ShmWire(std::shared_ptr<Exchange> exchange, std::shared_ptr<Port> port)
    : exchange_(std::move(exchange)), port_(std::move(port)), peers_(port_->config.rank_count) {
    caps_.name = "shm";
    caps_.put_bytes_max = 1u << 30;
    caps_.piece_bytes = 512 * 1024;
    caps_.inline_bytes = inline_bytes;
    caps_.puts_in_flight = jobs_per_peer;
}

ShmWire::~ShmWire() {
    for (uint32_t i = 0; i < regions_.size(); i++) {
        if (regions_[i].open) {
            region_close(regions_[i], i);
        }
    }
    exchange_->detach(*port_);
}

Result<void> ShmWire::connect(uint32_t peer, std::string_view address, std::string_view hello) {
    if (peer >= peers_.size() || hello.size() > hello_bytes_max ||
        peers_[peer].state != PeerState::idle) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("cannot connect to rank %u of %zu with a hello of %zu bytes", peer,
                                 peers_.size(), hello.size()));
    }
    peers_[peer].state = PeerState::connecting;
    return exchange_->connect(port_, peer, address, hello);
}

std::string_view ShmWire::hello_of(uint32_t peer) const {
    const Peer& from = peers_.at(peer);
    return from.link != nullptr ? std::string_view(from.link->hello) : std::string_view();
}

// ---- memory

Result<Region> ShmWire::expose(void* memory, size_t bytes) {
    if (regions_free_.empty()) {
        if (regions_.size() == region_count_max) {
            return make_error(
                Code::system, Scope::operation,
                format("more than %u regions of memory are exposed at once", region_count_max));
        }
        regions_free_.push_back(static_cast<uint32_t>(regions_.size()));
        regions_.emplace_back();
    }
    const uint32_t index = regions_free_.back();
    regions_free_.pop_back();
    RegionInfo& info = regions_[index];
    info.base = static_cast<std::byte*>(memory);
    info.bytes = bytes;
    info.generation = info.generation == UINT32_MAX ? 1 : info.generation + 1;
    info.open = true;
    info.range = 0;
    const auto range = shared_find(memory);
    if (range) {
        const auto offset =
            static_cast<uint64_t>(info.base - static_cast<const std::byte*>(range->base));
        if (bytes <= range->bytes - offset) {
            info.range = range->id;
            info.range_offset = offset;
        }
    }
    // Release: nothing is known about the region before its word says it is open.
    port_->segment->region(index).generation.store(info.generation, std::memory_order_release);
    counters_.registrations++;
    return Region{index + 1};
}

void ShmWire::conceal(Region region) {
    const uint32_t index = region.id - 1;
    ASSERT(index < regions_.size() && regions_[index].open);
    if (jobs_open_ > 0) {
        jobs_cancel(region);
    }
    region_close(regions_[index], index);
}

// Puts whose source goes away: what is copied here stops, what the peer pulls meets a closed region
// and is answered later.
void ShmWire::jobs_cancel(Region source) {
    for (Peer& peer : peers_) {
        for (Job& job : peer.jobs) {
            job.notify = job.notify && job.region != source.id;
        }
    }
    std::erase_if(busy_, [&](const Busy& busy) {
        Peer& peer = peers_[busy.peer];
        Job& job = peer.jobs[busy.job];
        if (job.region != source.id) {
            return false;
        }
        job_finish(peer, job);
        return true;
    });
}

void ShmWire::region_close(RegionInfo& info, uint32_t index) {
    info.open = false;
    // Sequentially consistent, with the peers' side in SegmentView::touch.
    port_->segment->region(index).generation.store(0, std::memory_order_seq_cst);
    untouched_wait(region_key(index, info.generation));
    regions_free_.push_back(index);
}

// Waits until no peer touches `key`.
void ShmWire::untouched_wait(uint64_t key) {
    for (uint32_t p = 0; p < peers_.size(); p++) {
        const Peer& peer = peers_[p];
        if (peer.link == nullptr) {
            continue;
        }
        const std::atomic<uint64_t>& touching = port_->segment->touching(p);
        Nanos limit = 0;
        while (touching.load(std::memory_order_seq_cst) == key &&
               !peer.link->dead.load(std::memory_order_acquire)) {
            const Nanos now = clock_now();
            limit = limit == 0 ? now + close_limit : limit;
            if (now > limit) {
                log_warn(
                    format("rank %u has been stopped in the middle of a copy; its last slice "
                           "may still be written when it goes on",
                           p));
                break;
            }
            sched_yield();
        }
    }
}

ShmWire::RegionInfo* ShmWire::region_of(uint64_t key) {
    const auto index = static_cast<uint32_t>(key >> 32);
    if (index >= regions_.size() || !regions_[index].open ||
        regions_[index].generation != static_cast<uint32_t>(key)) {
        return nullptr;
    }
    return &regions_[index];
}

RemoteRef ShmWire::ref(Region region, uint64_t offset, uint32_t) const {
    const uint32_t index = region.id - 1;
    ASSERT(index < regions_.size() && regions_[index].open);
    const RegionInfo& info = regions_[index];
    return RemoteRef{{region_key(index, info.generation), offset, info.range,
                      info.range_offset + offset, info.bytes - offset, port_->id}};
}

ShmWire::ImportRef& ShmWire::import_of(uint32_t p, uint64_t range) {
    Peer& peer = peers_[p];
    const auto found = std::ranges::find(peer.imports, range, &ImportRef::range);
    if (found != peer.imports.end()) {
        return *found;
    }
    peer.imports.push_back({ImportRef::State::asked, range, nullptr});
    exchange_->import_want(*port_, p, *peer.link, range);
    return peer.imports.back();
}

const std::byte* ShmWire::map(uint32_t peer, const RemoteRef& ref, uint64_t bytes) {
    if (peers_.at(peer).state != PeerState::up || ref.words[2] == 0) {
        return nullptr;
    }
    const ImportRef& import = import_of(peer, ref.words[2]);
    if (import.state != ImportRef::State::ready || ref.words[3] > import.mapped->mapping.bytes() ||
        bytes > import.mapped->mapping.bytes() - ref.words[3] || bytes > ref.words[4]) {
        return nullptr;
    }
    return import.mapped->mapping.at() + ref.words[3];
}

// ---- puts

Post ShmWire::put(const Put& put) {
    Peer& peer = peers_[put.peer];
    bool accepted = false;
    if (peer.state != PeerState::up || peer.closed) [[unlikely]] {
        peer.missed = true;
    } else if (put.to.none()) {
        ASSERT(put.bytes <= inline_bytes);
        accepted = peer.out.push(static_cast<uint16_t>(Cell::value), put.imm.pack(),
                                 {static_cast<const std::byte*>(put.from), put.bytes});
        if (accepted && put.notify) {
            delivered_.push_back(put.cookie);
        }
    } else if (put.bytes == 0) {
        accepted = put_empty(peer, put);
    } else {
        ASSERT(put.bytes <= caps_.put_bytes_max && put.from_region.id - 1 < regions_.size());
        const bool writable = put.to.words[2] != 0 &&
                              import_of(put.peer, put.to.words[2]).state != ImportRef::State::none;
        accepted = writable ? put_shared(peer, put) : put_private(peer, put);
    }
    if (!accepted) {
        counters_.again++;
        return Post::again;
    }
    counters_.puts++;
    counters_.put_bytes += put.bytes;
    ring(peer);
    return Post::accepted;
}

bool ShmWire::put_empty(Peer& peer, const Put& put) {
    if (!peer.out.push(static_cast<uint16_t>(Cell::placed), put.imm.pack(),
                       bytes_of(PlacedCell{put.to.words[0], 0}))) {
        return false;
    }
    if (put.notify) {
        delivered_.push_back(put.cookie);
    }
    return true;
}

bool ShmWire::put_shared(Peer& peer, const Put& put) {
    const ImportRef& import = import_of(put.peer, put.to.words[2]);
    if (import.state != ImportRef::State::ready || !peer.out.ready()) {
        return false;
    }
    if (put.bytes > direct_bytes_max) {
        return job_take(peer, put, Job::State::copying) != nullptr;
    }
    if (copy_out(peer, put.to, put.offset, put.from, put.bytes)) {
        const bool pushed = peer.out.push(static_cast<uint16_t>(Cell::placed), put.imm.pack(),
                                          bytes_of(PlacedCell{put.to.words[0], put.bytes}));
        ASSERT(pushed);
    }
    if (put.notify) {
        delivered_.push_back(put.cookie);
    }
    return true;
}

// Into the peer's library memory, unless it is closed or was never as large as said: then the bytes
// are dropped, as a network would.
bool ShmWire::copy_out(Peer& peer, const RemoteRef& to, uint64_t offset, const void* from,
                       size_t bytes) {
    const auto import = std::ranges::find(peer.imports, to.words[2], &ImportRef::range);
    if (import != peer.imports.end() && import->state == ImportRef::State::ready) {
        const Mapping& mapping = import->mapped->mapping;
        const uint64_t at = to.words[3] + offset;
        if (offset <= to.words[4] && bytes <= to.words[4] - offset && at >= offset &&
            at <= mapping.bytes() && bytes <= mapping.bytes() - at &&
            peer.link->view->touch(to.words[0])) {
            std::memcpy(mapping.at() + at, from, bytes);
            peer.link->view->untouch();
            return true;
        }
    }
    counters_.dropped++;
    return false;
}

bool ShmWire::put_private(Peer& peer, const Put& put) {
    if (!peer.out.ready()) {
        return false;
    }
    Job* job = job_take(peer, put, peer.stages ? Job::State::staging : Job::State::pulled);
    if (job == nullptr || job->state == Job::State::staging) {
        return job != nullptr;
    }
    const RegionInfo& source = regions_[put.from_region.id - 1];
    PullCell cell;
    cell.key = put.to.words[0];
    cell.at = put.to.words[1] + put.offset;
    cell.from = reinterpret_cast<uint64_t>(put.from);
    cell.from_key = region_key(put.from_region.id - 1, source.generation);
    cell.from_range = source.range;
    cell.bytes = static_cast<uint32_t>(put.bytes);
    cell.job = static_cast<uint32_t>(job - peer.jobs.data()) | uint32_t{job->epoch} << 16;
    const bool pushed =
        peer.out.push(static_cast<uint16_t>(Cell::pull), put.imm.pack(), bytes_of(cell));
    ASSERT(pushed);
    return true;
}

ShmWire::Job* ShmWire::job_take(Peer& peer, const Put& put, Job::State state) {
    if (peer.jobs_free.empty()) {
        return nullptr;
    }
    const uint16_t index = peer.jobs_free.back();
    peer.jobs_free.pop_back();
    jobs_open_++;
    Job& job = peer.jobs[index];
    job.state = state;
    job.notify = put.notify;
    job.from = static_cast<const std::byte*>(put.from);
    job.bytes = put.bytes;
    job.pos = 0;
    job.to = put.to;
    job.offset = put.offset;
    job.region = put.from_region.id;
    job.imm = put.imm;
    job.cookie = put.cookie;
    if (state != Job::State::pulled) {
        busy_.push_back({put.peer, index});
        work_ = true;
    }
    return &job;
}

void ShmWire::job_finish(Peer& peer, Job& job) {
    if (job.notify) {
        delivered_.push_back(job.cookie);
    }
    job.state = Job::State::free;
    job.notify = false;
    job.epoch++;
    jobs_open_--;
    peer.jobs_free.push_back(static_cast<uint16_t>(&job - peer.jobs.data()));
}

// What the peer posted before may be in its hand (a direct copy), in our ring, or among our pulls.
Result<void> ShmWire::fence(uint32_t p) {
    Peer& peer = peers_.at(p);
    if (peer.link == nullptr) {
        return {};
    }
    peer.fenced = peer.in.popped() + peer.in.available();
    for (const Pull& pull : peer.pulls) {
        reply(peer, {Cell::done, pull.cell.job});
    }
    peer.pulls.clear();
    std::erase(pulling_, p);
    const uint64_t touched = port_->segment->touching(p).load(std::memory_order_seq_cst);
    if (touched != 0) {
        untouched_wait(touched);
    }
    return {};
}

}  // namespace weft::shm
