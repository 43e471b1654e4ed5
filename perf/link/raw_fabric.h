// The yardstick: libfabric and nothing else, as its manual pages say. One endpoint, one peer,
// writes with immediate data of 8 bytes or of 1 MiB, completions polled. Single-threaded; stops the
// program on any error.
#pragma once

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_rma.h>

#include <cstdint>
#include <functional>
#include <string>

#include "transports/fabric/library.h"
#include "transports/fabric/provider.h"

namespace weft::bench {

class RawFabric {
  public:
    // `swap` tells the other side something and answers with what that said.
    RawFabric(const std::string& provider, const std::string& source, void* memory, size_t bytes,
              const std::function<std::string(const std::string&)>& swap);

    // Posts a write of the first `bytes` of the memory to the same place there.
    void write(size_t bytes);
    // The same, complete only when the peer has the bytes, as our puts are.
    void write_delivered(size_t bytes);
    void poll();

    uint64_t written = 0, finished = 0, arrived = 0;  // own writes, of them complete; the peer's

  private:
    struct Remote {
        uint64_t address = 0, key = 0;
    };
    void open(const std::string& provider, const std::string& source);
    void check(int rc, const char* what) const;

    fabric::Library library_;
    fabric::InfoPtr info_;
    fabric::FidHandle<fid_fabric> fabric_;
    fabric::FidHandle<fid_domain> domain_;
    fabric::FidHandle<fid_av> addresses_;
    fabric::FidHandle<fid_cq> queue_;
    fabric::FidHandle<fid_mr> registration_;
    fabric::FidHandle<fid_ep> endpoint_;
    void* memory_;
    fi_addr_t peer_ = FI_ADDR_UNSPEC;
    Remote remote_;
    fi_context2 context_{};
};

}  // namespace weft::bench
