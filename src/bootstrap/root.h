// The root of a rendezvous: collects the ranks of one communicator after the other, in the process
// that made the unique id, and sends everybody the roster. It does not care whether a rank is in
// its own process or elsewhere. Thread rule: thread-bound to the Net's thread. Failure rule: what
// is wrong with one rank fails all of them, with the same line.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "src/bootstrap/net.h"
#include "src/bootstrap/wire.h"

namespace weft {

class RootClient {
  public:
    virtual ~RootClient() = default;
    virtual void root_send(uint64_t process_nonce, const Message& message) = 0;
    // From the first rank of a process on until its round is over.
    virtual void root_hold(uint64_t process_nonce) = 0;
    virtual void root_release(uint64_t process_nonce) = 0;
};

class Root {
  public:
    // `reusable`: a round that failed is forgotten when rank 0 joins again (NCCL_COMM_ID). A unique
    // id stays failed, so that a rank that comes late hears why.
    Root(Net& net, RootClient& client, bool reusable)
        : net_(net), client_(client), reusable_(reusable) {}
    ~Root();
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;

    void join(const ProcessInfo& from, const JoinMessage& message);
    void cancel(uint64_t process_nonce, const CancelMessage& message);
    void process_lost(uint64_t process_nonce, const std::string& why);
    bool collecting() const { return !processes_.empty(); }
    bool failed() const { return failed_.has_value(); }

  private:
    struct Entry {
        uint64_t process_nonce = 0;
        std::string info;
    };
    std::optional<std::string> wrong_with(const ProcessInfo& from,
                                          const JoinMessage& message) const;
    std::string name_of(int32_t rank) const;
    std::string missing_text() const;
    void missing_tell();
    void report();
    void complete();
    void fail(Code code, const std::string& text);
    void reset();

    Net& net_;  // both owned by the hub
    RootClient& client_;
    bool reusable_;
    int32_t rank_count_ = 0;
    int32_t first_rank_ = 0;  // whose rank_count_ it is
    std::map<int32_t, Entry> entries_;
    std::map<uint64_t, ProcessInfo> processes_;
    std::optional<FailMessage> failed_;
    Nanos started_ = 0;
    Net::Timer timer_ = 0;
};

}  // namespace weft
