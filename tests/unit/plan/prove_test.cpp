// The ways to a proof against each other: one host for all, every rank with short clocks, every
// rank with whole ones. What a quicker way accepts the exact one must accept; on what generators
// make the quick ones must not give up.
#include <algorithm>
#include <cstdio>

#include "src/plan/rotation.h"
#include "src/plan/text.h"
#include "src/plan/verify.h"
#include "tests/unit/plan/mutants.h"

using namespace weft;
using namespace weft::plan;

namespace {

PartOf source_of(const Plan& plan) {
    return
        [&plan](int32_t rank) -> Result<RankPlan> { return plan.ranks[static_cast<size_t>(rank)]; };
}

Result<Proof> prove_by(const Plan& plan, ProofWay way) {
    return prove(plan.shape, source_of(plan), {way, nullptr, 1'000'000});
}

std::string said(const Result<Proof>& proof) {
    return proof.ok() ? "accepted" : proof.error().what;
}

// Every plan there is of few ranks.
template <class Use>
void each_small_plan(Use use) {
    for (const int32_t ranks : {2, 3, 4, 5}) {
        for (const Coll coll : collectives) {
            for (const Kind kind : kinds) {
                if (has_plan(coll, kind)) {
                    use(plan_make(coll, kind, ranks, ranks == 4 ? 2 : 1, has_root(coll) ? 1 : 0));
                }
            }
        }
    }
    for (const auto& sizes : std::vector<std::vector<int32_t>>{{2, 2}, {2, 2, 2}, {3, 3}, {1, 2}}) {
        for (const Coll coll : collectives) {
            for (const Algo inter : inters) {
                const ClusterRef cluster = cluster_of(sizes, sizes.size() == 3);
                use(hier_make(coll, inter, cluster, 1, has_root(coll) ? 1 : 0));
            }
        }
    }
}

Operand image(const Operand& of, const Plan& plan, const Rotation& turn, int32_t by) {
    Operand made = of;
    made.peer = of.peer < 0 ? -1 : turn.rank(of.peer, by);
    if (of.space == Space::input || of.space == Space::output) {
        const bool input = of.space == Space::input;
        const uint32_t blocks = input ? plan.shape.input_blocks : plan.shape.output_blocks;
        made.chunk = turn.id(of.chunk, blocks > 1, by);
    }
    return made;
}

// The parts of all hosts from those of host 0.
void images_make(Plan& plan, const Rotation& turn) {
    for (int32_t rank = 0; rank < plan.shape.rank_count; rank++) {
        const int32_t by = turn.host_of(rank);
        RankPlan part = plan.ranks[static_cast<size_t>(turn.rank_at(0, turn.local_of(rank)))];
        part.rank = rank;
        for (Lane& lane : part.lanes) {
            for (Step& step : lane.steps) {
                step.peer = step.peer < 0 ? -1 : turn.rank(step.peer, by);
                step.chunk = turn.chunk(step.chunk, by);
                step.dst = image(step.dst, plan, turn, by);
                for (Operand& source : step.src) {
                    source = image(source, plan, turn, by);
                }
            }
        }
        plan.ranks[static_cast<size_t>(rank)] = part;
    }
}

// Operands that a change has moved beyond the buffers have no image.
bool within(const Plan& plan, const Step& step) {
    const auto inside = [&](const Operand& at) {
        const uint32_t blocks =
            at.space == Space::input ? plan.shape.input_blocks : plan.shape.output_blocks;
        return at.space == Space::none || at.space == Space::scratch ||
               at.chunk < blocks * plan.shape.chunks;
    };
    return inside(step.dst) && std::all_of(step.src.begin(), step.src.end(), inside);
}

// use(changed, spot), for every `stride`-th change of a step of `ranks`.
template <class Use>
void each_mutant(const Plan& plan, const std::vector<int32_t>& ranks, size_t stride, size_t& turn,
                 Use use) {
    for (const int32_t rank : ranks) {
        const auto r = static_cast<size_t>(rank);
        for (size_t l = 0; l < plan.ranks[r].lanes.size(); l++) {
            for (size_t i = 0; i < plan.ranks[r].lanes[l].steps.size(); i++) {
                for (const Operator& op : operators) {
                    if (turn++ % stride != 0) {
                        continue;
                    }
                    Plan changed = plan;
                    op.change(changed, {r, l, i});
                    if (!(changed == plan)) {
                        CAPTURE(plan_name(plan), op.what, r, l, i);
                        use(std::move(changed), Spot{r, l, i});
                    }
                }
            }
        }
    }
}

Turned turned(const Plan& plan) {
    return rotation_find(plan.shape, source_of(plan)).value();
}

}  // namespace

