#include "src/comm/hosts_stages.h"

#include <algorithm>

#include "src/comm/call.h"
#include "src/comm/hosts_grid.h"

namespace weft {

namespace {

constexpr uint64_t unit = 64;

// How `total` bytes are dealt out: the i-th of equal ranges, the last of which may be smaller, or
// empty.
struct Ranges {
    uint64_t total = 0, each = 0;
    Ranges(uint64_t bytes, uint64_t parts)
        : total(bytes), each((bytes + parts * unit - 1) / (parts * unit) * unit) {}
    uint64_t at(uint64_t i) const { return i * each; }
    uint64_t bytes(uint64_t i) const { return at(i) < total ? std::min(each, total - at(i)) : 0; }
};

HostsPlace moved(HostsPlace place, uint64_t by) {
    place.at += by;
    return place;
}

class Stages {
  public:
    Stages(const Call& call, const HostsShape& shape, const HostsSizes& sizes, uint64_t done,
           uint64_t count)
        : call_(call),
          shape_(shape),
          sizes_(sizes),
          host_(static_cast<uint64_t>(shape.host)),
          local_(static_cast<uint64_t>(shape.local)),
          hosts_(static_cast<uint64_t>(shape.hosts)),
          locals_(static_cast<uint64_t>(shape.locals)),
          size_(size_of(call.type)),
          width_(count * size_),
          from_(done * size_),
          lines_(hosts_lines(hosts_, host_, sizes.line_max)) {
        const auto root = std::ranges::find(shape.ranks, call.root) - shape.ranks.begin();
        root_host_ = static_cast<uint64_t>(root) / locals_;
        root_local_ = static_cast<uint64_t>(root) % locals_;
    }

    std::vector<HostsStage> make() {
        switch (call_.coll) {
            case Coll::all_reduce:
                all_reduce();
                break;
            case Coll::reduce:
                reduce();
                break;
            case Coll::broadcast:
                broadcast();
                break;
            case Coll::all_gather:
                all_gather();
                break;
            case Coll::reduce_scatter:
                reduce_scatter();
                break;
            case Coll::all_to_all:
            case Coll::gather:
            case Coll::scatter:
                pairwise();
                break;
            case Coll::send_recv:
                break;
        }
        return std::move(stages_);
    }

  private:
    HostsStage& stage() { return stages_.emplace_back(); }
    HostsStage& lay() {
        HostsStage& first = stage();
        first.left = true;
        first.tell = HostsStage::Tell::arrived;
        return first;
    }
    HostsStage& on_arrived() {
        HostsStage& next = stage();
        next.arrived = true;
        return next;
    }
    HostsStage& on_exchanged() {
        HostsStage& next = stage();
        next.exchanged = true;
        return next;
    }

    bool at_root() const { return host_ == root_host_ && local_ == root_local_; }
    int32_t rank(uint64_t host, uint64_t local) const {
        return shape_.rank_at(static_cast<int32_t>(host), static_cast<int32_t>(local));
    }
    HostsPlace slot(uint64_t local, uint64_t at) const {
        return {HostsWhere::slot, static_cast<int32_t>(local), at};
    }
    HostsPlace own(uint64_t at) const { return slot(local_, at); }
    HostsPlace out(uint64_t at) const { return {far_, 0, at}; }
    HostsPlace in(uint64_t at) const { return out(sizes_.slot_bytes + at); }
    HostsPlace input(uint64_t block) const {
        return {HostsWhere::user, 0,
                reinterpret_cast<uint64_t>(call_.send) + block * call_.count * size_ + from_};
    }
    HostsPlace output(uint64_t block) const {
        return {HostsWhere::user, 0,
                reinterpret_cast<uint64_t>(call_.recv) + block * call_.count * size_ + from_};
    }
    // Messages are of so many bytes, the last but fewer. Both sides of each find the same.
    void messages_are(uint64_t bytes) {
        far_ = bytes >= sizes_.device_from ? HostsWhere::device_far : HostsWhere::far;
    }
    // Of another host, among those that are not this one's.
    uint64_t other(uint64_t host) const { return host < host_ ? host : host - 1; }

