// Rooted trees: one way up, adding, and one way down, copying; which tree it is, is a list of
// children and a parent.
//
// up:   1. Grant every child a slot, wait for all of them. 2. One step adds what came and the own
//       part. 3. Put the sum to the parent, from a slot of its own that is released just before it
//       is written again. The top writes its result instead, finished.
// down: grant, wait, put to every child from where it lies; no copy on the way.
// all_reduce runs both, on a lane each, tied tile by tile, so that the next tile climbs while this
// one comes down.
//
// chain: every position has one child. Depth n-1, but each sends B only: large blocks flow through
// it tile by tile at the speed of the wire.
// binomial: position x (counted from the root) has the children x + 2^j below its lowest bit, the
// farthest, which has the most below it, first. Depth log n, the root sends B log n.
// double tree: two binary trees on two strands, half the block each. In one the even positions are
// inner nodes, in the other the odd ones, so nobody sends more than 2B in all. Nodes are numbered
// as a heap, inner ones first: floor(m/2) of m nodes are inner, just the even, or just the odd,
// positions. With a root, the trees span the others and the root stands above both tops.
//
// Bytes each rank sends, a block of B bytes: chain B, double tree at most 2B (4B for all_reduce).
// Reference: Sanders, Speck, Traeff, "Two-tree algorithms for full bandwidth broadcast, reduction
// and scan", Parallel Computing 35(12), 2009.
#include "src/plan/gen.h"

namespace weft::plan {

namespace {

int32_t wrap(int32_t value, int32_t size) {
    return (value % size + size) % size;
}

// Number y of m in the heap of the even (odd: 1) tree, and back.
int32_t heap_index(int32_t y, int32_t m, bool odd) {
    const int32_t half = m / 2;
    if (odd) {
        return y % 2 == 1 ? y / 2 : half + y / 2;
    }
    return y % 2 == 1 ? half + y / 2 : (y / 2 < half ? y / 2 : m - 1);
}

int32_t heap_member(int32_t i, int32_t m, bool odd) {
    const int32_t half = m / 2;
    if (odd) {
        return i < half ? 2 * i + 1 : 2 * (i - half);
    }
    return i < half ? 2 * i : std::min(2 * (i - half) + 1, m - 1);
}

}  // namespace

TreeNode chain_node(const Stage& stage) {
    // A sum comes round to the root, a broadcast goes round from it.
    const int32_t away = stage.coll == Coll::reduce ? -1 : 1;
    TreeNode node;
    const int32_t x = wrap(away * (stage.self - stage.root), stage.size);
    if (x > 0) {
        node.parent = wrap(stage.self - away, stage.size);
    }
    if (x + 1 < stage.size) {
        node.children.push_back(wrap(stage.self + away, stage.size));
    }
    return node;
}

TreeNode binomial_node(const Stage& stage) {
    TreeNode node;
    const int32_t x = wrap(stage.self - stage.root, stage.size);
    const auto position = [&](int32_t of) { return wrap(of + stage.root, stage.size); };
    int32_t below = 1;  // the lowest bit of x; for the root beyond all
    while (below < stage.size && (x & below) == 0) {
        below <<= 1;
    }
    if (x > 0) {
        node.parent = position(x & (x - 1));
    }
    for (int32_t bit = below >> 1; bit > 0; bit >>= 1) {
        if (x + bit < stage.size) {
            node.children.push_back(position(x + bit));
        }
    }
    return node;
}

TreeNode double_node(const Stage& stage, bool rooted) {
    const bool odd = stage.strand % 2 == 1;
    const int32_t above = rooted ? 1 : 0;  // the root, over the heap of the others
    const int32_t m = stage.size - above;
    const int32_t x = rooted ? wrap(stage.self - stage.root, stage.size) : stage.self;
    const auto position = [&](int32_t i) {
        const int32_t y = heap_member(i, m, odd) + above;
        return rooted ? wrap(y + stage.root, stage.size) : y;
    };
    TreeNode node;
    if (rooted && x == 0) {
        if (m > 0) {
            node.children.push_back(position(0));
        }
        return node;
    }
    const int32_t i = heap_index(x - above, m, odd);
    if (i > 0) {
        node.parent = position((i - 1) / 2);
    } else if (rooted) {
        node.parent = stage.root;
    }
    for (int32_t child = 2 * i + 1; child <= 2 * i + 2 && child < m; child++) {
        node.children.push_back(position(child));
    }
    return node;
}

void tree_up(Part& part, const TreeNode& node) {
    const auto children = static_cast<int32_t>(node.children.size());
    const Part::Place sum = Part::slot(children);
    part.each([&] {
        for (int32_t i = 0; i < children; i++) {
            part.grant(node.children[static_cast<size_t>(i)], Part::slot(i), 0);
        }
    });
    part.each([&] {
        part.fetch(0);
        if (children == 0 && node.parent >= 0) {
            part.put(node.parent, part.first(0, sum), 0);
            part.used();
            if (part.stage().coll == Coll::all_reduce) {
                part.release(Part::input(), 0);  // in place, the way down overwrites it
            }
            part.passed(0);
            return;
        }
        std::vector<Part::Place> sources;
        for (int32_t i = 0; i < children; i++) {
            part.wait(node.children[static_cast<size_t>(i)], Part::slot(i), 0);
            sources.push_back(Part::slot(i));
        }
        sources.push_back(Part::own(0));
        if (node.parent >= 0) {
            part.release(sum, 0);
            part.reduce(sum, sources, 0, false);
        } else {
            if (part.stage().output.space == Space::scratch) {
                part.release(Part::output(), 0);
            }
            part.reduce(Part::output(), sources, 0, true);
        }
        for (int32_t i = 0; i < children; i++) {
            part.release(Part::slot(i), 0);
        }
        part.used();
        if (node.parent >= 0) {
            part.put(node.parent, sum, 0);
        }
        part.passed(0);
    });
}

void tree_down(Part& part, const TreeNode& node) {
    const bool from_output = node.parent >= 0 || part.stage().coll == Coll::all_reduce;
    const Part::Place source = from_output ? Part::output() : Part::input();
    part.each([&] {
        part.fetch(0);
        if (node.parent >= 0) {
            part.grant(node.parent, Part::output(), 0);
        }
    });
    part.each([&] {
        if (node.parent >= 0) {
            part.wait(node.parent, Part::output(), 0);
        }
        for (const int32_t child : node.children) {
            part.put(child, source, 0);
        }
        if (node.parent < 0 && !from_output) {
            part.copy(Part::output(), Part::input(), 0);
        }
    });
}

void tree_both(Writer& up, Writer& down, const Stage& stage, const TreeNode& node) {
    Marks passed(1, stage.ports);
    Stage climbing = stage;
    climbing.passed = &passed;
    Part first(up, climbing);
    tree_up(first, node);
    Stage falling = stage;
    falling.ready = &passed;
    Part second(down, falling);
    tree_down(second, node);
}

}  // namespace weft::plan
