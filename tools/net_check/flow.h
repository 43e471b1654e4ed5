// Messages over a connection, as NCCL's proxy moves them: some are posted ahead, the oldest is
// tested, a null request is tried again. Every byte is made from a seed that both ends know, and
// compared; so are the bytes around it. Thread rule: prepare, release and finish on the checking
// thread, step on one progress thread at a time. Failure rule: the first clause that does not hold.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "tools/net_check/bench.h"

namespace weft::netcheck {

// Page-aligned, every byte as no message has it in that place.
class Memory {
  public:
    explicit Memory(size_t bytes);
    std::span<uint8_t> span() const { return {bytes_.get(), size_}; }

  private:
    struct Free {
        void operator()(uint8_t* at) const;
    };
    size_t size_;
    std::unique_ptr<uint8_t, Free> bytes_;
};
void pattern_write(std::span<uint8_t> bytes, uint64_t seed);
Result<void> pattern_check(std::span<const uint8_t> bytes, uint64_t seed);
Result<void> untouched_check(std::span<const uint8_t> bytes);

struct Item {
    size_t size = 0;
    size_t room = 0;  // what the receiver has; at least size
    int tag = 0;
    size_t skew = 0;  // bytes off a multiple of 64
};
using Group = std::vector<Item>;  // received by one irecv
Group single(size_t size);

// What both ends are to do.
struct Transfer {
    std::vector<Group> groups;
    int window = 8;         // irecvs under way; that many groups of isends
    bool hint = false;      // offer that completion is optional
    bool sizes = true;      // ask test for them
    bool reversed = false;  // a group is sent from its last member to its first
    bool flush = false;     // every group, when it has come
    bool endless = false;   // the groups again and again, with other bytes, until rounds_set
    size_t behind = 0;      // bytes after the last message that must stay as they are
    uint64_t seed = 1;
};

class Flow {
  public:
    Flow(Bench& bench, Lines& lines, size_t line, Transfer transfer);
    Result<void> prepare();                     // memory, registration on the service thread
    Result<bool> step(bool post_only = false);  // whether anything happened
    bool done() const { return finished_ == target_; }
    size_t posted() const { return posted_; }
    size_t finished() const { return finished_; }
    // An endless one ends after so many rounds; both ends must be told the same. The least that can
    // still be said at the sending end is rounds_least(); the other end cannot be ahead of it.
    void rounds_set(size_t rounds) { target_ = rounds * work_.size(); }
    size_t rounds_least() const { return posted_ / work_.size() + 2; }
    size_t bytes() const;  // of memory, all of it registered
    size_t round_bytes() const;
    size_t round_messages() const;
    Result<void> finish();           // compare, release
    Result<void> release();          // deregister
    Result<void> untouched() const;  // what is behind the last message

  private:
    struct Unit {  // one request
        std::vector<Piece> pieces;
        std::vector<Item> items;
        std::vector<uint64_t> seeds;
        size_t round = 0;  // which the bytes belong to
        std::vector<int> sizes;
        void* request = nullptr;
        bool flushing = false;
    };
    void lay_out();
    void units_add(Unit unit);
    void renew(Unit& unit, size_t round);
    Result<bool> post(Unit& unit);
    Result<bool> poll(Unit& unit);
    Result<bool> received(Unit& unit);
    Result<void> compare(const Unit& unit) const;

    Bench& bench_;
    Communicator& communicator_;
    bool sends_;
    void* comm_;
    Transfer transfer_;
    size_t window_;
    std::unique_ptr<Memory> memory_;
    size_t behind_ = 0;
    void* mr_ = nullptr;
    std::vector<Unit> work_;
    size_t posted_ = 0;
    size_t finished_ = 0;
    size_t target_ = 0;
};

// Steps all of them, on the progress thread of `communicator`, until they are done.
Result<void> flows_run(Bench& bench, Communicator& communicator, const std::vector<Flow*>& flows);
Work flows_work(Bench& bench, const std::vector<Flow*>& flows);  // the same, for any thread

// One transfer over one line from beginning to end.
Result<void> transfer_run(Bench& bench, Lines& lines, const Transfer& transfer, size_t line = 0);

}  // namespace weft::netcheck