TEST_CASE("what generators make is proved by short clocks, and by one host where it rotates") {
    size_t plans = 0, folded = 0;
    each_small_plan([&](const Plan& plan) {
        CAPTURE(plan_name(plan), plan.shape.root);
        plans++;
        CHECK(said(prove_by(plan, ProofWay::all_ranks)) == "accepted");
        const bool own_sums = plan.shape.coll == Coll::all_reduce &&
                              plan.shape.algo == Algo::direct && !plan.shape.loads;
        const bool rotates = turned(plan).yes && !own_sums;
        CHECK((said(prove_by(plan, ProofWay::folded)) == "accepted") == rotates);
        folded += rotates;
    });
    CHECK(plans > 200);
    CHECK(folded > 60);
}

namespace {

struct Answers {
    size_t mutants = 0, accepted = 0, unsure = 0;
};

// Wrong on one rank: no host may stand for the others any more.
void check_one_rank(const Plan& plan, size_t stride, size_t& turn, Answers& answers) {
    each_mutant(plan, {0, plan.shape.rank_count - 1}, stride, turn,
                [&](const Plan& changed, const Spot&) {
                    answers.mutants++;
                    const std::string folded = said(prove_by(changed, ProofWay::folded));
                    CHECK(folded.find("cannot be folded") != folded.npos);
                    if (prove_by(changed, ProofWay::all_ranks).ok()) {
                        answers.accepted++;
                        CHECK(said(prove_by(changed, ProofWay::whole_clocks)) == "accepted");
                    }
                });
}

// Wrong on all hosts alike. Short clocks may be unsure; one host and all ranks must agree.
void check_all_hosts(const Plan& plan, size_t stride, size_t& turn, Answers& answers) {
    const Turned good = turned(plan);
    std::vector<int32_t> ranks;
    for (int32_t local = 0; good.yes && local < good.rotation.ranks_per_host(); local++) {
        ranks.push_back(good.rotation.rank_at(0, local));
    }
    each_mutant(plan, ranks, stride, turn, [&](Plan changed, const Spot& spot) {
        const auto& steps = changed.ranks[spot.rank].lanes[spot.lane].steps;
        if (spot.step < steps.size() && !within(changed, steps[spot.step])) {
            return;
        }
        images_make(changed, good.rotation);
        const bool folded = prove_by(changed, ProofWay::folded).ok();
        const std::string all = said(prove_by(changed, ProofWay::all_ranks));
        const std::string whole = said(prove_by(changed, ProofWay::whole_clocks));
        CAPTURE(all, whole);
        CHECK(folded == (all == "accepted"));
        CHECK((all != "accepted" || whole == "accepted"));
        answers.mutants++;
        answers.accepted += all == "accepted";
        answers.unsure += all != "accepted" && whole == "accepted";
    });
}

template <class Check>
Answers answers_of(Check check, size_t stride) {
    Answers answers;
    size_t turn = 0;
    each_small_plan([&](const Plan& plan) { check(plan, stride, turn, answers); });
    std::printf("%zu mutants: %zu accepted, %zu more by whole clocks only\n", answers.mutants,
                answers.accepted, answers.unsure);
    return answers;
}

}  // namespace

TEST_CASE("a change of one rank unfolds the plan, and what is accepted then is right") {
    CHECK(answers_of(check_one_rank, 29).mutants > 1000);
}

TEST_CASE("a change of all hosts alike gets one answer in every way") {
    const Answers answers = answers_of(check_all_hosts, 29);
    CHECK(answers.mutants > 500);
    CHECK(answers.unsure * 100 <= answers.mutants);
}

namespace {

Plan parsed(const std::string& text) {
    Result<Plan> plan = plan_parse(text);
    REQUIRE(plan.ok());
    return std::move(plan).value();
}

// Right, but more than short clocks can tell: they refuse with `why`, and the proof goes on.
void check_unsure(const Plan& plan, const std::string& why) {
    const std::string all = said(prove_by(plan, ProofWay::all_ranks));
    INFO(all);
    CHECK(all.find(why) != all.npos);
    CHECK(said(prove_by(plan, ProofWay::whole_clocks)) == "accepted");
    const Result<Proof> proof = prove_by(plan, ProofWay::any);
    REQUIRE(proof.ok());
    CHECK(proof.value().way == ProofWay::whole_clocks);
}

}  // namespace

