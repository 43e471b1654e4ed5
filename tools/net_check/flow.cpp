#include "tools/net_check/flow.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "src/base/log.h"

namespace weft::netcheck {

namespace {

constexpr size_t alignment = 64;
constexpr size_t gap = 64;  // between two messages, checked with what surrounds them
constexpr uint8_t blank = 0xa5;
constexpr size_t page = 4096;
constexpr uint64_t round_step = 0x1'0000'0000;  // seeds of two rounds never meet

// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
uint64_t word_of(uint64_t seed, uint64_t index) {
    uint64_t x = seed * 0x9e3779b97f4a7c15u + (index + 1) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

size_t rounded_up(size_t value, size_t step) {
    return (value + step - 1) / step * step;
}

}  // namespace

Memory::Memory(size_t bytes)
    : size_(rounded_up(std::max<size_t>(bytes, 1), page)),
      bytes_(static_cast<uint8_t*>(std::aligned_alloc(page, size_))) {
    ASSERT(bytes_ != nullptr);
    std::memset(bytes_.get(), blank, size_);
}

void Memory::Free::operator()(uint8_t* at) const {
    std::free(at);
}

void pattern_write(std::span<uint8_t> bytes, uint64_t seed) {
    for (size_t at = 0; at < bytes.size(); at += 8) {
        const uint64_t word = word_of(seed, at / 8);
        std::memcpy(bytes.data() + at, &word, std::min<size_t>(8, bytes.size() - at));
    }
}

Result<void> pattern_check(std::span<const uint8_t> bytes, uint64_t seed) {
    for (size_t at = 0; at < bytes.size(); at += 8) {
        const uint64_t word = word_of(seed, at / 8);
        if (std::memcmp(bytes.data() + at, &word, std::min<size_t>(8, bytes.size() - at)) != 0) {
            return broken(
                format("a message of %zu bytes has wrong data from byte %zu on", bytes.size(), at));
        }
    }
    return {};
}

Result<void> untouched_check(std::span<const uint8_t> bytes) {
    const auto wrong =
        std::find_if(bytes.begin(), bytes.end(), [](uint8_t b) { return b != blank; });
    return expect(wrong == bytes.end(), format("memory was written %zu bytes behind the message",
                                               static_cast<size_t>(wrong - bytes.begin())));
}

Group single(size_t size) {
    return {Item{size, size, 0, 0}};
}

Flow::Flow(Bench& bench, Lines& lines, size_t line, Transfer transfer)
    : bench_(bench),
      communicator_(*lines.communicator),
      sends_(lines.sends),
      comm_(lines.ends[line]),
      transfer_(std::move(transfer)),
      window_(static_cast<size_t>(transfer_.window)) {
}

// One unit a group when receiving, one a message when sending.
void Flow::lay_out() {
    size_t at = gap;
    std::vector<size_t> offsets;
    for (const Group& group : transfer_.groups) {
        for (const Item& item : group) {
            at = rounded_up(at, alignment) + item.skew;
            offsets.push_back(at);
            at += std::max(item.size, item.room) + gap;
        }
    }
    behind_ = at;
    memory_ = std::make_unique<Memory>(at + transfer_.behind);
    uint8_t* base = memory_->span().data();
    size_t index = 0;
    for (const Group& group : transfer_.groups) {
        Unit unit;
        for (const Item& item : group) {
            const uint64_t seed = transfer_.seed * 1'000'003 + index;
            uint8_t* data = base + offsets[index++];
            if (sends_) {
                pattern_write({data, item.size}, seed);
            }
            unit.pieces.push_back({data, sends_ ? item.size : item.room, item.tag, nullptr});
            unit.items.push_back(item);
            unit.seeds.push_back(seed);
        }
        units_add(std::move(unit));
    }
    target_ = transfer_.endless ? SIZE_MAX : work_.size();
}

void Flow::units_add(Unit unit) {
    if (!sends_) {
        return work_.push_back(std::move(unit));
    }
    const size_t n = unit.pieces.size();
    for (size_t i = 0; i < n; i++) {
        const size_t at = transfer_.reversed ? n - 1 - i : i;
        Unit one;
        one.pieces = {unit.pieces[at]};
        one.seeds = {unit.seeds[at]};
        work_.push_back(std::move(one));
    }
}

// Other bytes in the same place, so that none of an earlier round can pass for them.
void Flow::renew(Unit& unit, size_t round) {
    if (unit.round == round) {
        return;
    }
    for (uint64_t& seed : unit.seeds) {
        seed += (round - unit.round) * round_step;
    }
    unit.round = round;
    if (sends_) {
        pattern_write({static_cast<uint8_t*>(unit.pieces[0].data), unit.pieces[0].size},
                      unit.seeds[0]);
    }
}

Result<void> Flow::prepare() {
    lay_out();
    if (transfer_.endless) {  // a place is used again when its request is done
        window_ = std::min(window_, work_.size());
    } else if (sends_ && !transfer_.groups.empty()) {
        window_ *= transfer_.groups.front().size();
    }
    TRY(communicator_.service.run([this] {
        const std::span<uint8_t> all = memory_->span();
        return good(communicator_.net().reg_mr(comm_, all.data(), all.size(),
                                               netplugin::pointer_host, &mr_),
                    "regMr");
    }));
    for (Unit& unit : work_) {
        for (Piece& piece : unit.pieces) {
            piece.mr = mr_;
        }
    }
    return {};
}

Result<bool> Flow::post(Unit& unit) {
    Net& net = communicator_.net();
    if (sends_) {
        TRY(good(net.isend(comm_, unit.pieces[0], &unit.request), "isend"));
        return unit.request != nullptr;
    }
    void* const hint = reinterpret_cast<void*>(netplugin::request_completion_optional);
    unit.request = transfer_.hint ? hint : nullptr;
    const int n = static_cast<int>(unit.pieces.size());
    TRY(good(net.irecv(comm_, n, unit.pieces.data(), &unit.request), "irecv"));
    TRY(expect(!transfer_.hint || unit.request != hint,
               "irecv leaves the hint 0x1 in *request: NCCL would test it"));
    return unit.request != nullptr;
}

Result<bool> Flow::poll(Unit& unit) {
    int done = -1;
    unit.sizes.assign(group_max, 0);
    const bool ask = transfer_.sizes && !unit.flushing;
    TRY(good(communicator_.net().test(unit.request, &done, ask ? unit.sizes.data() : nullptr),
             "test"));
    TRY(expect(done != -1, "test gives success and does not write done"));
    if (done == 0) {
        return false;
    }
    unit.request = nullptr;
    const bool whole = sends_ || unit.flushing || TRY(received(unit));
    if (whole && transfer_.endless) {
        TRY(compare(unit));
    }
    return whole;
}

Result<bool> Flow::received(Unit& unit) {
    const int n = static_cast<int>(unit.pieces.size());
    // An optional completion may come before the sizes are known.
    for (size_t i = 0; transfer_.sizes && !transfer_.hint && i < unit.items.size(); i++) {
        TRY(expect(unit.sizes[i] == static_cast<int>(unit.items[i].size),
                   format("test says %d bytes came into buffer %zu of %d, %zu were sent",
                          unit.sizes[i], i, n, unit.items[i].size)));
    }
    if (!transfer_.flush) {
        return true;
    }
    std::vector<Piece> came = unit.pieces;
    for (size_t i = 0; i < came.size(); i++) {
        came[i].size = unit.items[i].size;
    }
    TRY(good(communicator_.net().iflush(comm_, n, came.data(), &unit.request), "iflush"));
    if (unit.request == nullptr) {
        return true;
    }
    unit.flushing = true;
    return false;
}

Result<bool> Flow::step(bool post_only) {
    bool moved = false;
    while (posted_ < target_ && posted_ - finished_ < window_) {
        Unit& unit = work_[posted_ % work_.size()];
        renew(unit, posted_ / work_.size());
        if (!TRY(post(unit))) {
            break;
        }
        posted_++;
        moved = true;
    }
    while (!post_only && finished_ < posted_) {
        if (!TRY(poll(work_[finished_ % work_.size()]))) {
            break;
        }
        finished_++;
        moved = true;
    }
    return moved;
}

Result<void> Flow::compare(const Unit& unit) const {
    for (size_t i = 0; i < unit.items.size(); i++) {
        const auto* data = static_cast<const uint8_t*>(unit.pieces[i].data);
        const Item& item = unit.items[i];
        if (transfer_.hint) {  // done may be ahead of the data
            Patience patience(bench_, "data announced by an optional completion does not come");
            while (!pattern_check({data, item.size}, unit.seeds[i]).ok()) {
                TRY(patience.pause());
            }
        }
        TRY(pattern_check({data, item.size}, unit.seeds[i]));
        TRY(untouched_check({data + item.size, item.room - item.size + gap}));
    }
    return {};
}

Result<void> Flow::finish() {
    for (const Unit& unit : work_) {
        TRY(compare(unit));
    }
    return release();
}

Result<void> Flow::release() {
    return communicator_.service.run(
        [this] { return good(communicator_.net().dereg_mr(comm_, mr_), "deregMr"); });
}

size_t Flow::bytes() const {
    return memory_->span().size();
}

size_t Flow::round_bytes() const {
    size_t bytes = 0;
    for (const Group& group : transfer_.groups) {
        for (const Item& item : group) {
            bytes += item.size;
        }
    }
    return bytes;
}

size_t Flow::round_messages() const {
    size_t messages = 0;
    for (const Group& group : transfer_.groups) {
        messages += group.size();
    }
    return messages;
}

Result<void> Flow::untouched() const {
    return untouched_check(memory_->span().subspan(behind_ - gap));
}

Work flows_work(Bench& bench, const std::vector<Flow*>& flows) {
    return [&bench, flows]() -> Result<void> {
        Patience patience(bench, "no message goes on");
        const auto done = [](const Flow* flow) { return flow->done(); };
        while (!std::all_of(flows.begin(), flows.end(), done)) {
            bool moved = false;
            for (Flow* flow : flows) {
                const bool some = TRY(flow->step());
                moved = moved || some;
            }
            if (moved) {
                patience.progress();
            } else {
                TRY(patience.pause());
            }
        }
        return {};
    };
}

Result<void> flows_run(Bench& bench, Communicator& communicator, const std::vector<Flow*>& flows) {
    return communicator.progress.run(flows_work(bench, flows));
}

Result<void> transfer_run(Bench& bench, Lines& lines, const Transfer& transfer, size_t line) {
    Flow flow(bench, lines, line, transfer);
    TRY(flow.prepare());
    TRY(flows_run(bench, *lines.communicator, {&flow}));
    return flow.finish();
}

}  // namespace weft::netcheck
