#include "src/sim/simulate.h"

#include <algorithm>

#include "src/base/log.h"
#include "src/sim/parts.h"
#include "src/sim/run.h"

namespace weft::sim {

namespace {

Result<void> job_check(const Network& network, const Job& job) {
    const plan::Shape& shape = job.shape;
    if (shape.rank_count != network.rank_count()) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("a plan of %d ranks on a network of %d hosts with %d ranks each: "
                                 "expected as many ranks as the hosts have",
                                 shape.rank_count, network.hosts, network.ranks_per_host));
    }
    if (shape.chunks == 0 || job.elem_bytes == 0) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("a plan of %u chunks and elements of %u bytes: expected both to "
                                 "be at least 1",
                                 shape.chunks, job.elem_bytes));
    }
    return {};
}

}  // namespace

Job job_of(const plan::Choice& choice, uint64_t count, uint32_t elem_bytes) {
    Job job;
    job.shape = choice.shape;
    job.count = count;
    job.elem_bytes = elem_bytes;
    job.tile_bytes = choice.tile_bytes;
    job.eager = choice.eager;
    return job;
}

Result<Report> simulate(const Network& network, const Job& job, const PartOf& part_of,
                        const Options& options) {
    TRY(network_check(network));
    TRY(job_check(network, job));
    const Folding folding = TRY(folding_choose(network, job, part_of, options));
    if (options.fold == Fold::required && !folding.yes) {
        return make_error(Code::invalid_argument, Scope::call,
                          "folding was required, but " + folding.why);
    }
    const Parts parts = TRY(parts_build(network, job, part_of, folding.yes));
    Report report = TRY(Run(network, job, options, parts).run());
    report.folding = folding.why;
    return report;
}

Result<Report> simulate(const Network& network, const Job& job, const plan::Plan& plan,
                        const Options& options) {
    if (plan.ranks.size() != static_cast<size_t>(plan.shape.rank_count)) {
        return refuse(
            format("%zu ranks where its shape names %d", plan.ranks.size(), plan.shape.rank_count));
    }
    return simulate(
        network, job,
        [&](int32_t rank) -> Result<plan::RankPlan> {
            return plan.ranks[static_cast<size_t>(rank)];
        },
        options);
}

}  // namespace weft::sim
