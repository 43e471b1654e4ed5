// A thread that does one piece of work after the other, as NCCL's service and progress threads do.
// Thread rule: driven by one thread. Lifetime rule: destruction waits for the work under way.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "src/base/result.h"

namespace weft::netcheck {

using Work = std::function<Result<void>()>;

class Worker {
  public:
    Worker();
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    void start(Work work);  // what was started before is finished
    Result<void> finish();  // waits
    Result<void> run(Work work);

  private:
    void loop();

    std::mutex mutex_;
    std::condition_variable changed_;
    Work work_;
    Result<void> result_;
    bool busy_ = false;
    bool end_ = false;
    std::thread thread_;  // last: begins when the rest is there
};

}  // namespace weft::netcheck
