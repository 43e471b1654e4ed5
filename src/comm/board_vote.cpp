// How ranks agree to use boards, when all have made theirs.
#include <thread>

#include "src/base/log.h"
#include "src/comm/device_build.h"
#include "src/comm/device_relay.h"
#include "src/comm/process.h"

namespace weft {

namespace {

class Vote : public std::enable_shared_from_this<Vote> {
  public:
    Vote(BoardVote vote, DeviceParts parts, StreamedMade done)
        : vote_(std::move(vote)), parts_(std::move(parts)), done_(std::move(done)) {}
    ~Vote() { parts_.release(); }
    Vote(const Vote&) = delete;
    Vote& operator=(const Vote&) = delete;

    void begin() {
        on_thread([self = shared_from_this()] { self->reach_all(); });
    }

  private:
    // Work that calls CUDA; what it returns to comes on the service thread.
    static void on_thread(std::function<void()> work) { std::thread(std::move(work)).detach(); }
    std::shared_ptr<Communicator> initialising() const {
        auto comm = vote_.comm.lock();
        return comm && comm->state() == CommState::initialising ? comm : nullptr;
    }

    Result<void> reach() {
        const gpu::RelaxedCapture relaxed(parts_.board->seat(0).driver());
        std::vector<BoardPeer> peers;
        for (int32_t rank = 0; rank < vote_.at.rank_count; rank++) {
            const auto memory =
                Process::get().boards().find(vote_.at.group, static_cast<uint32_t>(rank));
            if (memory == nullptr) {
                return make_error(
                    Code::internal, Scope::communicator,
                    format("%s has no board here", vote_.names[static_cast<size_t>(rank)].c_str()));
            }
            peers.push_back(TRY(parts_.board->reach(memory)));
        }
        parts_.board->connect(std::move(peers), vote_.names);
        return {};
    }

    void reach_all() {
        if (parts_.board != nullptr) {
            const Result<void> reached = reach();
            parts_.why = reached.ok() ? "" : reached.error().what;
        }
        Process::get().reactor().post([self = shared_from_this()] { self->tell(); });
    }

    void tell() {
        if (const auto comm = initialising()) {
            comm->group()->all_gather(
                parts_.why, [self = shared_from_this()](Result<std::vector<std::string>> whys) {
                    self->told(std::move(whys));
                });
        }
    }

    void told(Result<std::vector<std::string>> whys) {
        const auto comm = initialising();
        if (!comm) {
            return;
        }
        if (!whys.ok()) {
            comm->fail(whys.error(), true);
            return;
        }
        for (size_t rank = 0; rank < whys.value().size(); rank++) {
            if (const std::string& why = whys.value()[rank]; !why.empty()) {
                if (vote_.at.rank == 0) {
                    LOG(info, init, "calls on device memory go by way of host memory: %s: %s",
                        vote_.names[rank].c_str(), why.c_str());
                }
                on_thread([self = shared_from_this()] { self->relay_make(); });
                return;
            }
        }
        done_(std::shared_ptr<DeviceStreamed>(std::exchange(parts_.board, nullptr)));
    }

    // The board goes first: its memory is room for the relay's.
    void relay_make() {
        device_release(std::move(parts_.board), true);
        DeviceSeat at = vote_.at;
        at.way = DeviceWay::relay;
        device_parts_make(at, [self = shared_from_this()](Result<DeviceParts> made) {
            if (!made.ok()) {
                self->done_(std::move(made).error());
            } else if (self->initialising()) {
                self->done_(std::move(made.value().relay));
            } else {
                made.value().release();
            }
        });
    }

    const BoardVote vote_;
    DeviceParts parts_;
    const StreamedMade done_;
};

}  // namespace

void board_vote(BoardVote vote, DeviceParts parts, StreamedMade done) {
    // Shared: between the steps.
    std::make_shared<Vote>(std::move(vote), std::move(parts), std::move(done))->begin();
}

}  // namespace weft
