// What all ranks of a communicator do together beside operations: splits, shrinks, windows. A job
// is a state machine over the communicator's control group. One runs at a time, in the order of the
// calls, so that their rounds of messages do not mix. Thread-safe; only wait() blocks. Lifetime:
// shared by the communicator, the callbacks and the waiting caller. Failure rule: a blocking
// communicator's caller hears of a failure from wait(), a nonblocking one has failed with it.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "src/base/result.h"

namespace weft {

class Communicator;

class CommJob : public std::enable_shared_from_this<CommJob> {
  public:
    virtual ~CommJob() = default;
    CommJob(const CommJob&) = delete;
    CommJob& operator=(const CommJob&) = delete;

    // Its turn has come. Not under a lock.
    void begin();
    // The communicator failed or was aborted.
    void end(const Error& cause);
    Result<void> wait();
    // It does not end because its communicator failed, only when that is aborted.
    virtual bool outlives_failure() const { return false; }

  protected:
    explicit CommJob(Communicator& parent);

    virtual void start() = 0;
    // It ended well: what the caller is given. Under the job's lock.
    virtual void deliver() {}
    // It failed. Not under a lock.
    virtual void drop() {}

    // Once; later results are of no interest.
    void finish(Result<void> result);
    // Like an init: ranks that never call must not be waited for without limit.
    void deadline_set(const char* functions);
    bool over();
    // Null: the communicator is gone.
    std::shared_ptr<Communicator> parent() const { return parent_.lock(); }

    std::mutex mutex_;

  private:
    bool settle(const Result<void>& result);

    const std::weak_ptr<Communicator> parent_;  // weak: the parent holds the job
    std::condition_variable changed_;
    bool begun_ = false;
    std::optional<Result<void>> result_;
};

}  // namespace weft
