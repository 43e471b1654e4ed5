#include "tools/common/args.h"
#include "tools/plan/actions.h"
namespace weft::planner {
Result<std::string> compare_action(const Options&) {
    return tools::wrong("later");
}
}  // namespace weft::planner
