// The sending side: sends wait here until there is a slot or a grant for them. What is common to
// both sides is said in connection.h.
#pragma once

#include <array>
#include <vector>

#include "src/netplugin/connection.h"

namespace weft::netplugin {

class SendComm final : public Connection {
  public:
    SendComm(std::shared_ptr<Shared> shared, const Device& device, Met met);
    ~SendComm() override;

    bool sends() const override { return true; }
    // Null: as many are under way as may be.
    Result<Request*> isend(const Buffer& from, int tag);
    Result<bool> test(Request& request, int* sizes) override;

  private:
    struct Send : Request {
        enum class State : uint8_t { queued, put, done };
        State state = State::queued;
        Buffer from;
        Label label;
        Region region;
        uint32_t rounds = 0;  // of waiting
        bool wanted = false;  // said so
        bool delivered = false, told = false;
        bool owes_size = false;
    };

    bool start_by_slot(Send& send);
    void start_by_grant(Send& send, const GrantBody& grant);
    void put(Send& send, const GrantBody& grant);
    void size_tell(Send& send);
    void finish(Send& send);
    void waited(Send& send);
    Send* queued(Label label);
    void work() override;
    void on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) override;
    void room_heard(const MsgHeader& header, const std::byte* payload);
    void on_grant_filled(uint64_t) override {}  // nothing is granted to a receiver
    void on_put_delivered(uint64_t cookie) override;

    std::array<Send, buffers_max> sends_;
    std::vector<uint32_t> free_;
    std::vector<uint32_t> queue_;   // waiting for a slot or a grant, oldest first
    std::vector<uint32_t> untold_;  // whose size is to be told
    TagOrder order_;
    LabelTable<GrantBody, buffers_max> grants_;  // that came before their sends
};

}  // namespace weft::netplugin
