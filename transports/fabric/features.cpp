#include "transports/fabric/features.h"

#include <rdma/fi_errno.h>

#include <string_view>

#include "src/base/log.h"
#include "transports/fabric/newer.h"
#include "transports/fabric/provider.h"

namespace weft::fabric {

namespace {

// 7 is for ever, to the NIC. A peer that is slow to post receives is late, and lateness is no
// failure; one that is gone shows as a missing queue pair or as unresponsive. The fabric `efa`
// keeps its default, 3, after which it backs off in software and lets other peers' packets go
// first.
constexpr size_t receiver_not_ready_retries = 7;

template <class T>
int option_set(fid_ep* endpoint, int option, T value) {
    return fi_setopt(&endpoint->fid, FI_OPT_ENDPOINT, option, &value, sizeof value);
}

std::optional<bool> option_get(fid_ep* endpoint, int option) {
    bool value = false;
    size_t bytes = sizeof value;
    const int rc = fi_getopt(&endpoint->fid, FI_OPT_ENDPOINT, option, &value, &bytes);
    return rc == 0 ? std::optional<bool>(value) : std::nullopt;
}

const char* yes_no(std::optional<bool> value) {
    return !value ? "unknown" : *value ? "yes" : "no";
}

std::string fabric_name(const EndpointFeatures& features, const fi_info& info) {
    // Before 2.0 EFA's fabric is named after the host's address.
    return !features.efa ? info.fabric_attr->name : features.direct ? "efa-direct" : "efa";
}

const char* write_name(const EndpointFeatures& features) {
    if (!features.efa) {
        return "provider";
    }
    return !features.emulated_write   ? "unknown"
           : *features.emulated_write ? "emulated"
                                      : "hardware";
}

std::string mr_mode_name(int mode) {
    std::string text;
    auto add = [&](int bit, const char* name) {
        if ((mode & bit) != 0) {
            text.append(text.empty() ? "" : "|").append(name);
        }
    };
    add(FI_MR_LOCAL, "LOCAL");
    add(FI_MR_VIRT_ADDR, "VIRT_ADDR");
    add(FI_MR_ALLOCATED, "ALLOCATED");
    add(FI_MR_PROV_KEY, "PROV_KEY");
    add(FI_MR_ENDPOINT, "ENDPOINT");
    add(FI_MR_HMEM, "HMEM");
    return text.empty() ? "offset" : text;
}

std::string bytes_name(size_t bytes) {
    return bytes == SIZE_MAX ? "unlimited" : format("%zu bytes", bytes);
}

std::string efa_text(const EndpointFeatures& features) {
    const char* unsolicited = !features.direct             ? "as the provider does"
                              : features.receive_per_write ? "no"
                                                           : "yes";
    return format("write %s, unsolicited write recv %s, in order 128 bytes %s, ",
                  write_name(features), unsolicited, yes_no(features.in_order_128));
}

}  // namespace

EndpointFeatures endpoint_prepare(fid_ep* endpoint, const fi_info& info, uint32_t library_version) {
    EndpointFeatures features;
    // A provider that calls CUDA inside a collective may deadlock with the application's kernels.
    features.cuda_calls =
        option_set(endpoint, newer::opt_cuda_api_permitted, false) == -FI_EOPNOTSUPP;
    features.efa = std::string_view(info.fabric_attr->prov_name).starts_with("efa");
    if (!features.efa) {
        return features;
    }
    // Peers of the same host are reached over shared memory of ours.
    option_set(endpoint, newer::opt_shared_memory_permitted, false);
    features.direct = is_efa_direct(info);
    features.receive_per_write = (info.mode & FI_RX_CQ_DATA) != 0;
    if (features.direct) {
        option_set(endpoint, newer::opt_efa_rnr_retry, receiver_not_ready_retries);
    }
    // 1.17 has no such option, and emulates always.
    features.emulated_write = library_version < FI_VERSION(1, 18)
                                  ? std::optional<bool>(true)
                                  : option_get(endpoint, newer::opt_efa_emulated_write);
    // Asked by setting it, for there is no other way; nothing here depends on it, so it is unset.
    if (library_version >= FI_VERSION(1, 18)) {
        features.in_order_128 = option_set(endpoint, newer::opt_efa_write_in_order_128, true) == 0;
        option_set(endpoint, newer::opt_efa_write_in_order_128, false);
    }
    return features;
}

std::string features_text(const EndpointFeatures& features, const fi_info& info,
                          const Library& library) {
    const uint32_t version = library.version();
    return format(
        "provider %s, fabric %s, libfabric %u.%u (%s), %smr_mode %s, GPU memory %s, largest "
        "transfer %s, key %zu bytes, RMA inject unused, delivery complete yes",
        info.fabric_attr->prov_name, fabric_name(features, info).c_str(), FI_MAJOR(version),
        FI_MINOR(version), library.path.c_str(), features.efa ? efa_text(features).c_str() : "",
        mr_mode_name(info.domain_attr->mr_mode).c_str(), yes_no((info.caps & FI_HMEM) != 0),
        bytes_name(info.ep_attr->max_msg_size).c_str(), info.domain_attr->mr_key_size);
}

std::string features_record(const EndpointFeatures& features, const fi_info& info,
                            uint32_t library_version) {
    // Which network a TCP rail is on is not alike, and need not be.
    const std::string fabric = features.efa ? fabric_name(features, info) : "any";
    constexpr int addressing = FI_MR_VIRT_ADDR | FI_MR_PROV_KEY;
    // The first that differs is told, and the others mostly follow from the version.
    return format("provider=%s\nlibfabric=%u.%u\nfabric=%s\nwrite=%s\nmr_mode=%s\n",
                  info.fabric_attr->prov_name, FI_MAJOR(library_version), FI_MINOR(library_version),
                  fabric.c_str(), write_name(features),
                  mr_mode_name(info.domain_attr->mr_mode & addressing).c_str());
}

std::string features_concern(const EndpointFeatures& features, const Library& library) {
    if (!features.efa || !features.emulated_write.value_or(false)) {
        return {};
    }
    const uint32_t version = library.version();
    return format(version < FI_VERSION(1, 18)
                      ? "libfabric %u.%u (%s) emulates every write on EFA, at a fraction of the "
                        "NIC's rate: install the current EFA installer, or set WEFT_LIBFABRIC to "
                        "a libfabric of 2.0 or later"
                      : "libfabric %u.%u (%s) emulates writes on this EFA, at a fraction of its "
                        "rate: unset FI_EFA_USE_DEVICE_RDMA if it is set, else this NIC or its "
                        "driver has no RDMA write: install the current EFA installer",
                  FI_MAJOR(version), FI_MINOR(version), library.path.c_str());
}

}  // namespace weft::fabric