// Rank 1 has loaded rank 0's input, tells rank 2, and rank 2 tells rank 0.
TEST_CASE("what a third rank tells is known by whole clocks only") {
    check_unsure(
        parsed("weft-plan 1\n"
               "shape coll=broadcast algo=direct ranks=3 root=0 chunks=1 in=1 out=1 slots=2 "
               "loads=1\n"
               "rank 0\nlane scratch=0\nexpose in0 to 1 chunk 0\nput <- in0 to 2 chunk 0\n"
               "copy out0 <- in0 chunk 0\nwait from 2 chunk 0\n"
               "rank 1\nlane scratch=0\nwait 0:in0 from 0 chunk 0\ncopy out0 <- 0:in0 chunk 0\n"
               "put to 2 chunk 0\n"
               "rank 2\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait out0 from 0 chunk 0\n"
               "wait from 1 chunk 0\nput to 0 chunk 0\n"),
        "the user may reuse memory");
}

// After the sum, rank 0 sends its input, which in place is the sum; rank 1 throws it away.
TEST_CASE("values that differ in place are asked for every place by itself") {
    check_unsure(
        parsed("weft-plan 1\n"
               "shape coll=all_reduce algo=direct ranks=2 root=0 chunks=1 in=1 out=1 slots=4 "
               "loads=0\n"
               "rank 0\nlane scratch=1\ngrant s0 to 1 chunk 0\nput <- in0 to 1 chunk 0\n"
               "release in0 chunk 0\nwait s0 from 1 chunk 0\n"
               "reduce out0 <- in0 s0 chunk 0 finish\nrelease s0 chunk 0\n"
               "put <- in0 to 1 chunk 0\n"
               "rank 1\nlane scratch=2\ngrant s0 to 0 chunk 0\ngrant s1 to 0 chunk 0\n"
               "put <- in0 to 0 chunk 0\nrelease in0 chunk 0\nwait s0 from 0 chunk 0\n"
               "reduce out0 <- s0 in0 chunk 0 finish\nrelease s0 chunk 0\n"
               "wait s1 from 0 chunk 0\nrelease s1 chunk 0\n"),
        "other values in place");
}

// Rank 1 receives chunk 1 before chunk 0, and hands chunk 1 on only behind chunk 0: right while
// both are there.
TEST_CASE("an order that hangs on another chunk counts for nothing") {
    const auto plan = [](const std::string& after) {
        return parsed(
            "weft-plan 1\n"
            "shape coll=broadcast algo=ring ranks=3 root=0 chunks=2 in=1 out=1 slots=2 loads=0\n"
            "rank 0\nlane scratch=0\nput <- in1 to 1 chunk 1\nput <- in0 to 1 chunk 0\n"
            "copy out0 <- in0 chunk 0\ncopy out1 <- in1 chunk 1\nlane scratch=0\n"
            "rank 1\nlane scratch=0\ngrant out1 to 0 chunk 1\ngrant out0 to 0 chunk 0\n"
            "wait out1 from 0 chunk 1\nwait out0 from 0 chunk 0\n"
            "lane scratch=0\nput <- out0 to 2 chunk 0 after 0.3\nput <- out1 to 2 chunk 1" +
            after +
            "\nrank 2\nlane scratch=0\nlane scratch=0\ngrant out0 to 1 chunk 0\n"
            "grant out1 to 1 chunk 1\nwait out0 from 1 chunk 0\nwait out1 from 1 chunk 1\n");
    };
    const Plan hangs = plan("");
    CHECK(verify(hangs, {false, 1, 2, {}, {}}).ok());
    CHECK_FALSE(verify(hangs, {false, 1, 2, {}, {true, false}}).ok());
    CHECK(said(prove_by(hangs, ProofWay::all_ranks)).find("rank 1 lane 1 step 1") !=
          std::string::npos);
    CHECK(said(prove_by(hangs, ProofWay::whole_clocks)).find("rank 1 lane 1 step 1") !=
          std::string::npos);
    for (const char* after : {" after 0.2", " after 0.3"}) {
        CHECK(said(prove_by(plan(after), ProofWay::all_ranks)) == "accepted");
        CHECK(said(prove_by(plan(after), ProofWay::whole_clocks)) == "accepted");
    }
}

