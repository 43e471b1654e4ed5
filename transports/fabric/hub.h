// What the fabric wires of one process share: rails, the token space, the addresses of remote
// processes, and the service that keeps peers served while the owners of wires compute.
// Thread-safe. Lifetime: reactor before hub before wires. Failure rule: construction says in one
// line what is missing.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "src/base/handle.h"
#include "transports/fabric/inbox.h"
#include "transports/fabric/processes.h"
#include "transports/fabric/rail.h"
#include "transports/fabric/tokens.h"
#include "transports/hubs.h"

namespace weft::fabric {

class Service;

class FabricHub final : public WireHub {
  public:
    static Result<std::unique_ptr<FabricHub>> open(Reactor& reactor, const FabricOptions& options);
    ~FabricHub() override;
    Result<std::unique_ptr<Wire>> attach(const WireConfig& config) override;
    std::string describe() const override;
    std::string features() const override;

    // For wires.
    const std::vector<std::unique_ptr<Rail>>& rails() const { return rails_; }
    uint64_t process_uid() const { return process_uid_; }
    const Caps& caps() const { return caps_; }
    uint64_t rail_window() const { return rail_window_; }  // bytes under way on a rail to a peer
    Result<uint64_t> wire_uid_reserve();
    void wire_publish(Inbox& inbox);
    // After return no dispatcher knows the inbox and its transmissions end without a report.
    void wire_withdraw(Inbox& inbox);
    Result<uint32_t> tokens_reserve(Inbox& inbox, uint32_t count);
    void tokens_release(uint32_t first, uint32_t count);
    Processes& processes() { return processes_; }

    // Polls the rails nobody else is polling. `self` needs no ring. Returns completions found.
    int poll(const Inbox* self);
    bool may_sleep();  // false: poll first
    bool unfinished() const;
    int wait_fd() const { return wait_.get(); }
    Service& service() { return *service_; }

  private:
    class Dispatch;
    FabricHub(Library library, uint64_t process_uid);
    Result<void> rails_open(const FabricOptions& options);
    Result<void> wait_open();
    void caps_fill();
    void drain();
    Inbox* wire_find(uint64_t uid) const;
    Inbox* token_owner(uint32_t token) const { return token_owners_[token / token_block].load(); }

    Library library_;
    const uint64_t process_uid_;
    Caps caps_;
    uint64_t rail_window_ = 0;
    std::vector<std::unique_ptr<Rail>> rails_;
    Fd wait_;  // an epoll over the rails' descriptors
    std::unique_ptr<Service> service_;

    // Read by dispatchers under a rail's lock; wire_withdraw() takes every lock once, so no
    // dispatcher holds a pointer that has been cleared.
    std::vector<std::atomic<Inbox*>> wires_;
    std::vector<std::atomic<Inbox*>> token_owners_;

    std::mutex lock_;  // of tokens_ and wires_ever_
    TokenSpace tokens_;
    uint64_t wires_ever_ = 0;
    Processes processes_;
};

}  // namespace weft::fabric
