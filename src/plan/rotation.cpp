// Reads the parts of host 0, learns from host 1 how chunks are renamed, then compares every part.
#include "src/plan/rotation.h"

#include <algorithm>
#include <utility>

#include "src/base/log.h"

namespace weft::plan {

namespace {

constexpr uint32_t unknown = UINT32_MAX;
constexpr int32_t told_times = 16;  // how often progress is told

bool has_root(Coll coll) {
    return coll == Coll::broadcast || coll == Coll::reduce || coll == Coll::gather ||
           coll == Coll::scatter || coll == Coll::send_recv;
}

// Which of a collective's buffers have a block per rank: the definition of the collective.
bool many_blocks(const Shape& shape, Space space) {
    return space == Space::input ? shape.input_blocks > 1 : shape.output_blocks > 1;
}

// Pairs of one renaming, one to one as far as they are known.
class Names {
  public:
    bool learn(uint32_t from, uint32_t to) {
        return one_way(to_, from, to) && one_way(from_, to, from);
    }
    bool known(uint32_t from, uint32_t to) const { return from < to_.size() && to_[from] == to; }
    void clear() {
        to_.clear();
        from_.clear();
    }
    const std::vector<uint32_t>& to() const { return to_; }

  private:
    static bool one_way(std::vector<uint32_t>& names, uint32_t at, uint32_t value) {
        if (at >= names.size()) {
            names.resize(static_cast<size_t>(at) + 1, unknown);
        }
        if (names[at] == unknown) {
            names[at] = value;
        }
        return names[at] == value;
    }
    std::vector<uint32_t> to_, from_;
};

// Compares parts of host 0 with their images `turn` hosts further.
class Images {
  public:
    Images(const Shape& shape, const Rotation& rotation, int32_t turn)
        : shape_(shape), rotation_(rotation), turn_(turn) {}
    bool same(const RankPlan& first, const RankPlan& other);
    bool reordered() const { return reordered_; }

  private:
    bool same(const Step& a, const Step& b);
    bool same_dst(const Step& a, const Step& b);
    bool same_own(const Operand& a, const Operand& b);
    bool same_source(const Operand& a, const Operand& b) const;
    bool same_sources(const Step& a, const Step& b);
    bool same_memory(const Operand& a, const Operand& b) const;
    bool same_peer(int32_t a, int32_t b) const {
        return (a < 0 || a >= shape_.rank_count) ? a == b : rotation_.rank(a, turn_) == b;
    }