// A sending slot is written for one chunk after the other, each time behind a release. Where the
// chunk of a release is empty, so is that write; the next one needs a release of its own.
TEST_CASE("a slot's release counts for the chunk it is on") {
    const Plan good = plan_make(Coll::all_reduce, Kind::ring, 5, 1);
    REQUIRE(said(prove_by(good, ProofWay::all_ranks)) == "accepted");
    size_t dropped = 0;
    for (size_t i = 0; i < good.ranks[0].lanes[0].steps.size(); i++) {
        const Step& step = good.ranks[0].lanes[0].steps[i];
        if (step.kind != StepKind::release || step.dst.space != Space::scratch) {
            continue;
        }
        Plan plan = good;
        auto& steps = plan.ranks[0].lanes[0].steps;
        steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(i));
        const bool accepted = prove_by(plan, ProofWay::all_ranks).ok();
        CAPTURE(step_text(step));
        CHECK((!accepted || prove_by(plan, ProofWay::whole_clocks).ok()));
        dropped += !accepted;
    }
    CHECK(dropped > 3);
}

// Chunk 0 leaves from the slot, chunk 1 is copied through it, chunk 2 leaves from it. Where chunk 1
// is empty, so is its release, and chunk 2 overwrites chunk 0.
TEST_CASE("a release that may be missing is not forgotten for one") {
    const auto plan = [](const std::string& release) {
        return parsed(
            "weft-plan 1\n"
            "shape coll=broadcast algo=direct ranks=2 root=0 chunks=3 in=1 out=1 slots=2 loads=0\n"
            "rank 0\nlane scratch=1\nrelease s0 chunk 0\ncopy s0 <- in0 chunk 0\n"
            "put <- s0 to 1 chunk 0\nrelease s0 chunk 1\ncopy s0 <- in1 chunk 1\n"
            "copy out1 <- s0 chunk 1\n" +
            release +
            "copy s0 <- in2 chunk 2\nput <- s0 to 1 chunk 2\nput <- in1 to 1 chunk 1\n"
            "copy out0 <- in0 chunk 0\ncopy out2 <- in2 chunk 2\n"
            "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\ngrant out2 to 0 chunk 2\n"
            "grant out1 to 0 chunk 1\nwait out0 from 0 chunk 0\nwait out2 from 0 chunk 2\n"
            "wait out1 from 0 chunk 1\n");
    };
    CHECK(said(prove_by(plan("release s0 chunk 2\n"), ProofWay::all_ranks)) == "accepted");
    CHECK(said(prove_by(plan("release s0 chunk 2\n"), ProofWay::whole_clocks)) == "accepted");
    CHECK(verify(plan(""), {false, 1, 2, {}, {}}).ok());
    CHECK_FALSE(prove_by(plan(""), ProofWay::all_ranks).ok());
    CHECK_FALSE(prove_by(plan(""), ProofWay::whole_clocks).ok());
}

// Lane 2 sends chunk 0 behind lane 1's chunk 1, and that behind lane 0, which has both.
TEST_CASE("an order over three lanes hangs on the chunk in the middle") {
    const auto plan = [](const std::string& middle) {
        return parsed(
            "weft-plan 1\n"
            "shape coll=broadcast algo=ring ranks=3 root=0 chunks=2 in=1 out=1 slots=2 loads=0\n"
            "rank 0\nlane scratch=0\nput <- in0 to 1 chunk 0\nput <- in1 to 1 chunk 1\n"
            "copy out0 <- in0 chunk 0\ncopy out1 <- in1 chunk 1\nlane scratch=0\n"
            "lane scratch=0\n"
            "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\ngrant out1 to 0 chunk 1\n"
            "wait out0 from 0 chunk 0\nwait out1 from 0 chunk 1\n"
            "lane scratch=0\nput <- out1 to 2 chunk 1 after 0.3\n"
            "lane scratch=0\nput <- out0 to 2 chunk 0 after " +
            middle +
            "\nrank 2\nlane scratch=0\nlane scratch=0\ngrant out1 to 1 chunk 1\n"
            "wait out1 from 1 chunk 1\n"
            "lane scratch=0\ngrant out0 to 1 chunk 0\nwait out0 from 1 chunk 0\n");
    };
    CHECK(said(prove_by(plan("0.2"), ProofWay::all_ranks)) == "accepted");
    CHECK(verify(plan("1.0"), {false, 1, 2, {}, {}}).ok());
    CHECK_FALSE(prove_by(plan("1.0"), ProofWay::all_ranks).ok());
    CHECK_FALSE(prove_by(plan("1.0"), ProofWay::whole_clocks).ok());
}

