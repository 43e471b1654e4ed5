// The choice: which algorithm, how many lanes and how large a tile, from the request alone.
#include "src/plan/planner.h"

#include <algorithm>
#include <vector>

#include "src/base/log.h"
#include "src/plan/algo_list.h"

namespace weft::plan {

namespace {

constexpr uint64_t alignment_bytes = 16;
constexpr uint64_t count_max = 1ull << 48;

// Beyond this many ranks one-shot all_reduce receives more than its single step saves.
constexpr int32_t one_shot_ranks_max = 32;

// Below the smallest tile, posting, granting and waking cost more than moving the bytes. On one
// host the largest tile still fits a core's L2 between the copy that brings it and the reduce that
// reads it; over a network it covers a grant's round trip (1 MiB at 12.5 GB/s: 80 us).
constexpr uint64_t tile_bytes_min = 128 << 10;
constexpr uint64_t tile_bytes_max_host = 256 << 10;
constexpr uint64_t tile_bytes_max_net = 1 << 20;
// Passes a lane should make at least, so that the steps of a tile overlap those of its neighbours.
constexpr uint64_t tiles_wanted = 8;
// One lane moves a Send's tiles one after the other, so the grant between them must not show: 20 us
// against 1.3 ms at 12.5 GB/s.
constexpr uint64_t tile_bytes_pair = 16 << 20;
constexpr uint64_t tiles_max = 1u << 30;

// Eager slots a link has per lane (LinkConfig); a plan that needs more is granted at any size.
constexpr uint32_t link_slots = 8;

// One lane computes while the other's bytes travel. Four when a lane's chunk stays this large.
constexpr uint32_t lanes_large = 2;
constexpr uint32_t lanes_huge = 4;
constexpr uint64_t chunk_bytes_huge = 4 << 20;

bool direct_only(Coll coll) {
    return coll == Coll::all_to_all || coll == Coll::gather || coll == Coll::scatter;
}

bool can_load(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce_scatter || coll == Coll::all_gather ||
           coll == Coll::broadcast;
}

Way by(Algo algo, const char* why) {
    return {algo, false, Algo::ring, 0, 0, why};
}

// What would be chosen, best first; the last is a plan in any case.
std::vector<Way> ways(const Request& request, const Limits& limits) {
    const bool small = limits.is_small(request.coll, request.count * request.elem_bytes);
    const bool rooted = request.coll == Coll::broadcast || request.coll == Coll::reduce;
    const Way direct = by(Algo::direct, "a block fits an eager slot");
    std::vector<Way> list;
    if (request.rank_count == 1) {
        return {by(Algo::direct, "a single rank")};
    }
    if (!small && has_hosts(request) && (*request.cluster)->ranks_min() > 1) {
        list.push_back(by(Algo::hier, "large, over several hosts of several ranks"));
    }
    if (direct_only(request.coll)) {
        list.push_back(by(Algo::direct, "the one flat algorithm of this collective"));
        return list;
    }
    if (small && request.coll == Coll::all_reduce && request.rank_count > one_shot_ranks_max) {
        list.push_back(by(Algo::ring, "small, but too many ranks for one shot"));
    } else if (small) {
        list.push_back(direct);
    } else if (request.peer_load && can_load(request.coll)) {
        list.push_back(
            {Algo::direct, true, Algo::ring, 0, 0, "ranks can load each other's memory"});
    } else if (rooted && request.rank_count == 2) {
        list.push_back(by(Algo::direct, "two ranks, one hop"));
    }
    list.push_back(by(Algo::ring, "large, the ring moves the fewest bytes"));
    for (const Algo algo : {Algo::direct, Algo::halving, Algo::tree, Algo::mesh, Algo::chain}) {
        if (has_plan(request.coll, algo)) {
            list.push_back(by(algo, "the setting leaves nothing else"));
        }
    }
    return list;
}

// A setting that bars what would be chosen gets the next best.
Way way_choose(const Request& request, const Limits& limits, const AlgoWish& wish) {
    const bool small = limits.is_small(request.coll, request.count * request.elem_bytes);
    const std::vector<Way> list = ways(request, limits);
    if (direct_only(request.coll) && !has_hosts(request)) {
        return list.back();
    }
    for (const AlgoName& name : wish.algos) {
        if (name.algo == Algo::hier && !has_hosts(request)) {
            continue;
        }
        const bool loads = request.peer_load && !small && can_load(request.coll);
        return {name.algo,  loads && name.algo == Algo::direct,
                name.inter, 0,
                0,          "the algorithm setting"};
    }
    for (const Way& way : list) {
        if (!wish.bars(way.algo)) {
            return way;
        }
    }
    return list.front();
}

// chunk_extent's cuts one after the other, without its divisions: a plan of thousands of ranks has
// tens of thousands of chunks.
uint64_t largest_chunk(const Request& request, uint32_t chunks) {
    const uint64_t whole = request.count / chunks, rest = request.count % chunks;
    uint64_t most = 0, elements = 0, parts = 0, begin = 0;
    for (uint32_t c = 1; c <= chunks; c++) {
        elements += whole;
        parts += rest;
        if (parts >= chunks) {
            parts -= chunks;
            elements++;
        }
        const uint64_t bytes = elements * request.elem_bytes;
        const uint64_t end = c == chunks ? bytes : bytes / alignment_bytes * alignment_bytes;
        most = std::max(most, end - begin);
        begin = end;
    }
    return most;
}

uint64_t round_up(uint64_t bytes) {
    return (bytes + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
}

// Both are set: the tile and the number of passes that cover the largest chunk.
void tile_set(Choice& choice, uint64_t largest, uint64_t tile) {
    tile = std::max({tile, largest / tiles_max, uint64_t{1}});
    choice.tile_bytes = round_up(std::clamp<uint64_t>(tile, 1, std::max<uint64_t>(largest, 1)));
    choice.tiles = static_cast<uint32_t>(
        std::max<uint64_t>(1, (largest + choice.tile_bytes - 1) / choice.tile_bytes));
}

uint32_t strands_choose(const Request& request, const Shape& shape, uint64_t position_bytes) {
    if (request.rank_count == 1 || position_bytes < lanes_large * tile_bytes_min) {
        return 1;
    }
    const uint32_t wanted =
        position_bytes >= lanes_huge * chunk_bytes_huge ? lanes_huge : lanes_large;
    return std::min(wanted, lanes_max / lanes_per_strand(shape));
}

uint64_t tile_choose(const Request& request, uint64_t chunk_bytes) {
    const uint64_t most = request.one_host ? tile_bytes_max_host : tile_bytes_max_net;
    return std::clamp(chunk_bytes / tiles_wanted, tile_bytes_min, most);
}

std::string reason_of(const Choice& choice, const Way& way) {
    const std::string inter = way.algo == Algo::hier ? std::string(":") + to_string(way.inter) : "";
    return format("%s%s because: %s; %u lanes, %u tiles of %llu bytes, %s",
                  (to_string(way.algo) + inter).c_str(), way.loads ? " by loads" : "",
                  way.why.c_str(), choice.lanes * lanes_per_strand(choice.shape), choice.tiles,
                  static_cast<unsigned long long>(choice.tile_bytes),
                  choice.eager ? "eager"
                  : way.loads  ? "exposed"
                               : "granted");
}

}  // namespace

Result<void> request_check(const Request& request) {
    const auto bad = [](const std::string& what) {
        return make_error(Code::invalid_argument, Scope::call, what);
    };
    if (request.rank_count < 1 || request.root < 0 || request.root >= request.rank_count) {
        return bad(format("root %d of %d ranks: no such rank", request.root, request.rank_count));
    }
    const uint32_t elem = request.elem_bytes;
    if (elem == 0 || elem > alignment_bytes || (elem & (elem - 1)) != 0) {
        return bad(format("elements of %u bytes: expected 1, 2, 4, 8 or 16", elem));
    }
    if (request.count > count_max) {
        return bad(format("count %llu: at most 2^48 elements",
                          static_cast<unsigned long long>(request.count)));
    }
    if (request.coll == Coll::send_recv) {
        return bad("a Send or Recv has a pair plan, it is not chosen as a collective");
    }
    return {};
}

bool has_hosts(const Request& request) {
    return request.cluster != nullptr && *request.cluster && (*request.cluster)->host_count() > 1;
}

bool moves_eagerly(const Shape& shape, uint64_t chunk_bytes, const Limits& limits) {
    return limits.is_small(shape.coll, chunk_bytes) && !shape.loads &&
           shape.slots_min <= link_slots;
}

const char* to_string(Algo algo) {
    switch (algo) {
        case Algo::direct:
            return "direct";
        case Algo::ring:
            return "ring";
        case Algo::halving:
            return "halving";
        case Algo::tree:
            return "tree";
        case Algo::mesh:
            return "mesh";
        case Algo::chain:
            return "chain";
        case Algo::binomial:
            return "binomial";
        case Algo::hier:
            return "hier";
    }
    return "?";
}

// floor(c*E/C) without the product: c * (E % C) < C^2 fits, E may be anything.
Extent chunk_extent(uint64_t count, uint32_t elem_bytes, uint32_t chunks, uint32_t chunk) {
    const auto cut = [&](uint64_t c) {
        if (c >= chunks) {
            return count * elem_bytes;
        }
        const uint64_t elements = c * (count / chunks) + c * (count % chunks) / chunks;
        return elements * elem_bytes / alignment_bytes * alignment_bytes;
    };
    return {cut(chunk), cut(static_cast<uint64_t>(chunk) + 1)};
}

Choice choice_of(const Request& request, const Limits& limits, const Way& way) {
    Choice choice;
    choice.algo = way.algo;
    choice.shape.coll = request.coll;
    choice.shape.algo = way.algo;
    choice.shape.rank_count = request.rank_count;
    choice.shape.root = request.root;
    choice.shape.loads = way.loads;
    if (way.algo == Algo::hier) {
        choice.shape.inter = way.inter;
        choice.shape.cluster = *request.cluster;
    }
    shape_fit(choice.shape, 1);

    const uint64_t position_bytes = largest_chunk(request, choice.shape.chunks);
    choice.eager = moves_eagerly(choice.shape, position_bytes, limits);
    choice.lanes = limits.strands > 0 ? limits.strands
                   : choice.eager     ? 1
                   : way.strands > 0  ? way.strands
                                      : strands_choose(request, choice.shape, position_bytes);
    shape_fit(choice.shape, choice.lanes);
    const uint64_t largest = largest_chunk(request, choice.shape.chunks);
    const uint64_t wanted = limits.tile_bytes > 0 ? limits.tile_bytes : way.tile_bytes;
    if (choice.eager) {
        tile_set(choice, largest, largest);
    } else {
        tile_set(choice, largest, wanted > 0 ? wanted : tile_choose(request, largest));
    }
    choice.reason = reason_of(choice, way);
    return choice;
}

Choice choice_of_shape(const Request& request, const Limits& limits, const Shape& shape) {
    Choice choice;
    choice.algo = shape.algo;
    choice.shape = shape;
    const uint64_t largest = largest_chunk(request, shape.chunks);
    choice.eager = moves_eagerly(shape, largest, limits);
    tile_set(choice, largest,
             choice.eager            ? largest
             : limits.tile_bytes > 0 ? limits.tile_bytes
                                     : tile_choose(request, largest));
    return choice;
}

Result<Choice> choose(const Request& request, const Limits& limits) {
    TRY(request_check(request));
    const AlgoWish wish = TRY(algo_list_parse(limits.algo, request.coll));
    Way way = way_choose(request, limits, wish);
    if (!wish.unmet.empty() && !direct_only(request.coll)) {
        way.why = '"' + wish.unmet + "\" names nothing Weft has; " + way.why;
    }
    return choice_of(request, limits, way);
}

Planner planner_by_rule(Limits limits, int32_t rank) {
    return [limits = std::move(limits), rank](const Request& request) -> Result<Planned> {
        Planned planned;
        planned.choice = TRY(choose(request, limits));
        planned.part = TRY(generate(planned.choice.shape, planned.choice.lanes, rank));
        return planned;
    };
}

Result<Choice> choose_pair(uint64_t bytes, const Limits& limits) {
    Choice choice;
    choice.shape.coll = Coll::send_recv;
    choice.shape.rank_count = 2;
    choice.eager = limits.is_small(Coll::send_recv, bytes);
    tile_set(choice, bytes,
             choice.eager            ? bytes
             : limits.tile_bytes > 0 ? limits.tile_bytes
                                     : tile_bytes_pair);
    choice.reason = format("a pair, %s", choice.eager ? "eager" : "granted");
    return choice;
}

}  // namespace weft::plan
