// Children of a communicator: split and shrink. Both are state machines over the parent's control
// group; the child is then built like any other. Thread-safe; only ChildJob::wait() blocks.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/bootstrap/control.h"
#include "src/comm/communicator.h"

namespace weft {

struct SplitKey {
    int32_t color = 0;
    int32_t key = 0;
    bool operator==(const SplitKey&) const = default;
};
inline constexpr int32_t color_none = -1;

// Pure: parent ranks with `color`, ordered by key and then by parent rank.
std::vector<int32_t> split_members(const std::vector<SplitKey>& keys, int32_t color);

// Pure: the ranks left when `excluded` are taken out. Invalid argument: nobody or `self` excluded,
// a rank out of range or twice in the list.
Result<std::vector<int32_t>> shrink_members(int32_t rank_count, int32_t self,
                                            const std::vector<int32_t>& excluded);

class ChildJob : public std::enable_shared_from_this<ChildJob> {
  public:
    // `newcomm` is written when the job ends well, from any thread. A blocking parent's caller
    // waits; a nonblocking parent is in progress until then and failed if the job fails.
    static Result<std::shared_ptr<ChildJob>> split(Communicator& parent, SplitKey key,
                                                   CommConfig config, ncclComm** newcomm);
    static Result<std::shared_ptr<ChildJob>> shrink(Communicator& parent,
                                                    std::vector<int32_t> members, CommConfig config,
                                                    ncclComm** newcomm);
    // The parent failed or was aborted: ends the job and the unfinished child.
    void end(const Error& cause);
    Result<void> wait();
    // A shrink does not end because its parent failed, only when that is aborted.
    bool outlives_failure() const { return outlives_failure_; }

  private:
    ChildJob(Communicator& parent, CommConfig config, ncclComm** newcomm, bool outlives_failure);
    void deadline_set();
    void keys_gathered(Result<std::vector<std::string>> blobs, SplitKey own);
    void derive(const std::vector<int32_t>& members, uint64_t tag);
    void derived(Result<std::unique_ptr<ControlGroup>> group, CommIdentity identity);
    void finish(Result<void> result);

    const std::weak_ptr<Communicator> parent_;  // weak: the parent holds the job
    const CommConfig config_;
    ncclComm** const newcomm_;  // the caller's
    const bool outlives_failure_;
    uint32_t split_count_ = 0;

    std::mutex mutex_;
    std::condition_variable changed_;
    ncclComm* child_ = nullptr;  // the caller's once the job ended well
    std::optional<Result<void>> result_;
};

}  // namespace weft
