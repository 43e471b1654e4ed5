// Calls on device memory of ranks on several hosts, as many on each: within a host by boards, as
// device_board.h has them, and between hosts by messages of the host engine, which a thread serves
// as it does for device_relay.h. What goes out to other hosts and comes in from them lies in *far*
// memory, pinned, which kernels of this rank alone read and write. The stages of a part, and what a
// slot holds when, are hosts_cut.h's.
//
// A part has the words of its slot as in device_board.h: every rank of the host waits for *left*
// once and tells *arrived*, waits for that, may do the same with *reduced*, and tells *left*. So
// what is shown there, that nobody stores a word that was not cleared, holds here. Far memory needs
// no words of its own: what is asked for is served in order, and a part goes into a slot when the
// one before is out.
//
// A stage that was stopped has asked for nothing: the thread looks whether it is stopped after it
// has read what is asked for. So no rank of another host takes what a rank left undone for data.
//
// Thread rule, lifetime: as device_streamed.h. Failure rule: Result; what kernels find: poll(); a
// failed exchange goes to `failed`, given to serve().
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "src/comm/board_set.h"
#include "src/comm/device_streamed.h"
#include "src/comm/hosts_order.h"
#include "src/comm/pinned_memory.h"
#include "src/comm/relay_desks.h"

namespace weft {

class DeviceHosts : public DeviceStreamed {
  public:
    // Hosts that exchange directly: as many inputs as one sum may have.
    static constexpr uint64_t line_max = gpu::device::sources_max;

    // `exported`: its board is for other processes too.
    static Result<std::shared_ptr<DeviceHosts>> create(std::shared_ptr<gpu::Seat> seat,
                                                       HostsShape shape, bool exported);
    ~DeviceHosts() override;

    std::optional<Error> poll(uint32_t) override { return boards_.poll(); }
    std::optional<uint64_t> standing(uint32_t) override;
    std::string waits_for(uint32_t) override;
    void serve(Shard& shard, std::function<void(const Error&)> failed) override;
    std::string way() const override;
    uint64_t copied_bytes() const override { return copied_bytes_; }
    BoardSet* boards() override { return &boards_; }
    Result<void> nics_reach(Wire& wire) override;
    void nics_use() override { by_nics_ = true; }
    void leave() override;

    // --- under the mutex, with the context current
    std::unique_ptr<Parts> parts(const std::vector<Call>& calls, const Lane& lane) override;
    uint64_t message_bytes(int32_t peer) const override;
    void graph_end(uint64_t graph) override;
    // `place`: of what the part has asked for and not yet waited for.
    Result<void> stage(const HostsOrder::Step& step, std::optional<uint32_t>& place,
                       const Lane& lane);
    void parts_over(const Lane& lane) { desks_.of(lane.number).launch_over(); }

  private:
    DeviceHosts(std::shared_ptr<gpu::Seat> seat, HostsShape shape);
    Result<void> allocate(bool exported);
    void streams_let_go() override;
    bool round() override;
    bool expects() const override { return desks_.expects(); }

    char* far(uint32_t slot) const;
    gpu::Address device_far(uint32_t slot) const;
    gpu::Address address(const HostsPart& part, const HostsPlace& place) const;
    gpu::device::BoardLaunch launch_of(const HostsPart& part) const;
    Result<void> exchanged_await(uint32_t place, const Lane& lane);
    HostsSizes sizes() const;
    Result<bool> words_await(const HostsPart& part, const HostsStage& stage,
                             gpu::device::BoardLaunch& launch, gpu::Stream stream);
    Result<void> sum(const HostsPart& part, const HostsSum& what, gpu::Stream stream);
    gpu::device::Move rows(const HostsPart& part, const HostsMove& move) const;
    Result<void> move(const HostsPart& part, std::span<const HostsMove> moves,
                      HostsStage::Tell tell, gpu::device::BoardLaunch launch, gpu::Stream stream);
    Result<void> tell(const HostsPart& part, const HostsStage& stage, gpu::Stream stream);
    std::vector<Call> calls_of(const HostsPart& part, const HostsStage& stage) const;

    const HostsShape shape_;
    BoardSet boards_;
    RelayDesks desks_;
    std::unique_ptr<PinnedMemory> memory_;  // the desk's words, then far memory of every slot
    // Far memory of the device, and its name as memory that stays registered.
    gpu::Address device_far_ = 0;
    uint64_t known_ = 0;
    bool by_nics_ = false;
    std::atomic<uint64_t> copied_bytes_{0};
};

}  // namespace weft
