// Outlives the launcher by a moment: when the launcher is gone, it kills the process groups of the
// ranks, so that what ranks have started does not stay behind either. (On virtual hosts the init of
// the PID namespace does this by itself.)
// Thread rule: single-threaded. Lifetime rule: destruction ends the guardian, and it kills nothing.
#pragma once

#include "tools/run/process.h"

namespace weft::run {

class Guardian {
  public:
    static Result<Guardian> start();
    ~Guardian();
    Guardian(Guardian&& other) noexcept;
    Guardian& operator=(Guardian&&) = delete;
    void add(pid_t group) const;

  private:
    Guardian(Process process, Fd groups);
    Process process_;
    Fd groups_;  // process group ids go out here; its end of file is the launcher's end
};

}  // namespace weft::run
