// The actions of weft-plan; each makes its whole output. Failure rule: one line.
#pragma once

#include <string>

#include "src/base/result.h"
#include "tools/plan/options.h"
#include "tools/plan/subject.h"

namespace weft::planner {

Result<std::string> print_action(const Options& options);
Result<std::string> prove_action(const Options& options);
Result<std::string> price_action(const Options& options);
Result<std::string> simulate_action(const Options& options);
Result<std::string> compare_action(const Options& options);
Result<std::string> svg_action(const Options& options);
Result<std::string> trace_action(const Options& options);

// A plan from a file must be right before anything is said about what it costs.
Result<void> file_plan_check(const Subject& subject);

// One line on standard error that replaces itself, where somebody sits and reads it.
class Progress {
  public:
    Progress();
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    void say(const std::string& what);
    void clear();

  private:
    bool seen_ = false;  // by somebody
    size_t shown_ = 0;
};

}  // namespace weft::planner
