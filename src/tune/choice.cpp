#include "src/tune/choice.h"

#include <algorithm>
#include <vector>

#include "src/base/log.h"
#include "src/plan/algo_list.h"

namespace weft::tune {

namespace {

using plan::Algo;
using plan::Request;
using plan::Way;

constexpr Algo flat_algos[] = {Algo::direct, Algo::ring,  Algo::halving, Algo::mesh,
                               Algo::tree,   Algo::chain, Algo::binomial};
constexpr Algo inters[] = {Algo::ring, Algo::halving, Algo::mesh, Algo::tree};
// A whole chunk where it is small enough, else from the largest down: what costs the same takes
// fewer passes.
constexpr uint64_t tiles[] = {1 << 20, 512 << 10, 256 << 10, 128 << 10};
constexpr uint32_t strands_most = plan::lanes_max;
// A price is an estimate: what is not cheaper by this is not worth more lanes or passes.
constexpr double worth = 0.98;

// Steps of a rank's part beyond which another strand is not looked at: building the part would take
// longer than 2 ms (50 ns a step, with memory that is touched first). And those a lane can name.
constexpr double steps_worth = 32'000;
constexpr double steps_most = 60'000;

// Chunks are cut on 16-byte boundaries, so a small block fills few of them.
constexpr double chunk_least = 16;

bool is_pairs(Coll coll) {
    return coll == Coll::all_to_all || coll == Coll::gather || coll == Coll::scatter;
}

double block_bytes(const Request& request) {
    return static_cast<double>(request.count) * request.elem_bytes;
}

plan::Shape shape_of(const Request& request, const Way& way) {
    plan::Shape shape;
    shape.coll = request.coll;
    shape.algo = way.algo;
    shape.inter = way.inter;
    shape.rank_count = request.rank_count;
    shape.root = request.root;
    shape.loads = way.loads;
    if (way.algo == Algo::hier) {
        shape.cluster = *request.cluster;
    }
    return shape;
}

// Shape is the way's, fitted to one strand; its chunks grow with the strands.
Draft draft_of(const Request& request, const plan::Limits& limits, const plan::Shape& shape,
               uint32_t strands, uint64_t tile) {
    Draft draft;
    draft.coll = shape.coll;
    draft.algo = shape.algo;
    draft.inter = shape.inter;
    draft.loads = shape.loads;
    const double block = block_bytes(request);
    const double whole = std::max(block / shape.chunks, std::min(block, chunk_least));
    draft.eager = plan::moves_eagerly(shape, static_cast<uint64_t>(whole), limits);
    draft.strands = draft.eager ? 1 : strands;
    const double chunks = shape.chunks * draft.strands;
    draft.full = std::min(1.0, std::max(1.0, block / chunk_least) / chunks);
    const double chunk = block / chunks / draft.full;
    const double pass = draft.eager ? chunk : std::min(chunk, static_cast<double>(tile));
    const auto passes = static_cast<uint64_t>(pass > 0 ? chunk / pass : 1);
    draft.tiles = static_cast<double>(std::max<uint64_t>(passes, 1));
    draft.tiles += draft.tiles * pass < chunk ? 1 : 0;
    draft.tile_bytes = chunk / draft.tiles;
    return draft;
}

// Steps of a rank's part of one strand, roughly: what building it costs, and how many a lane can
// name. Trees and rooted plans have few, whatever the number of ranks.
double steps_of(const Scene& scene, const plan::Shape& shape) {
    const bool rooted = shape.coll == Coll::broadcast || shape.coll == Coll::reduce;
    const Algo algo = shape.algo == Algo::hier ? plan::Algo::ring : shape.algo;
    if (shape.algo == Algo::tree || algo == Algo::chain || algo == Algo::binomial ||
        (rooted && algo != Algo::direct)) {
        return 0;
    }
    if (shape.algo != Algo::hier) {
        return scene.ranks * (shape.coll == Coll::all_reduce ? 9 : 4);
    }
    if (shape.coll == Coll::all_reduce) {
        return shape.inter == Algo::tree ? 0 : scene.ranks * 8.5;
    }
    return scene.ranks * (shape.coll == Coll::all_to_all   ? 6.5
                          : shape.coll == Coll::all_gather ? 3
                                                           : 4.3);
}

struct Priced {
    Way way;
    double ns = 0;
};

// The best strands and tile of one algorithm.
Priced priced(const Scene& scene, const Request& request, const plan::Limits& limits, Way way) {
    plan::Shape shape = shape_of(request, way);
    plan::shape_fit(shape, 1);
    const uint32_t lanes = plan::lanes_per_strand(shape);
    Priced best{std::move(way), 0};
    const auto consider = [&](uint32_t strands, uint64_t tile) {
        const Draft draft = draft_of(request, limits, shape, strands, tile);
        const double ns = price_ns(scene, draft);
        if (best.ns == 0 || ns < worth * best.ns) {
            best.ns = ns;
            best.way.strands = strands;
            best.way.tile_bytes = tile;
        }
        return draft;
    };
    const double steps = steps_of(scene, shape);
    const uint32_t first = std::max(1u, limits.strands);
    const uint32_t most = limits.strands > 0 ? limits.strands : std::max(1u, strands_most / lanes);
    for (uint32_t strands = first; strands <= most; strands *= 2) {
        if (strands > first && strands * steps > steps_worth) {
            break;
        }
        if (limits.tile_bytes > 0) {
            consider(strands, limits.tile_bytes);
            continue;
        }
        for (const uint64_t tile : tiles) {
            const Draft draft = consider(strands, tile);
            if (draft.tiles > 1 || draft.tile_bytes > static_cast<double>(tile) / 2) {
                continue;
            }
            break;  // smaller tiles are the same one tile until they cut it
        }
    }
    return best;
}

Way way_of(Algo algo, Algo inter) {
    return {algo, false, inter, 0, 0, ""};
}

// What the call could take, and the setting allows.
std::vector<Way> ways_of(const Request& request, const plan::AlgoWish& wish) {
    const bool by_hosts = (*request.cluster)->rails() > 1;
    for (const plan::AlgoName& name : wish.algos) {
        return {way_of(name.algo, name.inter)};  // the first; hosts there are
    }
    std::vector<Way> ways;
    for (const Algo algo : flat_algos) {
        if (plan::has_plan(request.coll, algo) && !wish.bars(algo)) {
            ways.push_back(way_of(algo, Algo::ring));
        }
    }
    for (const Algo inter : inters) {
        const bool same = is_pairs(request.coll) && inter != Algo::ring;
        if (by_hosts && !same && !wish.bars(Algo::hier)) {
            ways.push_back(way_of(Algo::hier, inter));
        }
    }
    return ways;
}

std::string name_of(const Way& way) {
    return std::string(to_string(way.algo)) +
           (way.algo == Algo::hier ? std::string(":") + to_string(way.inter) : "");
}

// "it would cost 812 us; ring 1.4 ms, direct 2.1 ms (costs from ...)"
std::string why(const std::vector<Priced>& all, const Priced& best, const Table& table,
                const plan::AlgoWish& wish) {
    std::string text;
    if (!wish.unmet.empty()) {
        text = '"' + wish.unmet + "\" names nothing Weft has; ";
    }
    text += wish.algos.empty() ? "it would cost " : "the algorithm setting; it would cost ";
    text += time_text(best.ns);
    std::vector<const Priced*> others;
    for (const Priced& one : all) {
        if (&one != &best) {
            others.push_back(&one);
        }
    }
    std::stable_sort(others.begin(), others.end(),
                     [](const Priced* a, const Priced* b) { return a->ns < b->ns; });
    const char* before = "; ";
    for (const Priced* other : others) {
        text += before + name_of(other->way) + ' ' + time_text(other->ns);
        before = ", ";
    }
    return text + " (costs from " + table.source + ')';
}

}  // namespace

std::string time_text(double ns) {
    constexpr const char* units[] = {"ns", "us", "ms", "s"};
    size_t unit = 0;
    while (ns >= 999.5 && unit < 3) {
        ns /= 1000;
        unit++;
    }
    return format(ns < 9.95 && unit > 0 ? "%.1f %s" : "%.0f %s", ns, units[unit]);
}

double price_of(const Scene& scene, const plan::Request& request, const plan::Choice& choice) {
    plan::Shape shape = choice.shape;
    plan::shape_fit(shape, 1);
    plan::Limits limits;
    limits.eager_bytes = choice.eager ? UINT64_MAX : 0;
    return price_ns(scene, draft_of(request, limits, shape, choice.lanes, choice.tile_bytes));
}

Result<plan::Choice> choose(const plan::Request& request, const plan::Limits& limits,
                            const Table& table) {
    if (!plan::has_hosts(request) || request.rank_count < 2) {
        return plan::choose(request, limits);
    }
    TRY(plan::request_check(request));
    const plan::AlgoWish wish = TRY(plan::algo_list_parse(limits.algo, request.coll));
    const Scene scene = scene_of(table, request.cluster->at.get(), request.rank_count);
    std::vector<Priced> all;
    for (Way& way : ways_of(request, wish)) {
        if (wish.algos.empty() && steps_of(scene, shape_of(request, way)) > steps_most) {
            continue;
        }
        all.push_back(priced(scene, request, limits, std::move(way)));
    }
    if (all.empty()) {
        return plan::choose(request, limits);  // the setting bars everything; so does it say
    }
    const Priced* best = &all.front();
    for (const Priced& one : all) {
        best = one.ns < worth * best->ns ? &one : best;
    }
    Way way = best->way;
    way.why = why(all, *best, table, wish);
    return plan::choice_of(request, limits, way);
}

}  // namespace weft::tune
