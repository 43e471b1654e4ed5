// How the ranks of a communicator with boards make a window: every rank makes its part reachable
// and tells of it, maps those of the others, and tells whether it could. If one rank could not do
// either, there is no window and the first that says why is named, once. Thread-safe. Failure rule:
// memory that cannot be reached is no failure, for calls on it go another way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "include/weft/nccl.h"
#include "src/comm/board_windows.h"
#include "src/comm/comm_job.h"
#include "src/comm/device_streamed.h"

namespace weft {

class WindowJob : public CommJob {
  public:
    // `window` is written when the job ends well, from any thread: null if there is none.
    static Result<std::shared_ptr<WindowJob>> begin_on(Communicator& parent,
                                                       const WindowRange& range,
                                                       ncclWindow_t* window);
    ~WindowJob() override;

  private:
    WindowJob(Communicator& parent, const WindowRange& range, ncclWindow_t* window);
    std::shared_ptr<WindowJob> self() {
        return std::static_pointer_cast<WindowJob>(shared_from_this());
    }
    void start() override;
    void deliver() override;

    // A step that may wait for the device, then the next round of answers.
    void on_thread(Result<void> (WindowJob::*step)());
    void tell();
    void told(Result<std::vector<std::string>> answers);
    Result<void> offer();
    Result<void> map();

    const WindowRange range_;
    ncclWindow_t* const window_;  // the caller's
    // One step after the other has these, on whatever thread.
    std::shared_ptr<DeviceStreamed> side_;  // shared: with its communicator
    WindowOffer offer_;
    std::vector<std::string> notes_;     // of all ranks
    std::shared_ptr<BoardWindow> made_;  // shared: with who asks about it
    bool agreed_ = false;                // all ranks could
    std::string why_;                    // there is none, as this rank has it
};

}  // namespace weft
