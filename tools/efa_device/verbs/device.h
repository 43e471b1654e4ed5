// The process's device: made by the first call that lists devices, never destroyed, driven by one
// NIC thread. Verbs objects begin with the struct that libibverbs' inline calls expect.
// Thread rule: thread-safe. Failure rule: what is wrong with the settings or the machine is one
// line on standard error, and there are no devices (errno).
#pragma once

#include <infiniband/verbs.h>
// verbs.h makes macros of some of the calls that are defined here.
#undef ibv_query_port
#undef ibv_reg_mr
#undef ibv_reg_mr_iova

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tools/efa_device/core/node.h"
#include "tools/efa_device/core/shm_wire.h"
#include "tools/efa_device/verbs/newer.h"

namespace weft::efa {

struct Device {
    ibv_device device{};  // first
    uint32_t index = 0;
};

struct Context {
    verbs_context verbs{};
    uint32_t nic = 0;
};

struct ProtectionDomain {
    ibv_pd pd{};  // first
    uint32_t nic = 0;
};

struct MemoryRegion {
    ibv_mr mr{};  // first
    uint32_t nic = 0;
};

struct AddressHandle {
    ibv_ah ah{};  // first
    uint32_t nic = 0;
    uint16_t number = ah_unknown;
};

struct Cq {
    ibv_cq_ex ex{};  // first
    CqOps ops{};
    uint32_t nic = 0;
    std::unique_ptr<CompletionQueue> queue;
    Completion current;
};

struct Qp {
    ibv_qp_ex ex{};  // first
    QpOps ops{};
    QueuePair* pair = nullptr;
    uint32_t inline_max = 0;
    bool signal_all = false;
    // Between ibv_wr_start and ibv_wr_complete, which the caller brackets with its own lock.
    std::vector<SendRequest> building;
    SendRequest current;
    bool has_current = false;
};

class Process {
  public:
    // nullptr: no devices, and errno says why.
    static Process* get();

    Node& node() { return *node_; }
    const std::vector<std::unique_ptr<Device>>& devices() const { return devices_; }
    // A poll that found nothing does the NIC thread's work, and gives way to it now and then: there
    // may be fewer cores than pollers.
    void polled_in_vain();
    void posted() { wire_->ring_bell(); }
    // After a queue pair was closed: until what it sent has been taken, for a bounded time.
    void settle();
    // As a process ends: counters, names in the file system.
    void leave();
    bool forked() const;

  private:
    Result<void> start();
    void sysfs_make();
    [[noreturn]] void nic_run();
    [[noreturn]] void counters_run();
    bool counters_write();

    std::string folder_;
    std::string counters_file_;
    std::mutex counters_mutex_;
    std::unique_ptr<ShmWire> wire_;
    std::unique_ptr<Node> node_;
    std::vector<std::unique_ptr<Device>> devices_;
    pid_t pid_ = 0;
    std::string sysfs_;
};

inline Context* context_of(ibv_context* context) {
    return reinterpret_cast<Context*>(reinterpret_cast<char*>(context) -
                                      offsetof(verbs_context, context));
}

int wc_status(Status status);

// queue.cpp and completion.cpp, for the context's own calls.
ibv_qp* qp_make(ibv_context* context, ibv_qp_init_attr_ex* attr, QpType type, const QpAttr& efa);
ibv_cq_ex* cq_make(ibv_context* context, ibv_cq_init_attr_ex* attr);
int send_post(ibv_qp* qp, ibv_send_wr* wr, ibv_send_wr** bad);
int receive_post(ibv_qp* qp, ibv_recv_wr* wr, ibv_recv_wr** bad);
int cq_poll(ibv_cq* cq, int count, ibv_wc* wc);

}  // namespace weft::efa
