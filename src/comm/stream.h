// Host streams: they stand where cudaStream_t stands, and are recognised by table look-up, never by
// dereferencing. Thread rule: thread-safe. Lifetime: a stream in use by a call outlives its
// destruction.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "src/base/result.h"
#include "src/comm/launch.h"

namespace weft {

class HostStream {
  public:
    // What the next launch on this stream must follow.
    std::vector<LaunchPtr> tail();
    // The launches that one call or group put on this stream.
    void add(const std::vector<LaunchPtr>& launches);
    // Waits for everything added so far. The first error since the last report.
    Result<void> synchronize();
    // The same without waiting: in_progress while something is unfinished.
    Result<void> query();

  private:
    void prune();
    Result<void> report();

    std::mutex mutex_;
    std::deque<LaunchPtr> open_;   // not seen finished, in order
    std::vector<LaunchPtr> tail_;  // the last call's
    std::optional<Error> error_;   // the first one not reported
};

using StreamPtr = std::shared_ptr<HostStream>;  // shared: see above

// Where a call is ordered.
struct CallStream {
    StreamPtr host;                // of a host communicator; null: synchronous
    const void* device = nullptr;  // of a device communicator: a CUstream
};

class StreamTable {
  public:
    void* create();
    Result<StreamPtr> find(const void* stream, const char* function) const;
    Result<StreamPtr> take(const void* stream, const char* function);
    // 0, 1 and 2 keep CUDA's meaning and give no stream: the call is synchronous.
    Result<StreamPtr> for_call(const void* stream, const char* function) const;

  private:
    mutable std::mutex mutex_;
    std::unordered_map<const void*, StreamPtr> streams_;
};

}  // namespace weft
