#include "transports/fabric/efa_devices.h"

#include <dlfcn.h>
#include <rdma/fi_errno.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "src/base/machine.h"

namespace weft::fabric {

namespace {

constexpr const char* efa_library = "/opt/amazon/efa/lib64/libfabric.so.1";
constexpr const char* efa_library_debian = "/opt/amazon/efa/lib/libfabric.so.1";
constexpr const char* tcp_instead = "WEFT_ALLOW_TCP=1 goes on over TCP";

bool is_efa(const std::string& folder) {
    return link_name(folder + "/driver") == "efa" ||
           (file_line(folder + "/vendor") == "0x1d0f" &&
            file_line(folder + "/device").starts_with("0xefa"));
}

// The kernel's names for one PCI device: the RDMA device and the node that opens it.
void names_find(const std::string& sys, const std::string& dev, EfaDevice& device) {
    const std::string verbs = sys + "/class/infiniband_verbs/";
    for (const std::string& node : folder_entries(verbs)) {
        if (link_name(verbs + node + "/device") == device.pci) {
            device.name = file_line(verbs + node + "/ibdev");
            device.node = dev + "/infiniband/" + node;
            device.refused = access(device.node.c_str(), R_OK | W_OK) == 0 ? 0 : errno;
        }
    }
}

std::string names_of(const std::vector<EfaDevice>& devices) {
    const EfaDevice& one = devices.front();
    const std::string name = one.name.empty() ? "PCI " + one.pci : one.name;
    return devices.size() == 1
               ? "EFA device " + name
               : format("%zu EFA devices (%s and others)", devices.size(), name.c_str());
}

// What the kernel has against the first device that it does not give; empty: it gives them all.
std::string kernel_reason(const std::vector<EfaDevice>& devices) {
    for (const EfaDevice& device : devices) {
        const char* node = device.node.c_str();
        if (device.node.empty()) {
            return "PCI device " + device.pci +
                   " has no verbs device: load the driver (`modprobe efa`, then ib_uverbs)";
        }
        if (device.refused == ENOENT) {
            return format("%s does not exist: give the container the devices in /dev/infiniband",
                          node);
        }
        if (device.refused != 0) {
            return format(
                "no permission to open %s (%s): give its group or mode to this user, or the "
                "device to the container",
                node, std::strerror(device.refused));
        }
    }
    return "";
}

// A list of all providers costs no device: FI_PROV_ATTR_ONLY.
bool has_provider(const Library& library, const char* name) {
    fi_info* list = nullptr;
    bool found = false;
    if (library.get_info(library.api_version, nullptr, nullptr, FI_PROV_ATTR_ONLY, nullptr,
                         &list) == 0) {
        for (const fi_info* info = list; info != nullptr; info = info->next) {
            const char* provider = info->fabric_attr != nullptr ? info->fabric_attr->prov_name : "";
            found = found || (provider != nullptr && std::strcmp(provider, name) == 0);
        }
        library.free_info(list);
    }
    return found;
}

std::string provider_reason(const Library& library) {
    const uint32_t version = library.version();
    std::string text = format("libfabric %u.%u (%s) has no efa provider", FI_MAJOR(version),
                              FI_MINOR(version), library.path.c_str());
    for (const char* path : {efa_library, efa_library_debian}) {
        if (library.path != path && access(path, R_OK) == 0) {
            return text + "; EFA's own is there: set WEFT_LIBFABRIC=" + path;
        }
    }
    return text + "; install the EFA installer (it brings " + efa_library +
           ") or set WEFT_LIBFABRIC to a libfabric with efa";
}

}  // namespace

std::vector<EfaDevice> efa_devices(const std::string& sys, const std::string& dev) {
    std::vector<EfaDevice> devices;
    const std::string folder = sys + "/bus/pci/devices/";
    for (const std::string& pci : folder_entries(folder)) {
        if (is_efa(folder + pci)) {
            devices.push_back({pci, "", "", 0});
            names_find(sys, dev, devices.back());
        }
    }
    return devices;
}

std::string sysfs_root(const Environment& environment) {
    const char* path = environment("SYSFS_PATH");
    const bool own_rights = getuid() == geteuid() && getgid() == getegid();
    return path != nullptr && own_rights ? path : "/sys";
}

Error efa_unusable(const Library& library, const std::vector<EfaDevice>& devices,
                   const Environment& environment, int getinfo_error) {
    std::string reasons;
    const auto add = [&](const std::string& reason) {
        reasons.append(reasons.empty() || reason.empty() ? "" : "; also, ").append(reason);
    };
    const std::string excluded = efa_excluded(environment);
    add(excluded);
    add(kernel_reason(devices));
    if (excluded.empty() && !has_provider(library, "efa")) {
        add(provider_reason(library));
    }
    if (reasons.empty()) {
        const uint32_t version = library.version();
        reasons = format(
            "libfabric %u.%u (%s) offers no endpoint on it (%s): `FI_LOG_LEVEL=warn fi_info -p "
            "efa` says why",
            FI_MAJOR(version), FI_MINOR(version), library.path.c_str(),
            library.error_text(getinfo_error));
    }
    return make_error(Code::unsupported, Scope::process,
                      format("%s cannot be used: %s; %s", names_of(devices).c_str(),
                             reasons.c_str(), tcp_instead));
}

namespace {

// Of rdma-core's libibverbs and libefa (infiniband/verbs.h, efadv.h, 44 and later): what is called
// here, and the part of the answer that is read. Later versions answer longer, never otherwise.
struct DeviceAttributes {
    uint64_t comp_mask;
    uint32_t max_sq_wr, max_rq_wr;
    uint16_t max_sq_sge, max_rq_sge, inline_buf_size;
    uint8_t reserved[2];
    uint32_t device_caps;
    uint32_t max_rdma_size;
};
constexpr uint32_t caps_read = 1;

struct Verbs {
    void** (*list)(int*) = nullptr;
    void (*list_free)(void**) = nullptr;
    void* (*open)(void*) = nullptr;
    int (*close)(void*) = nullptr;
    int (*query)(void*, DeviceAttributes*, uint32_t) = nullptr;
};

// A stand-in that was loaded before the library goes before it.
template <class F>
bool resolve(const char* library, F& function, const char* name) {
    void* found = dlsym(RTLD_DEFAULT, name);
    if (found == nullptr) {
        void* opened = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        found = opened != nullptr ? dlsym(opened, name) : nullptr;
    }
    function = reinterpret_cast<F>(found);
    return found != nullptr;
}

NicReads reads_ask(const Verbs& verbs, void* device) {
    void* context = verbs.open(device);
    if (context == nullptr) {
        return NicReads::unknown;
    }
    DeviceAttributes attributes{};
    const int rc = verbs.query(context, &attributes, sizeof attributes);
    verbs.close(context);
    if (rc != 0) {
        return NicReads::unknown;  // not an EFA device
    }
    return (attributes.device_caps & caps_read) != 0 ? NicReads::yes : NicReads::no;
}

}  // namespace

NicReads efa_reads() {
    constexpr const char* ibverbs = "libibverbs.so.1";
    Verbs verbs;
    if (!resolve(ibverbs, verbs.list, "ibv_get_device_list") ||
        !resolve(ibverbs, verbs.list_free, "ibv_free_device_list") ||
        !resolve(ibverbs, verbs.open, "ibv_open_device") ||
        !resolve(ibverbs, verbs.close, "ibv_close_device") ||
        !resolve("libefa.so.1", verbs.query, "efadv_query_device")) {
        return NicReads::unknown;
    }
    int count = 0;
    void** devices = verbs.list(&count);
    NicReads all = NicReads::unknown;
    for (int i = 0; devices != nullptr && i < count && all != NicReads::no; i++) {
        const NicReads one = reads_ask(verbs, devices[i]);
        all = one == NicReads::unknown ? all : one;
    }
    if (devices != nullptr) {
        verbs.list_free(devices);
    }
    return all;
}

}  // namespace weft::fabric
