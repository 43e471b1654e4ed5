// A rail on a libfabric that says what it is told to, what the rail reports, and what its queue may
// say. Thread-bound to the test. Failure rule: what a test does not expect fails it.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/unit/transports/fake_machine.h"
#include "transports/fabric/rail.h"

namespace weft::test {

struct Heard final : fabric::RailEvents {
    void on_write(uint32_t imm) override { writes.push_back(imm); }
    void on_message(fabric::Rail&, fabric::BufferPtr, size_t bytes) override {
        messages.push_back(bytes);
    }
    void on_finished(fabric::Rail&, const fabric::TxOwner& owner, const Error* error) override {
        peers.push_back(owner.peer);
        errors.push_back(error != nullptr ? error->what : "");
    }
    std::vector<uint32_t> writes, peers;
    std::vector<size_t> messages;
    std::vector<std::string> errors;
};

// Told before it is opened.
struct RailWorld : FakeFabric {
    explicit RailWorld(const FakeInfo& info = {}, uint32_t version = FI_VERSION(2, 4))
        : FakeFabric(version) {
        world.infos = {info};
    }
    Result<std::unique_ptr<fabric::Rail>> opened() {
        auto rails = fabric::rails_choose(library, {});
        REQUIRE(rails.ok());
        return fabric::Rail::open(library, rails.value().front(), 0, {});
    }
    std::unique_ptr<fabric::Rail> rail() {
        auto rail = opened();
        REQUIRE(rail.ok());
        return std::move(rail).value();
    }
    std::string refused() {
        auto rail = opened();
        return rail.ok() ? std::string() : rail.error().what;
    }
    // The last value that an option was set to; none: it was not set.
    template <class T>
    std::optional<T> option(int wanted) const {
        std::optional<T> value;
        for (const FakeOption& one : world.options_set) {
            if (one.option == wanted && one.value.size() == sizeof(T)) {
                value.emplace();
                std::memcpy(&*value, one.value.data(), sizeof(T));
            }
        }
        return value;
    }
};

inline fi_cq_data_entry write_of_peer(void* context, uint32_t imm) {
    fi_cq_data_entry entry{};
    entry.op_context = context;
    entry.flags = FI_REMOTE_CQ_DATA | FI_RMA | FI_REMOTE_WRITE;
    entry.data = imm;
    return entry;
}

inline fi_cq_err_entry failed(void* context, uint64_t flags, int code) {
    fi_cq_err_entry entry{};
    entry.op_context = context;
    entry.flags = flags;
    entry.err = FI_EIO;
    entry.prov_errno = code;
    return entry;
}

}  // namespace weft::test
