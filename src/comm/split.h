// Children of a communicator: split and shrink. Both are state machines over the parent's control
// group; the child is then built like any other. Thread-safe; only ChildJob::wait() blocks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/result.h"
#include "src/bootstrap/control.h"
#include "src/comm/comm_job.h"
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

class ChildJob : public CommJob {
  public:
    // `newcomm` is written when the job ends well, from any thread.
    static Result<std::shared_ptr<ChildJob>> split(Communicator& parent, SplitKey key,
                                                   CommConfig config, ncclComm** newcomm);
    static Result<std::shared_ptr<ChildJob>> shrink(Communicator& parent,
                                                    std::vector<int32_t> members, CommConfig config,
                                                    ncclComm** newcomm);
    // A shrink is what one does about a failure.
    bool outlives_failure() const override { return !members_.empty(); }

  private:
    ChildJob(Communicator& parent, SplitKey key, std::vector<int32_t> members, CommConfig config,
             ncclComm** newcomm);
    std::shared_ptr<ChildJob> self() {
        return std::static_pointer_cast<ChildJob>(shared_from_this());
    }
    void start() override;
    void deliver() override;
    void drop() override;
    void keys_gathered(Result<std::vector<std::string>> blobs);
    void derive(const std::vector<int32_t>& members, uint64_t tag);
    void derived(Result<std::unique_ptr<ControlGroup>> group, CommIdentity identity);

    const SplitKey key_;
    const std::vector<int32_t> members_;  // of a shrink; empty: a split
    const CommConfig config_;
    ncclComm** const newcomm_;  // the caller's
    uint32_t split_count_ = 0;
    ncclComm* child_ = nullptr;  // under mutex_; the caller's once the job ended well
};

}  // namespace weft