    const Shape& shape_;
    const Rotation& rotation_;
    int32_t turn_;
    Names slots_;  // of the lane
    uint32_t slot_count_ = 0;
    bool reordered_ = false;
};

bool Images::same(const RankPlan& first, const RankPlan& other) {
    if (!same_peer(first.rank, other.rank) || first.lanes.size() != other.lanes.size()) {
        return false;
    }
    for (size_t lane = 0; lane < first.lanes.size(); lane++) {
        const Lane& a = first.lanes[lane];
        const Lane& b = other.lanes[lane];
        slots_.clear();
        slot_count_ = a.scratch_slots;
        if (a.scratch_slots != b.scratch_slots || a.scratch_slots > a.steps.size() ||
            !std::equal(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(),
                        [&](const Step& x, const Step& y) { return same(x, y); })) {
            return false;
        }
    }
    return true;
}

bool Images::same(const Step& a, const Step& b) {
    return a.kind == b.kind && a.finish == b.finish && a.after == b.after &&
           same_peer(a.peer, b.peer) && a.chunk < shape_.chunks &&
           rotation_.chunk(a.chunk, turn_) == b.chunk && same_sources(a, b) && same_dst(a, b);
}

// In the same order, or in any: each source by one that stands for no other.
bool Images::same_sources(const Step& a, const Step& b) {
    if (std::equal(a.src.begin(), a.src.end(), b.src.begin(), b.src.end(),
                   [&](const Operand& x, const Operand& y) { return same_own(x, y); })) {
        return true;
    }
    if (a.kind != StepKind::reduce || a.src.size() != b.src.size()) {
        return false;
    }
    reordered_ = true;
    // Mostly the same order, begun elsewhere: so each search begins behind the last find.
    const size_t count = b.src.size();
    std::vector<bool> taken(count);
    size_t at = 0;
    for (const Operand& source : a.src) {
        size_t tried = 0;
        while (tried < count && (taken[at] || !same_source(source, b.src[at]))) {
            at = (at + 1) % count;
            tried++;
        }
        if (tried == count) {
            return false;
        }
        taken[at] = true;
    }
    return true;
}

// Of several in any order: a slot by the name it has already.
bool Images::same_source(const Operand& a, const Operand& b) const {
    if (a.space == Space::scratch && a.peer < 0) {
        return b.space == Space::scratch && b.peer < 0 && slots_.known(a.chunk, b.chunk);
    }
    return same_memory(a, b);
}

// A slot may be named here.
bool Images::same_own(const Operand& a, const Operand& b) {
    if (a.space == Space::scratch && a.peer < 0) {
        return b.space == Space::scratch && b.peer < 0 && a.chunk < slot_count_ &&
               b.chunk < slot_count_ && slots_.learn(a.chunk, b.chunk);
    }
    return same_memory(a, b);
}

// An exposed slot keeps its number: peers name it.
bool Images::same_dst(const Step& a, const Step& b) {
    const bool named = a.kind == StepKind::expose && a.dst.space == Space::scratch;
    return (!named || a.dst.chunk == b.dst.chunk) && same_own(a.dst, b.dst);
}

bool Images::same_memory(const Operand& a, const Operand& b) const {
    if (a.space != b.space || !same_peer(a.peer, b.peer)) {
        return false;
    }
    if (a.space == Space::none || a.space == Space::scratch) {
        return a.chunk == b.chunk;
    }
    const bool many = many_blocks(shape_, a.space);
    const uint32_t blocks = many ? static_cast<uint32_t>(shape_.rank_count) : 1;
    return a.chunk / shape_.chunks < blocks && rotation_.id(a.chunk, many, turn_) == b.chunk;
}

uint64_t steps_of(const RankPlan& part) {
    uint64_t steps = 0;
    for (const Lane& lane : part.lanes) {
        steps += lane.steps.size();
    }
    return steps;
}

// One turn renames the chunk of each step of host 0 to that of the same step of host 1. A rank has
// at least one step on each chunk.
Result<bool> chunks_learn(const Shape& shape, const PartOf& part_of,
                          const std::vector<RankPlan>& first, Rotation& rotation) {
    Names names;
    if (shape.chunks > steps_of(first[0])) {
        return false;
    }
    for (size_t local = 0; local < first.size(); local++) {
        const RankPlan other = TRY(part_of(rotation.rank_at(1, static_cast<int32_t>(local))));
        if (other.lanes.size() != first[local].lanes.size()) {
            return false;
        }
        for (size_t lane = 0; lane < other.lanes.size(); lane++) {
            const auto& a = first[local].lanes[lane].steps;
            const auto& b = other.lanes[lane].steps;
            if (!std::equal(a.begin(), a.end(), b.begin(), b.end(),
                            [&](const Step& x, const Step& y) {
                                return x.chunk < shape.chunks && y.chunk < shape.chunks &&
                                       names.learn(x.chunk, y.chunk);
                            })) {
                return false;
            }
        }
    }
    return rotation.rename_chunks(names.to());
}

// Who cannot turn whatever the parts are, and why.
const char* no_rotation(const Shape& shape) {
    if (has_root(shape.coll)) {
        return "one rank is the root";
    }
    if (shape.cluster && shape.cluster->rank_count() != shape.rank_count) {
        return "its hosts have other ranks than it has";
    }
    if (!shape.cluster) {
        return shape.rank_count > 1 ? nullptr : "there is one rank";
    }
    if (shape.cluster->host_count() < 2) {
        return "there is one host";
    }
    const bool equal = shape.cluster->ranks_min() == shape.cluster->rails();
    return equal ? nullptr : "hosts differ in size";
}

}  // namespace

Rotation::Rotation(const Shape& shape) : ranks_per_host_(shape.rank_count), chunks_(shape.chunks) {
}

Rotation Rotation::of_hosts(const Shape& shape) {
    Rotation made(shape);
    if (shape.cluster) {
        made.cluster_ = shape.cluster.at.get();
        made.hosts_ = shape.cluster->host_count();
        made.ranks_per_host_ = shape.cluster->rails();
    } else {
        made.hosts_ = shape.rank_count;
        made.ranks_per_host_ = 1;
    }
    return made;
}

uint32_t Rotation::chunk(uint32_t chunk, int32_t turn) const {
    if (turn == 0 || cycles_.empty()) {
        return chunk;
    }
    const auto& cycle = cycles_[cycle_[chunk]];
    return cycle[(static_cast<size_t>(place_[chunk]) + static_cast<size_t>(turn)) % cycle.size()];
}

uint32_t Rotation::id(uint32_t id, bool many, int32_t turn) const {
    if (turn == 0) {
        return id;
    }
    const uint32_t block = id / chunks_;
    const auto turned =
        many ? static_cast<uint32_t>(rank(static_cast<int32_t>(block), turn)) : block;
    return turned * chunks_ + chunk(id % chunks_, turn);
}

bool Rotation::rename_chunks(const std::vector<uint32_t>& image) {
    cycles_.clear();
    if (image.size() != chunks_) {
        return false;
    }
    cycle_.assign(chunks_, unknown);
    place_.assign(chunks_, 0);
    for (uint32_t chunk = 0; chunk < chunks_; chunk++) {
        if (cycle_[chunk] != unknown) {
            continue;
        }
        std::vector<uint32_t> cycle;
        for (uint32_t at = chunk; cycle.empty() || at != chunk; at = image[at]) {
            if (at >= chunks_ || cycle_[at] != unknown) {
                return false;
            }
            cycle_[at] = static_cast<uint32_t>(cycles_.size());
            place_[at] = static_cast<int32_t>(cycle.size());
            cycle.push_back(at);
        }
        if (static_cast<size_t>(hosts_) % cycle.size() != 0) {
            return false;
        }
        cycles_.push_back(std::move(cycle));
    }
    return true;
}

Result<Turned> rotation_find(const Shape& shape, const PartOf& part_of, const Progress& progress) {
    if (const char* why = no_rotation(shape)) {
        return Turned{false, why, Rotation(shape), {}};
    }
    Turned turned{true, "", Rotation::of_hosts(shape), {}};
    Rotation& rotation = turned.rotation;
    for (int32_t local = 0; local < rotation.ranks_per_host(); local++) {
        turned.first.push_back(TRY(part_of(rotation.rank_at(0, local))));
    }
    if (!TRY(chunks_learn(shape, part_of, turned.first, rotation))) {
        return Turned{false, "host 1 is no image of host 0", Rotation(shape), {}};
    }
    for (int32_t host = 1; host < rotation.hosts(); host++) {
        for (int32_t local = 0; local < rotation.ranks_per_host(); local++) {
            const RankPlan& first = turned.first[static_cast<size_t>(local)];
            const RankPlan other = TRY(part_of(rotation.rank_at(host, local)));
            Images images(shape, rotation, host);
            if (!images.same(first, other)) {
                const std::string why =
                    format("the part of rank %d is no image of that of rank %d",
                           rotation.rank_at(host, local), rotation.rank_at(0, local));
                return Turned{false, why, Rotation(shape), {}};
            }
            rotation.reordered |= images.reordered();
        }
        if (progress && (host + 1) % std::max(1, rotation.hosts() / told_times) == 0) {
            progress(format("%d of %d hosts compared", host + 1, rotation.hosts()));
        }
    }
    turned.why = format("%d hosts are images of each other", rotation.hosts());
    return turned;
}

}  // namespace weft::plan