namespace {

// Two ranks that do the same with each other's slot. The other way round is the same plan.
Plan mirrored(const std::string& steps) {
    const auto part = [&](const char* peer) {
        std::string text = steps;
        for (size_t at; (at = text.find('P')) != text.npos;) {
            text.replace(at, 1, peer);
        }
        return text;
    };
    return parsed(
        "weft-plan 1\nshape coll=all_reduce algo=direct ranks=2 root=0 chunks=1 in=1 "
        "out=1 slots=4 loads=1\nrank 0\nlane scratch=1\n" +
        part("1") + "rank 1\nlane scratch=1\n" + part("0"));
}

}  // namespace

// The same step runs on both hosts, and each touches the slot of the other.
TEST_CASE("a step races with its own image") {
    const Plan written = mirrored(
        "copy s0 <- in0 chunk 0\nexpose s0 to P chunk 0\nwait P:s0 from P chunk 0\n"
        "reduce s0 <- s0 P:s0 chunk 0\nput to P chunk 0\nwait from P chunk 0\n"
        "copy out0 <- s0 chunk 0 finish\n");
    const Plan read = mirrored(
        "copy s0 <- in0 chunk 0\nexpose s0 to P chunk 0\nwait P:s0 from P chunk 0\n"
        "reduce out0 <- P:s0 s0 chunk 0 finish\ncopy s0 <- in0 chunk 0\nput to P chunk 0\n"
        "wait from P chunk 0\n");
    for (const Plan& plan : {written, read}) {
        REQUIRE(turned(plan).yes);
        for (const ProofWay way : {ProofWay::folded, ProofWay::all_ranks, ProofWay::whole_clocks}) {
            const std::string text = said(prove_by(plan, way));
            CAPTURE(text);
            CHECK(text.find("s0 while it may still be in use") != text.npos);
        }
    }
}

// Each rank adds up both chunks by itself, rank 1 one of them in another order.
TEST_CASE("sums in another order on another host are told apart") {
    const auto plan = [](const std::string& sum) {
        return parsed(
            "weft-plan 1\nshape coll=all_reduce algo=direct ranks=2 root=0 chunks=2 in=1 out=1 "
            "slots=2 loads=0\n"
            "rank 0\nlane scratch=2\ngrant s1 to 1 chunk 1\ngrant s0 to 1 chunk 0\n"
            "put <- in0 to 1 chunk 0\nput <- in1 to 1 chunk 1\nrelease in0 chunk 0\n"
            "release in1 chunk 1\nwait s1 from 1 chunk 1\nwait s0 from 1 chunk 0\n"
            "reduce out0 <- in0 s0 chunk 0 finish\nreduce out1 <- s1 in1 chunk 1 finish\n"
            "release s0 chunk 0\nrelease s1 chunk 1\n"
            "rank 1\nlane scratch=2\ngrant s1 to 0 chunk 0\ngrant s0 to 0 chunk 1\n"
            "put <- in1 to 0 chunk 1\nput <- in0 to 0 chunk 0\nrelease in1 chunk 1\n"
            "release in0 chunk 0\nwait s1 from 0 chunk 0\nwait s0 from 0 chunk 1\n"
            "reduce out1 <- " +
            sum +
            " chunk 1 finish\nreduce out0 <- s1 in0 chunk 0 finish\n"
            "release s0 chunk 1\nrelease s1 chunk 0\n");
    };
    const Plan right = plan("in1 s0");
    const Plan wrong = plan("s0 in1");
    REQUIRE_FALSE(turned(right).rotation.reordered);
    REQUIRE(turned(wrong).rotation.reordered);
    for (const ProofWay way : {ProofWay::folded, ProofWay::all_ranks, ProofWay::whole_clocks}) {
        CAPTURE(static_cast<int>(way));
        CHECK(said(prove_by(right, way)) == "accepted");
        const std::string text = said(prove_by(wrong, way));
        CAPTURE(text);
        CHECK(text.find("another order") != text.npos);
    }
}

