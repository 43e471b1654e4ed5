// How a connection comes about: the listening side, and the calling side, whose state between two
// calls is found by the last 8 bytes of NCCL's handle. Neither ever waits. Thread rule: one thread
// at a time each; NCCL's service thread. Lifetime: holds the shared part of the process. Failure
// rule: one Error ends a call; a listener goes on after an error.
#pragma once

#include <memory>

#include "src/netplugin/recv_comm.h"
#include "src/netplugin/send_comm.h"

namespace weft::netplugin {

class ListenComm {
  public:
    static Result<std::unique_ptr<ListenComm>> make(std::shared_ptr<Shared> shared, int device,
                                                    void* handle);
    // Null: nobody yet.
    Result<std::unique_ptr<RecvComm>> accept();

  private:
    ListenComm(std::shared_ptr<Shared> shared, const Device& device,
               std::unique_ptr<Listener> listener);
    Result<void> advance();

    const std::shared_ptr<Shared> shared_;
    const Device& device_;
    const std::unique_ptr<Listener> listener_;
    std::unique_ptr<RecvComm> made_;  // not up yet
};

// One that is being made; in the shared part of the process.
class Calling {
  public:
    Calling(std::shared_ptr<Shared> shared, const Device& device, std::unique_ptr<PeerCall> call);
    // Null: not yet.
    Result<std::unique_ptr<SendComm>> advance();

  private:
    const std::weak_ptr<Shared> shared_;  // which holds this
    const Device& device_;
    std::unique_ptr<PeerCall> call_;
    std::unique_ptr<SendComm> made_;
};

// Null: call again, with the same handle.
Result<std::unique_ptr<SendComm>> connect(const std::shared_ptr<Shared>& shared, int device,
                                          void* handle);

}  // namespace weft::netplugin
