// weft-topo: this machine, a recorded one or an instance type, as Weft sees it.
#include <algorithm>
#include <cstdio>

#include "tools/common/output.h"
#include "tools/topo/json.h"
#include "tools/topo/options.h"
#include "tools/topo/svg.h"
#include "tools/topo/tree.h"
#include "topology/discover.h"

namespace weft::topo {

using tools::file_write;
using tools::print;

namespace {

constexpr int different_status = 1;
constexpr int trouble_status = 2;

Result<int> profile_print(const Options& options) {
    const auto* profile = TRY(topology::profile_find(options.profile));
    const auto cluster =
        TRY(topology::profile_cluster(*profile, options.hosts == 0 ? 1 : options.hosts));
    TRY(print(options.json ? cluster_json(cluster) : cluster_summary(cluster)));
    return 0;
}

Result<int> difference_print(const topology::Profile& profile, const topology::Machine& machine) {
    const auto rows = topology::profile_compare(profile, machine);
    const bool differs = std::any_of(rows.begin(), rows.end(), [](const auto& row) {
        return row.verdict == topology::Comparison::Verdict::different;
    });
    TRY(print(comparison_text(rows)));
    return differs ? different_status : 0;
}

Result<int> machine_print(const Options& options) {
    // A wrong name shows before the machine is looked at.
    const topology::Profile* profile = nullptr;
    if (!options.diff.empty()) {
        profile = TRY(topology::profile_find(options.diff));
    }
    if (!options.xml_out.empty()) {
        TRY(file_write(options.xml_out, TRY(topology::hwloc_xml(options.xml))));
    }
    const View view = view_of(
        TRY(options.xml.empty() ? topology::machine_live() : topology::machine_read(options.xml)),
        options.ranks);
    if (!options.svg.empty()) {
        TRY(file_write(options.svg, machine_svg(view)));
    }
    if (profile != nullptr) {
        return difference_print(*profile, view.machine);
    }
    TRY(print(options.json ? machine_json(view) : tree_text(view)));
    return 0;
}

Result<int> tool(int argc, char** argv) {
    const Options options = TRY(options_parse(argc, argv));
    if (options.help || options.list) {
        TRY(print(options.help ? usage() : profiles_text()));
        return 0;
    }
    return options.profile.empty() ? machine_print(options) : profile_print(options);
}

}  // namespace

}  // namespace weft::topo

int main(int argc, char** argv) {
    const auto result = weft::topo::tool(argc, argv);
    if (!result.ok()) {
        std::fprintf(stderr, "weft-topo: %s\n", result.error().what.c_str());
        return weft::topo::trouble_status;
    }
    return result.value();
}