    void send(HostsStage& stage, uint64_t host, uint64_t local, HostsPlace from, uint64_t bytes) {
        message(stage, host, local, true, from, bytes);
    }
    void receive(HostsStage& stage, uint64_t host, uint64_t local, HostsPlace to, uint64_t bytes) {
        message(stage, host, local, false, to, bytes);
    }
    void message(HostsStage& stage, uint64_t host, uint64_t local, bool is_send, HostsPlace place,
                 uint64_t bytes) {
        if (bytes > 0) {
            stage.ask.push_back({rank(host, local), is_send, place.where == HostsWhere::device_far,
                                 place.at, bytes, 0});
        }
    }
    template <class Each>  // void(uint64_t host)
    void other_hosts(Each each) const {
        for (uint64_t host = 0; host < hosts_; host++) {
            if (host != host_) {
                each(host);
            }
        }
    }

    static void sum(HostsStage& stage, HostsSum what) {
        if (what.bytes > 0 && what.from.size() == 1) {
            hosts_move_add(stage.moves, what.to, what.from.front(), what.bytes);
        } else if (what.bytes > 0) {
            stage.sums.push_back(std::move(what));
        }
    }
    // What the ranks of this host have laid open there.
    void boards_sum(HostsStage& stage, HostsPlace to, uint64_t at, uint64_t bytes) const {
        HostsSum what{to, {}, bytes, false};
        for (uint64_t local = 0; local < locals_; local++) {
            what.from.push_back(slot(local, at));
        }
        sum(stage, std::move(what));
    }
    // What this host has, and what each other of a line sent, in the order of hosts.
    // `whole`: that is the sum of all.
    void line_sum(HostsPlace to, HostsPlace ours, const HostsLine& line, uint64_t each,
                  uint64_t bytes, bool whole) {
        HostsSum what{to, {}, bytes, whole};
        for (uint64_t i = 0; i < line.count; i++) {
            what.from.push_back(i == line.own ? ours : in(line.other(i) * each));
        }
        sum(stages_.back(), std::move(what));
    }

    // The latest stage asks for it.
    void send(uint64_t host, HostsPlace from, uint64_t bytes) {
        send(stages_.back(), host, local_, from, bytes);
    }
    void receive(uint64_t host, HostsPlace to, uint64_t bytes) {
        receive(stages_.back(), host, local_, to, bytes);
    }

    void shares_read(const Ranges& shares, bool wanted);
    void all_reduce_once(const Ranges& shares);
    void all_reduce_twice(const Ranges& shares);
    void all_reduce();
    void reduce();
    void broadcast();
    void all_gather();
    void reduce_scatter();
    bool flows(uint64_t from_host, uint64_t from_local, uint64_t to_host, uint64_t to_local) const;
    void pairwise_out(HostsStage& first);
    void pairwise();

