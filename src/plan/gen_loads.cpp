// Direct plans for ranks that can load each other's memory: nothing is put, no scratch, every byte
// is read where it lies.
//
// all_gather, broadcast: 1. expose the own block to its readers; 2. copy the own block; 3. wait for
// each source to be exposed, copy from it, signal it; 4. wait for the readers' signals.
//
// reduce_scatter: 1. expose to each rank the block it reduces; 2. wait for all; 3. reduce all
// inputs of the own block in rank order in one step; 4. signal; 5. wait for signals.
//
// all_reduce is two-shot: reduce_scatter over n slices into the own slice of the output, then
// all_gather of those slices from the peers' outputs. Only rank q reads slice q of anybody's
// input, and it has finished when it exposes its output slice, so in place is safe too.
//
// Bytes each rank reads, blocks of B bytes, n ranks: all_gather and reduce_scatter (n-1)B,
// broadcast B, all_reduce 2B(n-1)/n.
#include "src/plan/gen.h"

namespace weft::plan {

namespace {

// Peers one after the other, starting behind this rank, so that not all read rank 0 first.
template <class Each>
void each_peer(const Part& part, Each each) {
    for (int32_t i = 1; i < part.size(); i++) {
        each(part.at(i));
    }
}

// Every rank reduces its own position from all inputs.
void reduce_own(Part& part, Part::Place result) {
    const int32_t own = part.self();
    each_peer(part, [&](int32_t q) { part.expose(q, Part::input(q), q); });
    each_peer(part, [&](int32_t q) { part.wait(q, Part::input(own, q), own); });
    std::vector<Part::Place> sources;
    sources.reserve(static_cast<size_t>(part.size()));
    for (int32_t q = 0; q < part.size(); q++) {
        sources.push_back(Part::input(own, q == own ? -1 : q));
    }
    part.reduce(result, sources, own, true);
    each_peer(part, [&](int32_t q) { part.signal(q, own); });
}

// Every rank copies every peer's own position out of that peer's output.
void gather_outputs(Part& part) {
    const int32_t own = part.self();
    each_peer(part, [&](int32_t q) { part.expose(q, Part::output(own), own); });
    each_peer(part, [&](int32_t q) {
        part.wait(q, Part::output(q, q), q);
        part.copy(Part::output(q), Part::output(q, q), q);
        part.signal(q, q);
    });
}

void await_readers(Part& part, bool of_input) {
    each_peer(part, [&](int32_t q) { part.wait_signal(q, of_input ? q : part.self()); });
}

void broadcast_loads(Part& part) {
    const int32_t root = part.stage().root;
    if (part.is_root()) {
        each_peer(part, [&](int32_t q) { part.expose(q, Part::input(), 0); });
        part.copy(Part::output(), Part::input(), 0);
        each_peer(part, [&](int32_t q) { part.wait_signal(q, 0); });
    } else {
        part.wait(root, Part::input(0, root), 0);
        part.copy(Part::output(), Part::input(0, root), 0);
        part.signal(root, 0);
    }
}

void all_gather_loads(Part& part) {
    each_peer(part, [&](int32_t q) { part.expose(q, Part::input(), 0); });
    part.copy(Part::output(part.self()), Part::input(), 0);
    each_peer(part, [&](int32_t q) {
        part.wait(q, Part::input(0, q), 0);
        part.copy(Part::output(q), Part::input(0, q), 0);
        part.signal(q, 0);
    });
    each_peer(part, [&](int32_t q) { part.wait_signal(q, 0); });
}

}  // namespace

void gen_loads(Part& part) {
    switch (part.stage().coll) {
        case Coll::all_reduce:
            reduce_own(part, Part::output(part.self()));
            gather_outputs(part);
            await_readers(part, true);
            await_readers(part, false);
            break;
        case Coll::reduce_scatter:
            reduce_own(part, Part::output());
            await_readers(part, true);
            break;
        case Coll::all_gather:
            all_gather_loads(part);
            break;
        case Coll::broadcast:
            broadcast_loads(part);
            break;
        case Coll::reduce:
        case Coll::all_to_all:
        case Coll::gather:
        case Coll::scatter:
        case Coll::send_recv:
            break;  // generate() refuses them
    }
}

}  // namespace weft::plan
