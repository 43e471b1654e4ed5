// A wire that behaves as badly as the contract allows, by the rolls of a seeded generator: the same
// seed and the same calls give the same faults.
//
//   again      a put is refused, and a few after it
//   delay      a put waits up to delay_us_max before it is posted
//   reorder    a put waits for a few progress() calls, and others pass it
//   duplicate  the payload is placed twice (first under a token nobody owns, and only then for
//              good, for memory may be reused once the real immediate has arrived), or an arrival
//              is reported twice
//   stale      an arrival is reported again much later, its bytes with it when it came by value
//   fail       after so many puts every peer is lost
//
// Descriptors are held, never payload of puts to memory: their source is the caller's until
// delivery. A stale write's *bytes* are not replayed into memory: only a fence can protect memory
// that is in use again, and a wire that sends them anyway breaks the contract rather than tests it.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <vector>

#include "src/base/log.h"
#include "transports/hubs.h"

namespace weft {

namespace {

constexpr size_t held_max = 32;
constexpr uint32_t storm_max = 6;          // refusals in a row
constexpr uint32_t reorder_ticks_max = 8;  // progress() calls
constexpr uint32_t stale_ticks_max = 32;
// Far fewer than the arrivals after which a 4-bit generation or a slot sequence comes round again.
constexpr uint64_t stale_arrivals_max = 64;
constexpr uint32_t phantom_token = token_count_max - 1;

class SplitMix {
  public:
    explicit SplitMix(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    uint64_t below(uint64_t limit) { return next() % limit; }
    bool chance(double p) { return p > 0 && static_cast<double>(next() >> 11) * 0x1p-53 < p; }

  private:
    uint64_t state_;
};

class FaultWire final : public Wire, private WireSink {
  public:
    FaultWire(std::unique_ptr<Wire> inner, const FaultSpec& spec)
        : inner_(std::move(inner)), spec_(spec), rng_(spec.seed), caps_(inner_->caps()) {
        caps_.name = "fault(" + caps_.name + ")";
        // What is held is let go by progress() alone, no doorbell rings for it.
        caps_.needs_polling = true;
    }

    const Caps& caps() const override { return caps_; }
    const WireCounters& counters() const override {
        counters_ = inner_->counters();
        counters_.again += refused_;
        return counters_;
    }
    std::string address() const override { return inner_->address(); }
    Result<uint32_t> tokens_reserve(uint32_t count) override {
        return inner_->tokens_reserve(count);
    }
    Result<void> connect(uint32_t peer, std::string_view address, std::string_view hello) override {
        TRY(inner_->connect(peer, address, hello));
        peers_.push_back(peer);
        return {};
    }
    PeerState state(uint32_t peer) const override {
        return failed_ && std::ranges::count(peers_, peer) > 0 ? PeerState::failed
                                                               : inner_->state(peer);
    }
    std::string_view hello_of(uint32_t peer) const override { return inner_->hello_of(peer); }
    Result<Region> expose(void* memory, size_t bytes) override {
        return inner_->expose(memory, bytes);
    }
    void conceal(Region region) override {
        std::erase_if(held_, [&](const Held& held) { return held.put.from_region == region; });
        std::erase_if(phantoms_,
                      [&](const auto& entry) { return entry.second.from_region == region; });
        inner_->conceal(region);
    }
    void release(Region region) override { inner_->release(region); }
    Result<Post> put_own(const Put& put) override { return inner_->put_own(put); }
    Result<Post> flush(uint32_t peer, Region region, size_t bytes) override {
        return inner_->flush(peer, region, bytes);
    }
    bool busy(Region region) const override { return inner_->busy(region); }
    RemoteRef ref(Region region, uint64_t offset, uint32_t peer) const override {
        return inner_->ref(region, offset, peer);
    }
    uint32_t pieces_reserve(uint32_t peer, uint32_t wanted) override {
        return inner_->pieces_reserve(peer, wanted);
    }
    void pieces_return(uint32_t peer, uint32_t count) override {
        inner_->pieces_return(peer, count);
    }
    const std::byte* map(uint32_t peer, const RemoteRef& ref, uint64_t bytes) override {
        return inner_->map(peer, ref, bytes);
    }
    Result<void> fence(uint32_t peer) override { return inner_->fence(peer); }
    Result<void> cut(uint32_t peer, std::string_view why) override {
        return inner_->cut(peer, why);
    }
    int wait_fd() const override { return inner_->wait_fd(); }
    bool arm() override { return held_.empty() && replays_.empty() && inner_->arm(); }

    Post put(const Put& put) override;
    int progress(WireSink& sink, Nanos now, int budget) override;

