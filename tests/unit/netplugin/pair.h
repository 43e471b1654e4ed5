// Both sides of a connection in one thread, over any two wires: sends and receives are posted by
// hand and driven until they are done.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/netplugin/recv_comm.h"
#include "src/netplugin/send_comm.h"
#include "tests/catch.h"
#include "transports/doorbell.h"

namespace weft::test {

using netplugin::Buffer;
using netplugin::Device;
using netplugin::RecvComm;
using netplugin::Request;
using netplugin::SendComm;
using netplugin::Shared;

inline Buffer buffer_of(std::string& text) {
    return {reinterpret_cast<std::byte*>(text.data()), text.size(), true};
}

inline std::string filled(size_t bytes, uint64_t seed) {
    std::string text(bytes, '\0');
    for (size_t i = 0; i < bytes; i++) {
        text[i] = static_cast<char>((i + 11) * (seed * 2 + 1) * 2654435761u >> 24);
    }
    return text;
}

struct Connected {
    // Over loopback, perhaps a bad one.
    explicit Connected(const std::string& fault = "")
        : shared(std::make_shared<Shared>(nullptr, loopback_hub_make())) {
        device.name = "lo";
        std::vector<Met> met(2);
        for (uint32_t rank = 0; rank < 2; rank++) {
            bells.push_back(std::make_unique<Doorbell>(Doorbell::create().value()));
            met[rank].wire = shared->hub->attach({77, rank, 2, bells.back().get(), {}}).value();
        }
        for (uint32_t rank = 0; rank < 2; rank++) {
            met[rank].peer = 1 - rank;
            met[rank].address = met[1 - rank].wire->address();
            met[rank].name = "the other side";
        }
        for (Met& each : met) {
            if (!fault.empty()) {
                each.wire = fault_wrap(std::move(each.wire), fault_parse(fault).value());
            }
        }
        begin(std::move(met[0]), std::move(met[1]));
    }
    Connected(std::shared_ptr<Shared> made, const Device& on, Met sends, Met receives)
        : shared(std::move(made)), device(on) {
        begin(std::move(sends), std::move(receives));
    }

    void begin(Met sends, Met receives) {
        send = std::make_unique<SendComm>(shared, device, std::move(sends));
        recv = std::make_unique<RecvComm>(shared, device, std::move(receives));
        REQUIRE(send->begin().ok());
        REQUIRE(recv->begin().ok());
        REQUIRE(until([&] { return send->up() && recv->up(); }));
    }

    // False: not within a number of rounds that is ample.
    bool until(const std::function<bool()>& holds, int rounds = 2'000'000) {
        for (; rounds > 0 && !holds(); rounds--) {
            static_cast<void>(send->drive());
            static_cast<void>(recv->drive());
        }
        return rounds > 0;
    }

    Request* isend(std::string& text, int tag) {
        return value_of(send->isend(buffer_of(text), tag));
    }
    Request* irecv(std::string& room, int tag) {
        const Buffer into = buffer_of(room);
        return value_of(recv->irecv({&into, 1}, &tag));
    }
    template <class T>
    static T value_of(Result<T> result) {
        if (!result.ok()) {
            FAIL(result.error().what);
        }
        return std::move(result).value();
    }
    // The sizes that test() reports.
    std::vector<int> end_of(Request* request, size_t count = 1) {
        std::vector<int> sizes(count, -1);
        bool done = false;
        REQUIRE(until([&] {
            done = done || value_of(request->owner->test(*request, sizes.data()));
            return done;
        }));
        return sizes;
    }

    std::vector<std::unique_ptr<Doorbell>> bells;
    std::shared_ptr<Shared> shared;
    Device device;
    std::unique_ptr<SendComm> send;
    std::unique_ptr<RecvComm> recv;
};

// The two sides of a connection that met by a handle, as the plugin makes them.
inline std::unique_ptr<Connected> connected_over(std::shared_ptr<Shared> shared,
                                                 const Device& device) {
    MeetConfig config;
    config.shares_memory = true;
    const auto listener = std::move(shared->hub->listen(config)).value();
    const auto call = std::move(shared->hub->call(config, listener->handle())).value();
    std::optional<Met> called, accepted;
    const Nanos limit = clock_now() + 20 * nanos_per_s;
    while (!(called && accepted) && clock_now() < limit) {
        if (!called) {
            called = std::move(call->advance(clock_now())).value();
        }
        if (!accepted) {
            accepted = std::move(listener->accept(nullptr)).value();
        }
    }
    REQUIRE((called && accepted));
    CHECK_FALSE(accepted->name.empty());
    return std::make_unique<Connected>(std::move(shared), device, *std::move(called),
                                       *std::move(accepted));
}

}  // namespace weft::test
