// The receiver's side: what peers posted, pulls, and the slices of large copies.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "src/base/log.h"
#include "transports/shm/wire.h"

namespace weft::shm {

namespace {

// One slice, and all slices of one progress() call: well under a millisecond on a cold machine.
constexpr size_t slice_bytes = 256 * 1024;
constexpr size_t work_bytes = 512 * 1024;

template <class T>
bool payload_read(const RingMessage& message, T* value) {
    if (message.length != sizeof *value) {
        return false;
    }
    std::memcpy(value, message.data, sizeof *value);
    return true;
}

}  // namespace

int ShmWire::progress(WireSink& sink, Nanos, int budget) {
    int events = 0;
    if (port_->mail.news()) [[unlikely]] {
        take_news();
        events++;  // a caller about to sleep must look again: a put may be possible now
    }
    if (!delivered_.empty()) {
        events += report_delivered(sink, budget - events);
    }
    for (Poll& poll : polls_) {
        // Acquire: with the producer's release, the cell's other words.
        if (poll.cell->seq.load(std::memory_order_acquire) == poll.seq) {
            events += drain(poll, sink, budget - events);
        }
    }
    if (work_) {
        events += work(sink);
    }
    if (leaving_) [[unlikely]] {
        events += report_failures(sink);
    }
    return events;
}

int ShmWire::report_delivered(WireSink& sink, int budget) {
    size_t reported = 0;
    // By index: a callback may put and append.
    while (reported < delivered_.size() && static_cast<int>(reported) < budget) {
        sink.on_delivered(delivered_[reported++]);
    }
    delivered_.erase(delivered_.begin(), delivered_.begin() + static_cast<ptrdiff_t>(reported));
    return static_cast<int>(reported);
}

void ShmWire::take_news() {
    for (News& news : port_->mail.take()) {
        Peer& peer = peers_[news.peer];
        switch (news.what) {
            case News::What::up:
                peer_up(news.peer, std::move(news.link));
                break;
            case News::What::closed:
                peer.closed = true;
                leaving_ = true;
                break;
            case News::What::failed:
                peer.failing = true;
                peer.error = std::move(news.error);
                leaving_ = true;
                break;
            case News::What::import: {
                const auto found = std::ranges::find(peer.imports, news.range, &ImportRef::range);
                if (found != peer.imports.end()) {
                    found->state =
                        news.mapped != nullptr ? ImportRef::State::ready : ImportRef::State::none;
                    found->mapped = std::move(news.mapped);
                }
                work_ = true;
                break;
            }
            case News::What::import_gone:
                std::erase_if(peer.imports,
                              [&](const ImportRef& ref) { return ref.range == news.range; });
                break;
        }
    }
}

void ShmWire::peer_up(uint32_t p, std::shared_ptr<PeerLink> link) {
    Peer& peer = peers_[p];
    peer.link = std::move(link);
    peer.out = RingProducer(peer.link->view->ring());
    peer.in = RingConsumer(port_->segment->ring(p));
    peer.jobs.resize(jobs_per_peer);
    for (uint16_t i = jobs_per_peer; i > 0; i--) {
        peer.jobs_free.push_back(static_cast<uint16_t>(i - 1));
    }
    peer.state = PeerState::up;
    polls_.push_back({peer.in.next_cell(), peer.in.next_seq(), p});
}

// ---- what arrives in rings

int ShmWire::drain(Poll& poll, WireSink& sink, int budget) {
    Peer& peer = peers_[poll.peer];
    RingMessage message;
    int events = 0;
    while (events < budget && !peer.broken) {
        const RingConsumer::Peek peek = peer.in.peek(&message);
        if (peek == RingConsumer::Peek::none) {
            break;
        }
        if (peek == RingConsumer::Peek::broken || !message_take(poll.peer, message, sink)) {
            peer.broken = peer.failing = leaving_ = true;
            peer.error = make_error(Code::remote, Scope::peer,
                                    format("rank %u wrote nonsense into shared memory (message "
                                           "kind %u of %u bytes)",
                                           poll.peer, message.kind, message.length));
            break;
        }
        peer.in.pop();
        events++;
    }
    poll.cell = peer.in.next_cell();
    poll.seq = peer.in.next_seq();
    if (peer.in.publish()) {
        ring(peer);
    }
    return events;
}

bool ShmWire::message_take(uint32_t p, const RingMessage& message, WireSink& sink) {
    switch (static_cast<Cell>(message.kind)) {
        case Cell::value:
            counters_.arrivals++;
            counters_.arrival_bytes += message.length;
            sink.on_arrival(Imm::unpack(message.imm), message.data, message.length);
            return true;
        case Cell::placed:
            return placed_take(message, sink);
        case Cell::pull:
            return pull_take(p, message);
        case Cell::slice:
            return slice_take(peers_[p], message, sink);
        case Cell::done:
        case Cell::stage:
            return answer_take(p, message);
    }
    return false;
}

bool ShmWire::placed_take(const RingMessage& message, WireSink& sink) {
    PlacedCell cell;
    if (!payload_read(message, &cell)) {
        return false;
    }
    if (region_of(cell.key) == nullptr) {
        counters_.dropped++;
        return true;
    }
    counters_.arrivals++;
    counters_.arrival_bytes += cell.bytes;
    sink.on_arrival(Imm::unpack(message.imm), nullptr, 0);
    return true;
}

bool ShmWire::pull_take(uint32_t p, const RingMessage& message) {
    Peer& peer = peers_[p];
    Pull pull;
    if (!payload_read(message, &pull.cell) || pull.cell.bytes == 0) {
        return false;
    }
    if (peer.in.popped() < peer.fenced) {
        reply(peer, {Cell::done, pull.cell.job});
        return true;
    }
    pull.imm = Imm::unpack(message.imm);
    if (peer.pulls.empty()) {
        pulling_.push_back(p);
    }
    peer.pulls.push_back(pull);
    work_ = true;
    return true;
}

bool ShmWire::slice_take(Peer& peer, const RingMessage& message, WireSink& sink) {
    SliceNote note;
    std::memcpy(&note, message.note, sizeof note);
    const RegionInfo* region = region_of(note.key);
    const bool fits =
        region != nullptr && note.at <= region->bytes && message.length <= region->bytes - note.at;
    const bool wanted = fits && peer.in.popped() >= peer.fenced;
    if (wanted) {
        std::memcpy(region->base + note.at, message.data, message.length);
    }
    if (note.last != 0) {
        reply(peer, {Cell::done, note.job});
        counters_.dropped += !wanted;
    }
    if (note.last != 0 && wanted) {
        counters_.arrivals++;
        counters_.arrival_bytes += note.total;
        sink.on_arrival(Imm::unpack(message.imm), nullptr, 0);
    }
    return true;
}

bool ShmWire::answer_take(uint32_t p, const RingMessage& message) {
    Peer& peer = peers_[p];
    uint32_t id = 0;
    if (!payload_read(message, &id) || (id & 0xffff) >= peer.jobs.size()) {
        return false;
    }
    Job& job = peer.jobs[id & 0xffff];
    if (job.epoch != id >> 16) {
        return true;  // its source was concealed meanwhile
    }
    if (static_cast<Cell>(message.kind) == Cell::done) {
        if (job.state != Job::State::pulled && job.state != Job::State::staged) {
            return false;
        }
        job_finish(peer, job);
        return true;
    }
    peer.stages = true;
    if (job.state != Job::State::pulled) {
        return false;
    }
    job.state = Job::State::staging;
    busy_.push_back({p, static_cast<uint16_t>(id & 0xffff)});
    work_ = true;
    return true;
}

void ShmWire::reply(Peer& peer, Reply reply) {
    if (!peer.replies.empty() || !peer.out.push(static_cast<uint16_t>(reply.kind), 0,
                                                std::as_bytes(std::span(&reply.job, 1)))) {
        peer.replies.push_back(reply);
        work_ = true;
        return;
    }
    ring(peer);
}

// ---- slices

int ShmWire::work(WireSink& sink) {
    work_ = false;
    size_t bytes = work_bytes;
    int events = work_pulls(sink, &bytes);
    events += work_jobs(&bytes);
    for (const Poll& poll : polls_) {
        Peer& peer = peers_[poll.peer];
        if (peer.replies.empty()) {
            continue;
        }
        for (const Reply& waiting : std::exchange(peer.replies, {})) {
            reply(peer, waiting);
        }
    }
    work_ = work_ || !pulling_.empty() || !busy_.empty();
    stuck_ = events == 0;  // for room in a ring or a mapping: both ring the doorbell
    return events;
}

// One slice of one pull per peer in turn.
int ShmWire::work_pulls(WireSink& sink, size_t* bytes) {
    int events = 0;
    for (size_t turns = pulling_.size(); turns > 0 && *bytes > 0; turns--) {
        const uint32_t p = pulling_.front();
        pulling_.pop_front();
        Peer& peer = peers_[p];
        while (!peer.pulls.empty() && *bytes > 0 && !peer.failing) {
            Pull& pull = peer.pulls.front();
            const Step step = pull_step(p, pull, bytes);
            events += step != Step::blocked;
            if (step == Step::blocked) {
                break;
            }
            if (step == Step::finished) {
                const Pull finished = pull;
                peer.pulls.pop_front();
                if (finished.pos == finished.cell.bytes) {
                    counters_.arrivals++;
                    counters_.arrival_bytes += finished.cell.bytes;
                    sink.on_arrival(finished.imm, nullptr, 0);
                }
            }
        }
        if (!peer.pulls.empty()) {
            pulling_.push_back(p);
        }
    }
    return events;
}

// Finished with pos < bytes: dropped, or staged instead.
ShmWire::Step ShmWire::pull_step(uint32_t p, Pull& pull, size_t* bytes) {
    Peer& peer = peers_[p];
    const RegionInfo* region = region_of(pull.cell.key);
    if (region == nullptr || pull.cell.at > region->bytes ||
        pull.cell.bytes > region->bytes - pull.cell.at) {
        counters_.dropped++;
        reply(peer, {Cell::done, pull.cell.job});
        return Step::finished;
    }
    if (pull.cell.from_range != 0 && peer.link->pid == 0 &&
        import_of(p, pull.cell.from_range).state == ImportRef::State::asked) {
        return Step::blocked;
    }
    const size_t want = std::min({slice_bytes, *bytes, size_t{pull.cell.bytes - pull.pos}});
    if (!peer.link->view->touch(pull.cell.from_key)) {
        reply(peer, {Cell::done, pull.cell.job});
        return Step::finished;
    }
    int sys = 0;
    const size_t got = pull_copy(p, pull, region->base + pull.cell.at + pull.pos, want, &sys);
    peer.link->view->untouch();
    *bytes -= got;
    pull.pos += got;
    if (got == 0 && (sys == EPERM || sys == ENOSYS)) {
        peer.link->pid = 0;
        pull.pos = 0;
        reply(peer, {Cell::stage, pull.cell.job});
        return Step::finished;
    }
    if (got == 0 && sys != ESRCH) {
        peer.failing = leaving_ = true;
        peer.error = make_error(
            Code::remote, Scope::peer,
            format("cannot read %u bytes at 0x%llx of rank %u: %s", pull.cell.bytes,
                   static_cast<unsigned long long>(pull.cell.from), p, std::strerror(sys)),
            sys);
    }
    if (pull.pos < pull.cell.bytes) {
        return got == 0 ? Step::blocked : Step::moved;
    }
    reply(peer, {Cell::done, pull.cell.job});
    return Step::finished;
}

// From a mapping of the source if there is one, else by process_vm_readv.
size_t ShmWire::pull_copy(uint32_t p, const Pull& pull, std::byte* to, size_t bytes, int* sys) {
    const PeerLink& link = *peers_[p].link;
    if (pull.cell.from_range != 0) {
        const ImportRef& import = import_of(p, pull.cell.from_range);
        if (import.state == ImportRef::State::ready) {
            const Mapping& mapping = import.mapped->mapping;
            const uint64_t at = pull.cell.from + pull.pos - import.mapped->base;
            if (at > mapping.bytes() || bytes > mapping.bytes() - at) {
                *sys = EFAULT;
                return 0;
            }
            std::memcpy(to, mapping.at() + at, bytes);
            return bytes;
        }
    }
    if (link.pid == 0) {
        *sys = EPERM;
        return 0;
    }
    const iovec local{to, bytes};
    const iovec remote{reinterpret_cast<void*>(pull.cell.from + pull.pos), bytes};
    const ssize_t got = ::process_vm_readv(link.pid, &local, 1, &remote, 1, 0);
    *sys = got < 0 ? errno : EFAULT;
    return got < 0 ? 0 : static_cast<size_t>(got);
}

int ShmWire::work_jobs(size_t* bytes) {
    int events = 0;
    for (size_t i = 0; i < busy_.size() && *bytes > 0;) {
        Peer& peer = peers_[busy_[i].peer];
        const Step step = job_step(peer, peer.jobs[busy_[i].job], bytes);
        events += step != Step::blocked;
        if (step == Step::finished) {
            busy_.erase(busy_.begin() + static_cast<ptrdiff_t>(i));
        } else {
            i++;
        }
    }
    return events;
}

ShmWire::Step ShmWire::job_step(Peer& peer, Job& job, size_t* bytes) {
    const size_t area = ring_shape(port_->config.rank_count).area_bytes;
    const size_t slice =
        job.state == Job::State::staging ? std::min(slice_bytes, area / 4) : slice_bytes;
    const size_t count = std::min({slice, *bytes, size_t{job.bytes - job.pos}});
    const bool last = job.pos + count == job.bytes;
    if (!peer.out.ready()) {
        return Step::blocked;
    }
    if (job.state == Job::State::staging) {
        SliceNote note{job.to.words[0], job.to.words[1] + job.offset + job.pos, job.bytes,
                       static_cast<uint32_t>(&job - peer.jobs.data()) | uint32_t{job.epoch} << 16,
                       last};
        if (!peer.out.push(static_cast<uint16_t>(Cell::slice), job.imm.pack(),
                           {job.from + job.pos, count}, std::as_bytes(std::span(&note, 1)))) {
            return Step::blocked;
        }
        counters_.copied_bytes += count;
    } else if (!copy_out(peer, job.to, job.offset + job.pos, job.from + job.pos, count)) {
        job_finish(peer, job);
        return Step::finished;
    }
    job.pos += count;
    *bytes -= count;
    if (job.state == Job::State::staging) {
        job.state = last ? Job::State::staged : Job::State::staging;
    } else if (last) {
        const PlacedCell cell{job.to.words[0], job.bytes};
        const bool pushed = peer.out.push(static_cast<uint16_t>(Cell::placed), job.imm.pack(),
                                          std::as_bytes(std::span(&cell, 1)));
        ASSERT(pushed);
        job_finish(peer, job);
    }
    ring(peer);
    return last ? Step::finished : Step::moved;
}

// ---- the end of a peer

// A peer that closed in good order is a failure only for one who still wants something from it:
// ranks leave a communicator one by one. What it sent before it ended is read first.
int ShmWire::report_failures(WireSink& sink) {
    int events = 0;
    leaving_ = false;
    for (uint32_t p = 0; p < peers_.size(); p++) {
        Peer& peer = peers_[p];
        if (peer.state == PeerState::failed || (!peer.failing && !peer.closed)) {
            continue;
        }
        leaving_ = true;
        const bool unread = !peer.broken && peer.link != nullptr && !peer.in.empty();
        const bool wanted = peer.failing || peer.missed || peer.state == PeerState::connecting ||
                            std::ranges::any_of(peer.jobs, &Job::notify);
        if (unread || !wanted) {
            continue;
        }
        if (!peer.failing) {
            peer.error = make_error(Code::remote, Scope::peer,
                                    format("rank %u closed its side of the link", p));
        }
        peer_forget(p);
        sink.on_failure(p, std::move(peer.error));
        events++;
    }
    return events;
}

void ShmWire::peer_forget(uint32_t p) {
    Peer& peer = peers_[p];
    peer.state = PeerState::failed;
    peer.pulls.clear();
    peer.replies.clear();
    peer.imports.clear();
    jobs_open_ -= peer.jobs.size() - peer.jobs_free.size();
    peer.jobs.clear();
    peer.jobs_free.clear();
    std::erase(pulling_, p);
    std::erase_if(busy_, [p](const Busy& busy) { return busy.peer == p; });
    std::erase_if(polls_, [p](const Poll& poll) { return poll.peer == p; });
}

bool ShmWire::arm() {
    return !port_->mail.news() && delivered_.empty() && (!work_ || stuck_) &&
           std::ranges::none_of(polls_, [](const Poll& poll) {
               return poll.cell->seq.load(std::memory_order_acquire) == poll.seq;
           });
}

}  // namespace weft::shm