  private:
    struct Held {
        Put put;
        std::vector<std::byte> value;  // of a by-value put, whose bytes are ours once accepted
        uint64_t tick = 0;             // not before this progress() call...
        Nanos at = 0;                  // ...and this time
    };
    struct Replay {
        Imm imm;
        std::vector<std::byte> value;
        bool by_value = false;
        uint64_t tick = 0, arrival = 0;  // whichever comes first
    };

    void on_arrival(Imm imm, const std::byte* value, uint32_t value_bytes) override;
    void on_delivered(uint64_t cookie) override;
    void on_failure(uint32_t peer, Error error) override;

    bool refuse();
    void hold(const Put& put, uint64_t ticks, Nanos delay);
    Post post(const Put& put, bool phantom);
    int release();
    int replay();
    int report_failure();

    std::unique_ptr<Wire> inner_;
    const FaultSpec spec_;
    SplitMix rng_;
    Caps caps_;
    mutable WireCounters counters_;
    uint64_t refused_ = 0;
    uint32_t storm_ = 0;
    int64_t puts_ = 0;
    bool failed_ = false;
    bool failure_told_ = false;
    std::vector<uint32_t> peers_;  // connect() was called
    std::vector<uint32_t> lost_;   // on_failure was reported
    std::deque<Held> held_;
    std::deque<Replay> replays_;
    // The inner wire's cookies are ours: even for puts, odd for phantoms.
    std::unordered_map<uint64_t, uint64_t> cookies_;  // to the caller's
    std::unordered_map<uint64_t, Put> phantoms_;
    uint64_t next_cookie_ = 0;
    WireSink* sink_ = nullptr;  // during progress
    uint64_t tick_ = 0, arrivals_ = 0;
    Nanos now_ = 0;
};

bool FaultWire::refuse() {
    if (storm_ == 0 && rng_.chance(spec_.again)) {
        storm_ = 1 + static_cast<uint32_t>(rng_.below(storm_max));
    }
    if (storm_ == 0) {
        return failed_ || held_.size() >= held_max;
    }
    storm_--;
    return true;
}

Post FaultWire::put(const Put& put) {
    if (spec_.fail_after_puts >= 0 && puts_ >= spec_.fail_after_puts) {
        failed_ = true;
    }
    // Before any roll: a put that the peer's state refuses anyway is not ours to hold.
    if (inner_->state(put.peer) == PeerState::up && refuse()) {
        refused_++;
        return Post::again;
    }
    Post result = Post::accepted;
    if (inner_->state(put.peer) != PeerState::up) {
        result = inner_->put(put);
    } else if (rng_.chance(spec_.delay)) {
        hold(put, 0,
             static_cast<Nanos>(rng_.below(1 + static_cast<uint64_t>(spec_.delay_us_max))) * 1000);
    } else if (rng_.chance(spec_.reorder)) {
        hold(put, 1 + rng_.below(reorder_ticks_max), 0);
    } else {
        const bool to_memory = !put.to.none() && put.bytes > 0;
        result = post(put, to_memory && rng_.chance(spec_.duplicate));
    }
    puts_ += result == Post::accepted;
    return result;
}

void FaultWire::hold(const Put& put, uint64_t ticks, Nanos delay) {
    Held held{put, {}, tick_ + ticks, now_ + delay};
    if (put.to.none() && put.bytes > 0) {
        const auto* from = static_cast<const std::byte*>(put.from);
        held.value.assign(from, from + put.bytes);
    }
    held_.push_back(std::move(held));
}

Post FaultWire::post(const Put& put, bool phantom) {
    const uint64_t cookie = next_cookie_ + (phantom ? 1 : 0);
    Put own = put;
    own.cookie = cookie;
    if (phantom) {
        own.imm = Imm{phantom_token, 0, 0};
        own.notify = true;
    }
    if (inner_->put(own) == Post::again) {
        return Post::again;
    }
    next_cookie_ += 2;
    if (phantom) {
        phantoms_.emplace(cookie, put);
    } else if (put.notify) {
        cookies_.emplace(cookie, put.cookie);
    }
    return Post::accepted;
}

int FaultWire::progress(WireSink& sink, Nanos now, int budget) {
    sink_ = &sink;
    now_ = now;
    tick_++;
    int events = release();
    events += inner_->progress(*this, now, budget);
    events += replay();
    if (failed_ && !failure_told_) {
        events += report_failure();
    }
    sink_ = nullptr;
    return events;
}

int FaultWire::release() {
    int events = 0;
    for (size_t i = 0; i < held_.size();) {
        Held& held = held_[i];
        if (held.tick > tick_ || held.at > now_) {
            i++;
            continue;
        }
        if (!held.value.empty()) {
            held.put.from = held.value.data();
        }
        if (post(held.put, false) == Post::again) {
            i++;
            continue;
        }
        held_.erase(held_.begin() + static_cast<ptrdiff_t>(i));
        events++;
    }
    return events;
}

int FaultWire::replay() {
    int events = 0;
    for (size_t n = replays_.size(); n > 0; n--) {
        Replay old = std::move(replays_.front());
        replays_.pop_front();
        if (old.tick > tick_ && old.arrival > arrivals_) {
            replays_.push_back(std::move(old));
            continue;
        }
        sink_->on_arrival(old.imm, old.by_value ? old.value.data() : nullptr,
                          static_cast<uint32_t>(old.value.size()));
        events++;
    }
    return events;
}

int FaultWire::report_failure() {
    failure_told_ = true;
    held_.clear();
    replays_.clear();
    for (const uint32_t peer : peers_) {
        on_failure(peer, make_error(Code::remote, Scope::peer,
                                    format("rank %u: the fault injector ended the link after %lld "
                                           "puts",
                                           peer, static_cast<long long>(puts_))));
    }
    return static_cast<int>(peers_.size());
}

void FaultWire::on_arrival(Imm imm, const std::byte* value, uint32_t value_bytes) {
    if (imm.token == phantom_token || failed_) {
        return;
    }
    arrivals_++;
    sink_->on_arrival(imm, value, value_bytes);
    if (rng_.chance(spec_.duplicate)) {
        sink_->on_arrival(imm, value, value_bytes);
    }
    if (rng_.chance(spec_.stale)) {
        Replay old{imm,
                   {},
                   value != nullptr,
                   tick_ + 1 + rng_.below(stale_ticks_max),
                   arrivals_ + 1 + rng_.below(stale_arrivals_max)};
        old.value.assign(value, value + value_bytes);
        replays_.push_back(std::move(old));
    }
}

void FaultWire::on_delivered(uint64_t cookie) {
    if (const auto phantom = phantoms_.find(cookie); phantom != phantoms_.end()) {
        hold(phantom->second, 0, 0);
        phantoms_.erase(phantom);
        return;
    }
    const auto own = cookies_.find(cookie);
    if (own == cookies_.end()) {
        return;  // a phantom whose source is concealed
    }
    const uint64_t callers = own->second;
    cookies_.erase(own);
    if (!failed_) {
        sink_->on_delivered(callers);
    }
}

void FaultWire::on_failure(uint32_t peer, Error error) {
    if (std::ranges::count(lost_, peer) == 0) {
        lost_.push_back(peer);
        std::erase_if(held_, [peer](const Held& held) { return held.put.peer == peer; });
        sink_->on_failure(peer, std::move(error));
    }
}

struct Field {
    std::string_view name;
    double FaultSpec::*probability = nullptr;
    int64_t FaultSpec::*number = nullptr;
};
constexpr Field fields[] = {
    {"delay", &FaultSpec::delay},
    {"reorder", &FaultSpec::reorder},
    {"dup", &FaultSpec::duplicate},
    {"again", &FaultSpec::again},
    {"stale", &FaultSpec::stale},
    {"delay_us", nullptr, &FaultSpec::delay_us_max},
    {"fail", nullptr, &FaultSpec::fail_after_puts},
};

template <class T>
bool parse_whole(std::string_view text, T* value) {
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), *value);
    return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

bool field_set(FaultSpec* spec, std::string_view name, std::string_view value) {
    if (name == "seed") {
        return parse_whole(value, &spec->seed);
    }
    const auto* field = std::ranges::find(fields, name, &Field::name);
    if (field == std::end(fields)) {
        return false;
    }
    if (field->number != nullptr) {
        return parse_whole(value, &(spec->*field->number)) && spec->*field->number >= 0;
    }
    double& p = spec->*field->probability;
    // Never certain: a put that is always refused is a wire that does not exist.
    return parse_whole(value, &p) && p >= 0 && p <= (name == "again" ? 0.95 : 1.0);
}

}  // namespace

Result<FaultSpec> fault_parse(std::string_view text) {
    FaultSpec spec;
    while (!text.empty()) {
        const std::string_view item = text.substr(0, text.find(','));
        text.remove_prefix(std::min(text.size(), item.size() + 1));
        const size_t equals = item.find('=');
        if (equals == std::string_view::npos ||
            !field_set(&spec, item.substr(0, equals), item.substr(equals + 1))) {
            return make_error(
                Code::invalid_argument, Scope::process,
                format("fault specification: cannot use \"%.*s\" (known: seed=N, "
                       "delay=P, reorder=P, dup=P, again=P up to 0.95, stale=P with P "
                       "in 0..1, delay_us=N, fail=N puts)",
                       static_cast<int>(item.size()), item.data()));
        }
    }
    return spec;
}

std::unique_ptr<Wire> fault_wrap(std::unique_ptr<Wire> inner, const FaultSpec& spec) {
    return std::make_unique<FaultWire>(std::move(inner), spec);
}

}  // namespace weft
