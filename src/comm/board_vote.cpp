// How ranks agree to use boards, when all have made theirs.
#include <algorithm>

#include "src/base/bytes.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/settings.h"
#include "src/base/thread.h"
#include "src/comm/board_set.h"
#include "src/comm/device_build.h"
#include "src/comm/device_relay.h"
#include "src/comm/process.h"

namespace weft {

namespace {

constexpr size_t why_limit = 1024;

// Work that calls CUDA goes aside; what it returns to comes on the service thread.
class Vote : public std::enable_shared_from_this<Vote> {
  public:
    Vote(BoardVote vote, DeviceParts parts, StreamedMade done)
        : vote_(std::move(vote)),
          parts_(std::move(parts)),
          no_nics_(vote_.nics.ok() ? "" : vote_.nics.error().what),
          done_(std::move(done)) {}
    ~Vote() { parts_.release(); }
    Vote(const Vote&) = delete;
    Vote& operator=(const Vote&) = delete;

    void begin() {
        if (parts_.board == nullptr) {
            LOG(info, init, "%s has no board: %s",
                vote_.names[static_cast<size_t>(vote_.at.rank)].c_str(), parts_.why.c_str());
        }
        thread_aside([self = shared_from_this()] { self->reach_all(); });
    }

  private:
    std::shared_ptr<Communicator> initialising() const {
        auto comm = vote_.comm.lock();
        return comm && comm->state() == CommState::initialising ? comm : nullptr;
    }

    Result<BoardPeer> reach_one(int32_t rank) {
        const auto place = static_cast<size_t>(rank);
        if (rank != vote_.at.rank && !vote_.notes[place].empty()) {
            return parts_.board->boards()->reach(
                vote_.notes[place], clock_now() + settings().init_timeout_s * nanos_per_s);
        }
        const auto memory =
            Process::get().boards().find(vote_.at.group, static_cast<uint32_t>(rank));
        if (memory == nullptr) {
            return make_error(Code::unsupported, Scope::communicator,
                              vote_.names[place] + " has no board");
        }
        return parts_.board->boards()->reach(memory);
    }

    Result<void> reach() {
        const gpu::RelaxedCapture relaxed(parts_.board->seat(0).driver());
        std::vector<BoardPeer> peers;
        std::vector<std::string> names;
        for (const int32_t rank : vote_.at.board_ranks()) {
            peers.push_back(TRY(reach_one(rank)));
            names.push_back(vote_.names[static_cast<size_t>(rank)]);
        }
        parts_.board->boards()->connect(std::move(peers), std::move(names));
        if (vote_.nics.ok()) {
            const Result<void> reached = parts_.board->nics_reach(*vote_.nics.value());
            no_nics_ = reached.ok() ? "" : reached.error().what;
        }
        return {};
    }

    void reach_all() {
        if (parts_.board != nullptr) {
            const Result<void> reached = reach();
            parts_.why = reached.ok() ? "" : reached.error().what;
        }
        tell(&Vote::voted);
    }

    // What ranks say against it, by rank: nothing, or why not.
    struct Whys {
        std::vector<std::string> why, no_nics;
    };
    static Result<Whys> whys_read(const std::vector<std::string>& blobs) {
        Whys whys;
        for (const std::string& blob : blobs) {
            ByteReader in(blob);
            whys.why.emplace_back(TRY(in.text(why_limit)));
            whys.no_nics.emplace_back(TRY(in.text(why_limit)));
        }
        return whys;
    }

    // No rank goes on before all are through with calls that may wait for the device.
    using Told = void (Vote::*)(const std::shared_ptr<Communicator>&, const Whys&);
    void tell(Told told) {
        Process::get().reactor().post([self = shared_from_this(), told] {
            if (const auto comm = self->initialising()) {
                comm->group()->all_gather(ByteWriter()
                                              .text(self->parts_.why.substr(0, why_limit))
                                              .text(self->no_nics_.substr(0, why_limit))
                                              .take(),
                                          [self, told](Result<std::vector<std::string>> blobs) {
                                              self->heard(told, std::move(blobs));
                                          });
            }
        });
    }

    void heard(Told told, Result<std::vector<std::string>> blobs) {
        const auto held = initialising();
        if (!held) {
            return;
        }
        const Result<Whys> whys =
            blobs.ok() ? whys_read(blobs.value()) : Result<Whys>(std::move(blobs).error());
        if (whys.ok()) {
            (this->*told)(held, whys.value());
        } else {
            held->fail(whys.error(), true);
        }
    }

    // The first rank that says why, and whether one does.
    static size_t first_why(const std::vector<std::string>& whys) {
        return static_cast<size_t>(
            std::ranges::find_if(whys, [](const std::string& why) { return !why.empty(); }) -
            whys.begin());
    }

    void nics_voted(const std::vector<std::string>& whys) {
        const size_t rank = first_why(whys);
        if (rank == whys.size()) {
            parts_.board->nics_use();
        } else if (vote_.at.rank == 0 && vote_.at.way == DeviceWay::hosts) {
            LOG(info, init, "NICs do not move device memory: %s: %s", vote_.names[rank].c_str(),
                whys[rank].c_str());
        }
    }

    void voted(const std::shared_ptr<Communicator>&, const Whys& all) {
        const std::vector<std::string>& whys = all.why;
        const size_t rank = first_why(whys);
        if (rank == whys.size()) {
            nics_voted(all.no_nics);
            done_(std::shared_ptr<DeviceStreamed>(std::exchange(parts_.board, nullptr)));
            return;
        }
        if (vote_.at.rank == 0) {
            LOG(info, init, "calls on device memory go by way of host memory: %s: %s",
                vote_.names[rank].c_str(), whys[rank].c_str());
        }
        thread_aside([self = shared_from_this()] { self->relay_make(); });
    }

    Result<std::shared_ptr<DeviceStreamed>> relay_create() {
        const gpu::Driver* const driver = TRY(Process::get().cuda());
        const gpu::RelaxedCapture relaxed(*driver);
        std::shared_ptr<gpu::Seat> seat = TRY(Process::get().seat(vote_.at.device));
        return std::shared_ptr<DeviceStreamed>(
            TRY(DeviceRelay::create(std::move(seat), vote_.at.rank, vote_.at.rank_count)));
    }

    void relay_make() {
        Result<std::shared_ptr<DeviceStreamed>> made = relay_create();
        parts_.why = made.ok() ? "" : made.error().what;
        parts_.relay = made.ok() ? std::move(made).value() : nullptr;
        device_release(std::move(parts_.board), true);
        tell(&Vote::relays_made);
    }

    void relays_made(const std::shared_ptr<Communicator>& comm, const Whys& all) {
        const std::vector<std::string>& whys = all.why;
        const size_t rank = first_why(whys);
        if (rank == whys.size()) {
            done_(std::exchange(parts_.relay, nullptr));
        } else {
            comm->fail(make_error(Code::unsupported, Scope::communicator,
                                  vote_.names[rank] + ": " + whys[rank]),
                       false);
        }
    }

    const BoardVote vote_;
    DeviceParts parts_;
    std::string no_nics_;
    const StreamedMade done_;
};

}  // namespace

void board_vote(BoardVote vote, DeviceParts parts, StreamedMade done) {
    // Shared: between the steps.
    std::make_shared<Vote>(std::move(vote), std::move(parts), std::move(done))->begin();
}

}  // namespace weft