// Chunk 1 lies in a slot that was exposed by a step on chunk 0.
TEST_CASE("a loan counts for the chunk it was made on") {
    const auto plan = [](const std::string& chunk) {
        return parsed(
            "weft-plan 1\nshape coll=broadcast algo=direct ranks=2 root=0 chunks=2 in=1 out=1 "
            "slots=2 loads=1\n"
            "rank 0\nlane scratch=1\ncopy s0 <- in1 chunk 1\nexpose s0 to 1 chunk " +
            chunk +
            "\nput to 1 chunk 1\nput <- in0 to 1 chunk 0\ncopy out0 <- in0 chunk 0\n"
            "copy out1 <- in1 chunk 1\nwait from 1 chunk 1\n"
            "rank 1\nlane scratch=0\ngrant out0 to 0 chunk 0\nwait 0:s0 from 0 chunk " +
            chunk +
            "\nwait from 0 chunk 1\ncopy out1 <- 0:s0 chunk 1\nput to 0 chunk 1\n"
            "wait out0 from 0 chunk 0\n");
    };
    CHECK(verify(plan("0"), {false, 1, 2, {}, {}}).ok());
    for (const ProofWay way : {ProofWay::all_ranks, ProofWay::whole_clocks}) {
        CHECK(said(prove_by(plan("1"), way)) == "accepted");
        const std::string text = said(prove_by(plan("0"), way));
        CAPTURE(text);
        CHECK(text.find("without having waited for its expose") != text.npos);
    }
}

// Everything is added up, but each rank gets what the other should.
TEST_CASE("a sum must be of the right block") {
    Plan plan = plan_make(Coll::reduce_scatter, Kind::direct, 3, 1);
    const auto moved = [](Operand& at) {
        at.chunk = at.space == Space::input ? (at.chunk + 1) % 3 : at.chunk;
    };
    for (RankPlan& part : plan.ranks) {
        for (Step& step : part.lanes[0].steps) {
            moved(step.dst);
            std::for_each(step.src.begin(), step.src.end(), moved);
        }
    }
    for (const ProofWay way : {ProofWay::folded, ProofWay::all_ranks, ProofWay::whole_clocks}) {
        const std::string text = said(prove_by(plan, way));
        CAPTURE(text);
        CHECK(text.find("every contribution exactly once; it holds") != text.npos);
    }
}

TEST_CASE("a proof says how it was made, and tells how far it is") {
    const Plan plan = hier_make(Coll::all_reduce, Algo::ring, cluster_of({2, 2, 2}), 1);
    std::vector<std::string> lines;
    const Result<Proof> proof =
        prove(plan.shape, source_of(plan),
              {ProofWay::any, [&](const std::string& line) { lines.push_back(line); }, 1000});
    REQUIRE(proof.ok());
    CHECK(proof.value().way == ProofWay::folded);
    CHECK(proof.value().ranks == 2);
    CHECK(proof.value().runs == 8);
    CHECK(proof.value().steps ==
          plan.ranks[0].lanes[0].steps.size() + plan.ranks[0].lanes[1].steps.size() +
              plan.ranks[0].lanes[2].steps.size() + plan.ranks[1].lanes[0].steps.size() +
              plan.ranks[1].lanes[1].steps.size() + plan.ranks[1].lanes[2].steps.size());
    CHECK(proof.value().rotation == "3 hosts are images of each other");
    CHECK(lines.size() == 2 + 8);
    CHECK(lines.back() == "7 situations done, now eager, 2 tiles, in place");
}

TEST_CASE("a part that cannot be made ends the proof with its reason") {
    const Plan plan = plan_make(Coll::all_gather, Kind::ring, 4, 1);
    const auto part_of = [&](int32_t rank) -> Result<RankPlan> {
        if (rank == 2) {
            return make_error(Code::invalid_argument, Scope::operation, "no part for rank 2");
        }
        return plan.ranks[static_cast<size_t>(rank)];
    };
    for (const ProofWay way : {ProofWay::any, ProofWay::all_ranks}) {
        CHECK(said(prove(plan.shape, part_of, {way, nullptr, 1'000'000})) == "no part for rank 2");
    }
}

TEST_CASE("every change of small plans gets one answer in every way", "[.long]") {
    CHECK(answers_of(check_one_rank, 1).mutants > 30000);
    const Answers answers = answers_of(check_all_hosts, 1);
    CHECK(answers.mutants > 20000);
    CHECK(answers.unsure * 100 <= answers.mutants);
}