    const Call& call_;
    const HostsShape& shape_;
    const HostsSizes& sizes_;
    const uint64_t host_, local_, hosts_, locals_;
    const uint64_t size_, width_, from_;  // of this part, in a block
    uint64_t root_host_ = 0, root_local_ = 0;
    HostsWhere far_ = HostsWhere::far;
    const std::vector<HostsLine> lines_;
    std::vector<HostsStage> stages_;
};

// All shares of the part lie on the boards of this host, each on its rank's.
void Stages::shares_read(const Ranges& shares, bool wanted) {
    HostsStage& last = stage();
    last.reduced = true;
    last.tell = HostsStage::Tell::left;
    for (uint64_t local = 0; wanted && local < locals_; local++) {
        hosts_move_add(last.moves, moved(output(0), shares.at(local)),
                       slot(local, shares.at(local)), shares.bytes(local));
    }
}

// The host's sum of this rank's share goes to all of its place in a line, who add them up.
void Stages::all_reduce_once(const Ranges& shares) {
    messages_are(shares.each);
    const uint64_t bytes = shares.bytes(local_);
    boards_sum(on_arrived(), out(0), shares.at(local_), bytes);
    for (const HostsLine& line : lines_) {
        line.others([&](uint64_t i) {
            send(line.host(i), out(0), bytes);
            receive(line.host(i), in(line.other(i) * shares.each), bytes);
        });
        on_exchanged();
        const bool last = &line == &lines_.back();
        line_sum(last ? own(shares.at(local_)) : out(0), out(0), line, shares.each, bytes, last);
    }
    stages_.back().tell = HostsStage::Tell::reduced;
}

// Every host of a line adds up one part of what the line has, and gives it to the others when it is
// whole.
void Stages::all_reduce_twice(const Ranges& shares) {
    struct Level {
        const HostsLine& line;
        uint64_t at;
        Ranges parts;
    };
    const uint64_t bytes = shares.bytes(local_);
    std::vector<Level> levels;
    uint64_t at = 0, left = bytes;
    for (const HostsLine& line : lines_) {
        const Ranges parts(left, line.count);
        levels.push_back({line, at, parts});
        at += parts.at(line.own);
        left = parts.bytes(line.own);
    }
    messages_are(levels.front().parts.each);
    boards_sum(on_arrived(), out(0), shares.at(local_), bytes);
    for (const auto& [line, begin, parts] : levels) {
        const uint64_t mine = parts.bytes(line.own);
        for (uint64_t i = 0; i < line.count; i++) {
            if (i != line.own) {
                send(line.host(i), out(begin + parts.at(i)), parts.bytes(i));
                receive(line.host(i), in(line.other(i) * parts.each), mine);
            }
        }
        on_exchanged();
        const HostsPlace ours = out(begin + parts.at(line.own));
        line_sum(ours, ours, line, parts.each, mine, &line == &lines_.back());
    }
    for (auto level = levels.rbegin(); level != levels.rend(); ++level) {
        const auto& [line, begin, parts] = *level;
        for (uint64_t i = 0; i < line.count; i++) {
            if (i != line.own) {
                send(line.host(i), out(begin + parts.at(line.own)), parts.bytes(line.own));
                receive(line.host(i), out(begin + parts.at(i)), parts.bytes(i));
            }
        }
        on_exchanged();
    }
    hosts_move_add(stages_.back().moves, own(shares.at(local_)), out(0), bytes);
    stages_.back().tell = HostsStage::Tell::reduced;
}

void Stages::all_reduce() {
    const Ranges shares(width_, locals_);
    hosts_move_add(lay().moves, own(0), input(0), width_);
    const bool fits = (lines_.front().count - 1) * shares.each <= sizes_.slot_bytes;
    if (hosts_ > 2 && (shares.each >= sizes_.twice_from || !fits)) {
        all_reduce_twice(shares);
    } else {
        all_reduce_once(shares);
    }
    shares_read(shares, true);
}

// Row by row, then the column in which the root is.
void Stages::reduce() {
    const Ranges shares(width_, locals_);
    messages_are(shares.each);
    const uint64_t bytes = shares.bytes(local_);
    hosts_move_add(lay().moves, own(0), input(0), width_);
    boards_sum(on_arrived(), out(0), shares.at(local_), bytes);
    bool has = true;  // a sum that goes on
    for (auto line = lines_.rbegin(); line != lines_.rend(); ++line) {
        const uint64_t root = line->place_of(root_host_);
        const bool adds = has && line->own == root;
        if (adds) {
            line->others([&](uint64_t i) {
                receive(line->host(i), in(line->other(i) * shares.each), bytes);
            });
        } else if (has) {
            send(line->host(root), out(0), bytes);
        }
        on_exchanged();
        if (adds) {
            const bool last = &*line == &lines_.front();
            line_sum(last ? own(shares.at(local_)) : out(0), out(0), *line, shares.each, bytes,
                     last);
        }
        has = adds;
    }
    stages_.back().tell = HostsStage::Tell::reduced;
    shares_read(shares, at_root());
}

// The column in which the root is, then row by row.
void Stages::broadcast() {
    const Ranges shares(width_, locals_);
    messages_are(shares.each);
    const uint64_t bytes = shares.bytes(local_);
    const bool at_home = host_ == root_host_;
    HostsStage& first = lay();
    if (at_root()) {
        hosts_move_add(first.moves, own(0), input(0), width_);
    }
    on_arrived();
    if (at_home) {
        hosts_move_add(stages_.back().moves, out(0), slot(root_local_, shares.at(local_)), bytes);
    }
    for (const HostsLine& line : lines_) {
        const uint64_t root = line.place_of(root_host_);
        // Lines of which one host has it by now.
        if (line.base % line.stride == root_host_ % line.stride) {
            if (line.own == root) {
                line.others([&](uint64_t i) { send(line.host(i), out(0), bytes); });
            } else {
                receive(line.host(root), out(0), bytes);
            }
        }
        on_exchanged();
    }
    if (!at_home) {
        hosts_move_add(stages_.back().moves, own(shares.at(local_)), out(0), bytes);
    }
    stages_.back().tell = HostsStage::Tell::reduced;
    shares_read(shares, !at_home);
    if (at_home) {
        hosts_move_add(stages_.back().moves, output(0), slot(root_local_, 0), width_);
    }
}

void Stages::all_gather() {
    messages_are(width_);
    hosts_move_add(stage().moves, out(host_ * width_), input(0), width_);
    for (auto line = lines_.rbegin(); line != lines_.rend(); ++line) {
        const uint64_t bytes = line->stride * width_;
        line->others([&](uint64_t i) {
            send(line->host(i), out(line->blocks(line->own) * width_), bytes);
            receive(line->host(i), out(line->blocks(i) * width_), bytes);
        });
        on_exchanged();
    }
    HostsStage& lays = stages_.back();
    lays.left = true;
    hosts_move_add(lays.moves, own(0), out(0), hosts_ * width_);
    lays.tell = HostsStage::Tell::arrived;
    HostsStage& reads = on_arrived();
    for (uint64_t local = 0; local < locals_; local++) {
        for (uint64_t host = 0; host < hosts_; host++) {
            hosts_move_add(reads.moves, output(static_cast<uint64_t>(rank(host, local))),
                           slot(local, host * width_), width_);
        }
    }
    reads.tell = HostsStage::Tell::left;
}

// What is for ranks of one place lies together.
void Stages::reduce_scatter() {
    messages_are(width_);
    HostsStage& first = lay();
    for (uint64_t local = 0; local < locals_; local++) {
        for (uint64_t host = 0; host < hosts_; host++) {
            hosts_move_add(first.moves, own((local * hosts_ + host) * width_),
                           input(static_cast<uint64_t>(rank(host, local))), width_);
        }
    }
    HostsStage& sums = on_arrived();
    boards_sum(sums, out(0), local_ * hosts_ * width_, hosts_ * width_);
    sums.tell = HostsStage::Tell::left;
    for (const HostsLine& line : lines_) {
        const uint64_t bytes = line.stride * width_;
        line.others([&](uint64_t i) {
            send(line.host(i), out(line.blocks(i) * width_), bytes);
            receive(line.host(i), in(line.other(i) * bytes), bytes);
        });
        on_exchanged();
        const HostsPlace ours = out(line.blocks(line.own) * width_);
        const bool last = &line == &lines_.back();
        line_sum(last ? output(0) : ours, ours, line, bytes, bytes, last);
    }
}

bool Stages::flows(uint64_t from_host, uint64_t from_local, uint64_t to_host,
                   uint64_t to_local) const {
    const auto is_root = [&](uint64_t host, uint64_t local) {
        return host == root_host_ && local == root_local_;
    };
    return call_.coll == Coll::all_to_all ||
           (call_.coll == Coll::gather ? is_root(to_host, to_local)
                                       : is_root(from_host, from_local));
}

void Stages::pairwise_out(HostsStage& first) {
    const auto block = [&](uint64_t host, uint64_t local) {
        return input(call_.coll == Coll::gather ? 0 : static_cast<uint64_t>(rank(host, local)));
    };
    for (uint64_t local = 0; local < locals_; local++) {
        if (flows(host_, local_, host_, local)) {
            hosts_move_add(first.moves, own(local * width_), block(host_, local), width_);
        }
    }
    other_hosts([&](uint64_t host) {
        for (uint64_t local = 0; local < locals_; local++) {
            const uint64_t at = (other(host) * locals_ + local) * width_;
            if (flows(host_, local_, host, local)) {
                hosts_move_add(first.moves, out(at), block(host, local), width_);
                send(first, host, local, out(at), width_);
            }
            if (flows(host, local, host_, local_)) {
                receive(first, host, local, in(at), width_);
            }
        }
    });
}

void Stages::pairwise() {
    messages_are(width_);
    const auto block = [&](uint64_t host, uint64_t local) {
        return output(call_.coll == Coll::scatter ? 0 : static_cast<uint64_t>(rank(host, local)));
    };
    pairwise_out(lay());
    HostsStage& reads = on_arrived();
    for (uint64_t local = 0; local < locals_; local++) {
        if (flows(host_, local, host_, local_)) {
            hosts_move_add(reads.moves, block(host_, local), slot(local, local_ * width_), width_);
        }
    }
    reads.tell = HostsStage::Tell::left;
    HostsStage& rest = on_exchanged();
    other_hosts([&](uint64_t host) {
        for (uint64_t local = 0; local < locals_; local++) {
            if (flows(host, local, host_, local_)) {
                hosts_move_add(rest.moves, block(host, local),
                               in((other(host) * locals_ + local) * width_), width_);
            }
        }
    });
}

bool may_scale(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce || coll == Coll::reduce_scatter;
}

}  // namespace

void hosts_move_add(std::vector<HostsMove>& moves, HostsPlace to, HostsPlace from, uint64_t width) {
    if (width == 0) {
        return;
    }
    if (!moves.empty() && moves.back().width == width) {
        HostsMove& last = moves.back();
        const HostsPlace to_row = moved(last.to, last.rows * last.to_pitch),
                         from_row = moved(last.from, last.rows * last.from_pitch);
        if (to == to_row && from == from_row) {
            last.rows++;
            return;
        }
        const bool near = to.where == last.to.where && to.local == last.to.local &&
                          from.where == last.from.where && from.local == last.from.local;
        if (last.rows == 1 && near && to.at > last.to.at && from.at > last.from.at) {
            last.rows = 2;
            last.to_pitch = to.at - last.to.at;
            last.from_pitch = from.at - last.from.at;
            return;
        }
    }
    moves.push_back({to, from, width, 1, width, width});
}

uint64_t hosts_count_max(const Call& call, const HostsShape& shape, const HostsSizes& sizes) {
    const auto hosts = static_cast<uint64_t>(shape.hosts),
               locals = static_cast<uint64_t>(shape.locals);
    uint64_t bytes = sizes.slot_bytes;
    switch (call.coll) {
        case Coll::reduce_scatter:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
            bytes /= hosts * locals;
            break;
        case Coll::all_gather:
            bytes /= hosts;
            break;
        case Coll::reduce: {  // the shares of all others of a line have room beside each other
            const uint64_t others = hosts_grid(hosts, sizes.line_max).front() - 1;
            bytes = std::min(bytes, bytes / others / unit * unit * locals);
            break;
        }
        case Coll::all_reduce:
        case Coll::broadcast:
        case Coll::send_recv:
            break;
    }
    const uint64_t fits = bytes / size_of(call.type);
    return fits > unit ? fits / unit * unit : fits;
}

std::vector<HostsStage> hosts_stages(const Call& call, const HostsShape& shape,
                                     const HostsSizes& sizes, uint64_t done, uint64_t count) {
    std::vector<HostsStage> stages = Stages(call, shape, sizes, done, count).make();
    if (may_scale(call.coll)) {
        stages.front().scaled = true;
    }
    return stages;
}

}  // namespace weft
