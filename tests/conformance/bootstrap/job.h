// A job for tests of the control plane: hubs on loopback that stand for processes, ranks spread
// over them, and calls that all ranks make together, each waited for.
//
// Thread rule: thread-bound to the test; only Box takes what service threads bring. Failure rule:
// what does not come within `patience`, or fails, fails the test.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "src/base/reactor.h"
#include "src/base/settings.h"
#include "src/bootstrap/control.h"
#include "tests/catch.h"

namespace weft::control_test {

inline constexpr auto patience = std::chrono::seconds(30);

// Collects what comes from service threads.
template <class T>
class Box {
  public:
    void put(T value) {
        const std::lock_guard lock(mutex_);
        items_.push_back(std::move(value));
        changed_.notify_all();
    }
    // Waits until there are `count`, and takes them all.
    std::vector<T> take(size_t count) {
        std::unique_lock lock(mutex_);
        const bool came = changed_.wait_for(lock, patience, [&] { return items_.size() >= count; });
        if (!came) {
            FAIL("waited for " << count << ", got " << items_.size());
        }
        return std::exchange(items_, {});
    }
    size_t size() {
        const std::lock_guard lock(mutex_);
        return items_.size();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<T> items_;
};

inline Settings loopback_settings() {
    Settings settings;
    settings.socket_ifname = "lo";
    settings.socket_family = "AF_INET";
    return settings;
}

// A control hub with a reactor of its own: as separate from the others as one of another process.
struct Process {
    explicit Process(const Settings& settings = loopback_settings())
        : reactor(reactor_make()), hub(control_hub_make(*reactor, settings)) {}
    std::unique_ptr<Reactor> reactor;
    std::unique_ptr<ControlHub> hub;
};

using Group = std::unique_ptr<ControlGroup>;

// Members in this order: groups go before the hubs they belong to.
struct Job {
    std::vector<std::unique_ptr<Process>> processes;
    std::vector<Group> groups;  // by rank

    Process& process_of(int rank) {
        return *processes[static_cast<size_t>(rank) % processes.size()];
    }
};

inline std::string info_of(int rank) {
    return "info " + std::to_string(rank);
}

inline Job job_make(int ranks, int processes, const Settings& settings = loopback_settings()) {
    Job job;
    for (int i = 0; i < processes; ++i) {
        job.processes.push_back(std::make_unique<Process>(settings));
    }
    auto id = job.processes[0]->hub->unique_id_make();
    REQUIRE(id.ok());
    auto box = std::make_shared<Box<Result<Group>>>();
    for (int rank = 0; rank < ranks; ++rank) {
        JoinRequest request;
        request.id = id.value();
        request.rank = rank;
        request.rank_count = ranks;
        request.info = info_of(rank);
        const auto joined = job.process_of(rank).hub->join(
            request, [box](Result<Group> group) { box->put(std::move(group)); });
        REQUIRE(joined.ok());
    }
    job.groups.resize(static_cast<size_t>(ranks));
    for (auto& group : box->take(static_cast<size_t>(ranks))) {
        INFO((group.ok() ? "" : group.error().what));
        REQUIRE(group.ok());
        const auto rank = static_cast<size_t>(group.value()->rank());
        job.groups[rank] = std::move(group).value();
    }
    return job;
}

using Gathered = Result<std::vector<std::string>>;

inline std::vector<Gathered> gather_all(std::vector<Group>& groups, const std::string& word) {
    Box<Gathered> box;
    for (auto& group : groups) {
        group->all_gather(word + std::to_string(group->rank()),
                          [&](Gathered result) { box.put(std::move(result)); });
    }
    return box.take(groups.size());
}

inline void check_group(std::vector<Group>& groups, const std::string& word) {
    for (const auto& result : gather_all(groups, word)) {
        REQUIRE(result.ok());
        REQUIRE(result.value().size() == groups.size());
        for (size_t rank = 0; rank < groups.size(); ++rank) {
            CHECK(result.value()[rank] == word + std::to_string(rank));
        }
    }
}

inline std::vector<Group> derive_all(Job& job, const std::vector<int32_t>& members, uint64_t tag) {
    Box<Result<Group>> box;
    for (const int32_t rank : members) {
        job.groups[static_cast<size_t>(rank)]->derive(
            members, tag, "child of " + std::to_string(rank),
            [&](Result<Group> group) { box.put(std::move(group)); });
    }
    std::vector<Group> children(members.size());
    for (auto& group : box.take(members.size())) {
        INFO((group.ok() ? "" : group.error().what));
        REQUIRE(group.ok());
        const auto rank = static_cast<size_t>(group.value()->rank());
        children[rank] = std::move(group).value();
    }
    return children;
}

}  // namespace weft::control_test
