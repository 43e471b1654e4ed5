// The receiving side: buffers wait here for their messages, and messages in their slots for their
// buffers. What is common to both sides is said in connection.h.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <span>
#include <vector>

#include "src/netplugin/connection.h"

namespace weft::netplugin {

class RecvComm final : public Connection {
  public:
    RecvComm(std::shared_ptr<Shared> shared, const Device& device, Met met);
    ~RecvComm() override;

    bool sends() const override { return false; }
    // Null: as many are under way as may be.
    Result<Request*> irecv(std::span<const Buffer> into, const int* tags);
    Result<bool> test(Request& request, int* sizes) override;
    void memory_ends(const std::byte* base, size_t bytes) override;
    // Lets a GPU see what these have received. Null: nothing of them is a GPU's.
    Result<Request*> iflush(std::span<const Buffer> received);

  private:
    struct Room {
        enum class State : uint8_t {
            free,
            posted,   // a message would do
            wanting,  // in the queue for a grant
            granted,  // told or not
            done,
        };
        State state = State::free;
        Buffer into;
        Label label;
        uint64_t got = 0;
        bool sized = false;  // `got` is known
        Region region;
        bool open = false;  // `grant` stands for it
        GrantBody grant;
    };
    struct Receive : Request {
        uint32_t count = 0, left = 0;
    };
    struct Flush : Request {
        struct Part {
            Region region;
            size_t bytes = 0;
            bool posted = false;
        };
        std::array<Part, receives_max> parts;
        size_t count = 0;
    };
    struct Held {  // a message in its slot
        SlotRef slot;
        const std::byte* payload = nullptr;
        uint32_t bytes = 0;
    };

    void post(uint32_t id, const Buffer& into, Label label);
    void deliver(Room& room, const std::byte* payload, uint32_t bytes);
    void want(Room& room);
    bool grant(Room& room);  // false: not now
    bool open(Room& room);   // likewise
    void land(Room& room, const std::byte* payload, uint32_t bytes);
    bool landed(Room& room);  // false: not now
    std::byte* landing_of(const Room& room) const;
    Result<bool> flush_post(Flush& flush);
    Result<bool> flush_test(Flush& flush);
    void flush_end(Flush& flush);
    void refuse(Label label, uint64_t bytes, uint64_t room);
    void finish(Room& room, uint64_t bytes);
    void cut();
    Room* waiting_for(Label label);
    uint32_t id_of(const Room& room) const { return static_cast<uint32_t>(&room - rooms_.data()); }
    void work() override;
    void on_message(const MsgHeader& header, const std::byte* payload, SlotRef slot) override;
    bool data_heard(const MsgHeader& header, const std::byte* payload, SlotRef slot);
    void size_heard(const MsgHeader& header);
    void want_heard(const MsgHeader& header);
    void on_grant_filled(uint64_t cookie) override;
    void on_put_delivered(uint64_t) override {}  // a receiver puts nothing

    std::array<Receive, buffers_max / receives_max> receives_;
    std::array<Room, buffers_max> rooms_;  // receives_max for each
    // Where the sender may put to, by room; any thread looks.
    std::array<std::atomic<const std::byte*>, buffers_max> exposed_{};
    std::vector<uint32_t> free_;     // of receives_
    std::vector<uint32_t> waiting_;  // rooms that are not done, oldest first
    std::vector<uint32_t> wanting_;  // of those, to be granted, oldest first
    // Of those, whose message is here, and is put by this side into a GPU's memory.
    std::vector<uint32_t> landing_;
    // Where it is put from, eager_bytes_ for each room; made for the first.
    std::unique_ptr<std::byte[]> landings_;
    Region landings_region_;
    std::deque<Flush> flushes_;  // they stay where they are
    TagOrder order_;
    LabelTable<Held, slots> held_;              // that came before their buffers
    LabelTable<uint64_t, buffers_max> wanted_;  // likewise: bytes
};

}  // namespace weft::netplugin
