// The two sides of a meeting on the fabric: what transports/meeting.h promises, by the hub's
// introductions.
#pragma once

#include <memory>
#include <vector>

#include "transports/fabric/hub.h"
#include "transports/fabric/presence.h"
#include "transports/meeting.h"

namespace weft::fabric {

class FabricListener final : public Listener {
  public:
    FabricListener(FabricHub& hub, const MeetConfig& config, const std::vector<Rail*>& ridden);
    ~FabricListener() override { hub_.introductions().port_close(port_); }
    FabricListener(const FabricListener&) = delete;
    FabricListener& operator=(const FabricListener&) = delete;
    const MeetingHandle& handle() const override { return handle_; }
    Result<std::optional<Met>> accept(Doorbell* doorbell) override;

  private:
    bool agrees(const Introductions::Caller& caller);

    FabricHub& hub_;
    const std::vector<uint32_t> rails_;  // as WireConfig has them
    const bool shares_memory_;
    const uint64_t port_;
    MeetingHandle handle_{};
};

class FabricCall final : public PeerCall {
  public:
    static Result<std::unique_ptr<PeerCall>> make(FabricHub& hub, const MeetConfig& config,
                                                  std::vector<Rail*> ridden,
                                                  const MeetingHandle& handle);
    ~FabricCall() override;
    FabricCall(const FabricCall&) = delete;
    FabricCall& operator=(const FabricCall&) = delete;
    Result<std::optional<Met>> advance(Nanos now) override;

  private:
    FabricCall(FabricHub& hub, PortAddress handle, std::vector<Rail*> ridden, Nanos patience);
    // An endpoint of the listener's that it can be asked at.
    struct Door {
        Fd process;  // where the operating system says when that ends
        Knock knock;
    };
    void ask(Nanos now);
    void knock();
    bool nobody();
    Error deserted();
    Result<std::optional<Met>> replied(const Introductions::Reply& reply);
    Error unanswered();

    FabricHub& hub_;
    const PortAddress listener_;
    const std::vector<Rail*> ridden_;
    const Nanos patience_;
    const uint64_t port_;
    const uint64_t group_;
    std::unique_ptr<Wire> wire_;
    bool over_ = false;
    std::vector<Door> doors_;
    size_t asked_ = 0;    // so often
    size_t unheard_ = 0;  // so often since something was heard
    Nanos ask_again_ = 0;
    Nanos ask_wait_ = 0;
    Nanos heard_ = 0;
};

}  // namespace weft::fabric
