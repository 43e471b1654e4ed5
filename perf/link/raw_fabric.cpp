#include "perf/link/raw_fabric.h"

#include <rdma/fi_errno.h>

#include <cstring>

#include "perf/link/processes.h"

namespace weft::bench {

namespace {
constexpr size_t queue_entries = 1024;
constexpr int batch = 16;
}  // namespace

RawFabric::RawFabric(const std::string& provider, const std::string& source, void* memory,
                     size_t bytes, const std::function<std::string(const std::string&)>& swap)
    : library_(must(fabric::library_load(""))), memory_(memory) {
    open(provider, source);
    fid_mr* registration = nullptr;
    check(fi_mr_reg(domain_.get(), memory, bytes, FI_WRITE | FI_REMOTE_WRITE, 0, 1, 0,
                    &registration, nullptr),
          "fi_mr_reg");
    registration_.reset(registration);

    char name[64];
    size_t length = sizeof name;
    check(fi_getname(&endpoint_.get()->fid, name, &length), "fi_getname");
    const std::string theirs = swap(std::string(name, length));
    if (fi_av_insert(addresses_.get(), theirs.data(), 1, &peer_, 0, nullptr) != 1) {
        stop("fi_av_insert refused the peer's address");
    }
    const bool virtual_addresses = (info_->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0;
    const Remote mine{virtual_addresses ? reinterpret_cast<uint64_t>(memory) : 0,
                      fi_mr_key(registration)};
    const std::string told = swap(std::string(reinterpret_cast<const char*>(&mine), sizeof mine));
    std::memcpy(&remote_, told.data(), sizeof remote_);
}

void RawFabric::check(int rc, const char* what) const {
    if (rc != 0) {
        stop(format("%s: %s", what, library_.error_text(-rc)));
    }
}

void RawFabric::open(const std::string& provider, const std::string& source) {
    const fabric::InfoPtr hints(library_.dup_info(nullptr), fabric::InfoDelete{&library_});
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_CONTEXT | FI_CONTEXT2;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->fabric_attr->prov_name = strdup(provider.c_str());
    fi_info* found = nullptr;
    const char* node = source.empty() ? nullptr : source.c_str();
    check(library_.get_info(library_.api_version, node, nullptr,
                            node == nullptr ? 0 : FI_SOURCE | FI_NUMERICHOST, hints.get(), &found),
          "fi_getinfo");
    info_ = fabric::InfoPtr(found, fabric::InfoDelete{&library_});
    fid_fabric* fabric = nullptr;
    check(library_.open_fabric(info_->fabric_attr, &fabric, nullptr), "fi_fabric");
    fabric_.reset(fabric);
    fid_domain* domain = nullptr;
    check(fi_domain(fabric, info_.get(), &domain, nullptr), "fi_domain");
    domain_.reset(domain);
    fi_av_attr of_addresses{};
    of_addresses.type = FI_AV_TABLE;
    fid_av* addresses = nullptr;
    check(fi_av_open(domain, &of_addresses, &addresses, nullptr), "fi_av_open");
    addresses_.reset(addresses);
    fi_cq_attr of_queue{};
    of_queue.size = queue_entries;
    of_queue.format = FI_CQ_FORMAT_DATA;
    of_queue.wait_obj = FI_WAIT_NONE;
    fid_cq* queue = nullptr;
    check(fi_cq_open(domain, &of_queue, &queue, nullptr), "fi_cq_open");
    queue_.reset(queue);
    fid_ep* endpoint = nullptr;
    check(fi_endpoint(domain, info_.get(), &endpoint, nullptr), "fi_endpoint");
    endpoint_.reset(endpoint);
    check(fi_ep_bind(endpoint, &queue->fid, FI_TRANSMIT | FI_RECV), "binding the CQ");
    check(fi_ep_bind(endpoint, &addresses->fid, 0), "binding the AV");
    check(fi_enable(endpoint), "fi_enable");
}

void RawFabric::write(size_t bytes) {
    ssize_t rc = -FI_EAGAIN;
    while (rc == -FI_EAGAIN) {
        rc = fi_writedata(endpoint_.get(), memory_, bytes, fi_mr_desc(registration_.get()), 1,
                          peer_, remote_.address, remote_.key, &context_);
        if (rc == -FI_EAGAIN) {
            poll();
        }
    }
    check(static_cast<int>(rc), "fi_writedata");
    written++;
}

void RawFabric::write_delivered(size_t bytes) {
    iovec from{memory_, bytes};
    fi_rma_iov to{remote_.address, bytes, remote_.key};
    void* descriptor = fi_mr_desc(registration_.get());
    fi_msg_rma message{};
    message.msg_iov = &from;
    message.desc = &descriptor;
    message.iov_count = 1;
    message.addr = peer_;
    message.rma_iov = &to;
    message.rma_iov_count = 1;
    message.context = &context_;
    message.data = 1;
    constexpr uint64_t flags = FI_REMOTE_CQ_DATA | FI_COMPLETION | FI_DELIVERY_COMPLETE;
    ssize_t rc = -FI_EAGAIN;
    while (rc == -FI_EAGAIN) {
        rc = fi_writemsg(endpoint_.get(), &message, flags);
        if (rc == -FI_EAGAIN) {
            poll();
        }
    }
    check(static_cast<int>(rc), "fi_writemsg");
    written++;
}

void RawFabric::poll() {
    fi_cq_data_entry entries[batch];
    const ssize_t count = fi_cq_read(queue_.get(), entries, batch);
    for (ssize_t i = 0; i < count; i++) {
        const bool peers =
            (entries[i].flags & FI_REMOTE_CQ_DATA) != 0 && (entries[i].flags & FI_WRITE) == 0;
        (peers ? arrived : finished)++;
    }
    if (count < 0 && count != -FI_EAGAIN) {
        stop(format("fi_cq_read: %s", library_.error_text(static_cast<int>(-count))));
    }
}

}  // namespace weft::bench
