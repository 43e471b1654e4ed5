// Wrong plans made from right ones: small changes of one step, for tests that the prover must pass.
// Edges go on naming the steps they named.
#pragma once

#include <functional>
#include <utility>

#include "tests/unit/plan/plans.h"

namespace weft::plan {

struct Spot {
    size_t rank, lane, step;
};

inline Steps& steps_at(Plan& plan, const Spot& spot) {
    return plan.ranks[spot.rank].lanes[spot.lane].steps;
}

// Edges from the rank's lanes to this one follow the steps they name: -1, the step is gone.
inline void edges_follow(Plan& plan, const Spot& spot, const std::function<int(int)>& moved) {
    for (Lane& lane : plan.ranks[spot.rank].lanes) {
        for (Step& step : lane.steps) {
            Few<After, 1> kept;
            for (After after : step.after) {
                const int to = after.lane == spot.lane ? moved(after.step) : after.step;
                after.step = static_cast<uint16_t>(to);
                if (to >= 0) {
                    kept.push_back(after);
                }
            }
            step.after = kept;
        }
    }
}

inline void drop(Plan& plan, const Spot& spot) {
    Steps& steps = steps_at(plan, spot);
    steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(spot.step));
    const auto at = static_cast<int>(spot.step);
    edges_follow(plan, spot, [at](int step) { return step == at ? -1 : step - (step > at); });
}

inline void twice(Plan& plan, const Spot& spot) {
    Steps& steps = steps_at(plan, spot);
    const Step step = steps[spot.step];
    steps.insert(steps.begin() + static_cast<std::ptrdiff_t>(spot.step), step);
    const auto at = static_cast<int>(spot.step);
    edges_follow(plan, spot, [at](int of) { return of + (of >= at); });
}

inline void swap_next(Plan& plan, const Spot& spot) {
    Steps& steps = steps_at(plan, spot);
    if (spot.step + 1 < steps.size()) {
        std::swap(steps[spot.step], steps[spot.step + 1]);
        const auto at = static_cast<int>(spot.step);
        edges_follow(plan, spot, [at](int of) {
            return of == at ? at + 1 : of == at + 1 ? at : of;
        });
    }
}

inline void retarget(Plan& plan, const Spot& spot) {
    Step& step = steps_at(plan, spot)[spot.step];
    const int32_t ranks = plan.shape.rank_count;
    if (step.peer >= 0 && ranks > 2) {
        do {
            step.peer = (step.peer + 1) % ranks;
        } while (step.peer == plan.ranks[spot.rank].rank);
    }
}

using Change = void (*)(Plan&, const Spot&);

struct Operator {
    const char* what;
    Change change;
};

// The last ones change a step alone.
inline constexpr Operator operators[] = {
    {"drop", drop},
    {"twice", twice},
    {"swap", swap_next},
    {"retarget", retarget},
    {"other destination",
     [](Plan& p, const Spot& at) {
         Operand& dst = steps_at(p, at)[at.step].dst;
         dst.chunk += dst.space != Space::none;
     }},
    {"other source",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         if (!step.src.empty()) {
             step.src[0].chunk++;
         }
     }},
    {"other source and chunk",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         if (!step.src.empty()) {
             step.src[0].chunk++;
             step.chunk = (step.chunk + 1) % p.shape.chunks;
         }
     }},
    {"lose a source",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         if (!step.src.empty()) {
             step.src.pop_back();
         }
     }},
    {"other chunk",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         step.chunk = (step.chunk + 1) % p.shape.chunks;
     }},
    {"finish",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         step.finish = !step.finish;
     }},
    {"lose an edge",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         if (!step.after.empty()) {
             step.after.pop_back();
         }
     }},
    {"edge to the tile before",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         if (!step.after.empty()) {
             step.after[0].tiles_back++;
         }
     }},
    {"edge to the step before",
     [](Plan& p, const Spot& at) {
         Step& step = steps_at(p, at)[at.step];
         if (!step.after.empty() && step.after[0].step > 0) {
             step.after[0].step--;
         }
     }},
};

}  // namespace weft::plan
