// What the fabric wires of one process share: rails, the token space, the addresses of remote
// processes, and the service that keeps peers served while the owners of wires compute.
// Thread-safe. Lifetime: reactor before hub before wires. Failure rule: construction says in one
// line what is missing.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "transports/fabric/inbox.h"
#include "transports/fabric/introductions.h"
#include "transports/fabric/memory_cache.h"
#include "transports/fabric/processes.h"
#include "transports/fabric/rail.h"
#include "transports/fabric/tokens.h"
#include "transports/fabric/wait_set.h"
#include "transports/hubs.h"

namespace weft::fabric {

class Service;

// Of one process: the NICs of all its ranks, a host's at most.
inline constexpr size_t process_rails_max = 64;

class FabricHub final : public WireHub {
  public:
    static Result<std::unique_ptr<FabricHub>> open(Reactor& reactor, const FabricOptions& options);
    ~FabricHub() override;
    Result<std::unique_ptr<Wire>> attach(const WireConfig& config) override;
    std::string describe() const override;
    std::vector<std::string> nics() const override { return nics_; }
    std::vector<RailInfo> rails_info() const override;
    uint64_t grant_bytes_max() const override { return caps_.grant_bytes_max; }
    Result<std::unique_ptr<KeptMemory>> keep(const MemoryRequest& memory,
                                             const std::vector<uint32_t>& rails) override;
    std::string features() const override;
    std::string concern() const override { return concern_; }
    Result<std::unique_ptr<Listener>> listen(const MeetConfig& config) override;
    Result<std::unique_ptr<PeerCall>> call(const MeetConfig& config,
                                           const MeetingHandle& handle) override;
    void process_ends() override;

    // For wires.
    // Those opened so far. Their number grows, what is there stays.
    std::span<const std::unique_ptr<Rail>> rails() const {
        return {rails_.data(), rail_count_.load(std::memory_order_acquire)};
    }
    uint64_t process_uid() const { return process_uid_; }
    const Caps& caps() const { return caps_; }
    const WindowSpan& rail_window() const { return rail_window_; }
    Nanos reach_limit() const { return reach_limit_; }
    Result<uint64_t> wire_uid_reserve();
    void wire_publish(Inbox& inbox);
    // After return no dispatcher knows the inbox and its transmissions end without a report.
    void wire_withdraw(Inbox& inbox);
    Result<uint32_t> tokens_reserve(Inbox& inbox, uint32_t count);
    void tokens_release(uint32_t first, uint32_t count);
    Processes& processes() { return processes_; }
    MemoryCache& memory() { return memory_; }
    // What wires of these rails that share their registrations have in common; the hub's.
    MemoryCache::User& memory_shared(const std::vector<Rail*>& rails);
    PieceCredits& pieces() { return pieces_; }

    // Gives the rail up and opens it again; wires that ride it tell their peers. After return
    // nothing lands that was under way. An error: the rail cannot be closed.
    Result<void> rail_renew(Rail& rail, const std::string& why);
    // The same for the rails on which something of the wire to `peer` is under way, by whoever
    // polls next; any thread, with a rail's lock or without.
    void sever_later(uint64_t wire, uint32_t peer);

    // Polls the rails nobody else is polling. `self` needs no ring. Returns completions found.
    int poll(const Inbox* self);
    bool may_sleep();  // false: poll first
    bool unfinished() const;
    int wait_fd() const { return waits_.fd(); }
    WaitSet& waits() { return waits_; }
    Service& service() { return *service_; }
    Introductions& introductions() { return introductions_; }

  private:
    class Dispatch;
    FabricHub(Reactor& reactor, Library library, uint64_t process_uid,
              const FabricOptions& options);
    Result<void> rails_open(const FabricOptions& options);
    Result<std::vector<Rail*>> rails_for(const std::vector<uint32_t>& wanted);
    Result<Rail*> rail_open(size_t choice);
    void nics_sort();
    void caps_fill(const FabricOptions& options);
    void drain();
    Result<void> rail_renew_locked(Rail& rail, const std::string& why);
    void severs_run();
    void rail_broken(Rail& rail);
    bool ended_for_me() const;
    Inbox* wire_find(uint64_t uid) const;
    Inbox* token_owner(uint32_t token) const { return token_owners_[token / token_block].load(); }

    Reactor& reactor_;
    Library library_;
    const uint64_t process_uid_;
    const FabricLimits limits_;
    const Nanos reach_limit_;
    Caps caps_;
    WindowSpan rail_window_;
    PieceCredits pieces_;
    std::vector<RailChoice> choices_;  // fixed after open()
    std::vector<std::string> nics_;    // their PCI addresses, or empty
    std::string concern_;              // written until the first rail is open

    std::mutex open_lock_;  // of opened_, of adding to rails_, and of what starts with the first
    std::vector<Rail*> opened_;  // by choice, null: not yet
    std::array<std::unique_ptr<Rail>, process_rails_max> rails_;
    std::atomic<size_t> rail_count_{0};
    MemoryCache memory_;
    std::mutex shared_lock_;  // of the list; taken without others
    std::vector<std::unique_ptr<MemoryCache::User>> shared_;
    WaitSet waits_;                     // whether it has a descriptor is known with the first
    std::unique_ptr<Service> service_;  // from the first rail on

    // Read by dispatchers under a rail's lock; wire_withdraw() takes every lock once, so no
    // dispatcher holds a pointer that has been cleared.
    std::vector<std::atomic<Inbox*>> wires_;
    std::vector<std::atomic<Inbox*>> token_owners_;

    std::atomic<bool> ending_{false};  // the process ends, on ender_
    std::thread::id ender_;            // written before ending_

    std::mutex lock_;  // of tokens_, wires_ever_ and severs_; taken last
    std::vector<std::pair<uint64_t, uint32_t>> severs_;  // wire, peer
    std::atomic<bool> severs_waiting_{false};
    TokenSpace tokens_;
    uint64_t wires_ever_ = 0;
    Processes processes_;
    Introductions introductions_{*this};
};

}  // namespace weft::fabric
