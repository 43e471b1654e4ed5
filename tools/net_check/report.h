// The table: one line a check and version as soon as it is known, then the sum. Thread-bound.
#pragma once

#include <string>
#include <vector>

#include "tools/net_check/verdict.h"

namespace weft::netcheck {

struct Line {
    int version;
    std::string check;
    Verdict verdict;
    Nanos took;
};

class Report {
  public:
    Result<void> add(Line line);  // prints it
    Result<void> finish();        // prints what is left out, and the sum
    int failed() const { return count(State::failed); }
    std::string json(const std::string& plugin) const;

  private:
    int count(State state) const;
    std::vector<Line> lines_;
};

}  // namespace weft::netcheck
