#include "transports/fabric/translate.h"

#include <rdma/fi_errno.h>

#include <algorithm>
#include <cerrno>

namespace weft::fabric {

namespace {

constexpr const char* group_rule =
    "let the security group of the instances pass all traffic from and to itself, in both "
    "directions";
constexpr const char* peer_first = "look at that rank's output first";
constexpr const char* ours = "this is a fault of Weft's: report it with this line";
constexpr const char* same_software = "use one libfabric and one EFA driver on all hosts";
constexpr const char* provider_log = "FI_LOG_LEVEL=warn shows libfabric's own account";
constexpr const char* lock_more =
    "raise the locked-memory limit (`ulimit -l unlimited`) or free memory";

constexpr EfaError errors[] = {
    {1, "the queue pair was closed with the transfer under way", ""},
    {2, "the NIC's queue pair failed inside", "the kernel log (`dmesg`) has the driver's account"},
    {3, "the NIC cannot do this kind of transfer",
     "a host in the job has an older EFA: use one instance type"},
    {4, "the NIC does not know the peer's address any more", ours},
    {5, "the sender's memory is not registered, or not for this", ours},
    {6, "the transfer is longer than the NIC takes", ours},
    {7, "the target's memory is not granted to writes (any more)",
     "if the peer's operation had ended or been aborted, look at its output first"},
    {8, "the peer reset the connection", peer_first},
    {9, "the peer's endpoint does not exist (any more): its process ended or restarted",
     peer_first},
    {10, "the peer had no receive buffer for too long: its process is stopped or starved of CPU",
     "look whether it still runs; one core for each rank helps"},
    {11, "the peer's receive buffer is too short", ours},
    {12, "the peer's NIC answered with an unexpected status", provider_log},
    {13,
     "the peer answered before and has stopped: its host died, or its process restarted with a "
     "new key",
     peer_first},
    {14, "the peer's NIC does not know this process's address", same_software},
    {15, "the peer has never answered: the network drops the packets, or its host is down",
     group_rule},
    {18, "the peer's NIC and this one differ in what they can do", "use one instance type"},
    {4096, "libfabric gives no cause", provider_log},
    {4097, "a packet of a kind that libfabric has given up", same_software},
    {4098, "a packet of an invalid kind", same_software},
    {4099, "a packet of an unknown kind", same_software},
    {4100, "libfabric could not post a packet", provider_log},
    {4101, "libfabric could not send a packet", provider_log},
    {4102, "libfabric could not read a message's first packet", same_software},
    {4103, "libfabric could not read a tagged message's first packet", same_software},
    {4104, "a packet came twice", same_software},
    {4105, "libfabric has no memory left", lock_more},
    {4106, "libfabric could not release a registration", provider_log},
    {4107, "libfabric could not copy what it received", provider_log},
    {4108, "libfabric's receive entries are used up", "raise FI_EFA_RX_SIZE"},
    {4109, "libfabric's send entries are used up", "raise FI_EFA_TX_SIZE"},
    {4110, "libfabric could not store the peer's address",
     "too many peers for the NIC's address handles, or a wrong address: FI_LOG_LEVEL=warn"},
    {4111, "the target's memory is not registered there (any more)", peer_first},
    {4112, "libfabric could not post its receive buffers", lock_more},
    {4113, "libfabric's first exchange with the peer could not be sent", group_rule},
    {4114, "the NIC's send queue refused a request", provider_log},
    {4115, "a message's size is not what its first packet said", same_software},
    {4116, "libfabric could not post a read", provider_log},
    {4117, "libfabric could not post a device read",
     "is FI_EFA_USE_DEVICE_RDMA set on some hosts only?"},
    {4118, "a data type that libfabric does not know", ours},
    {4119, "the completion queue took no send completion", provider_log},
    {4120, "the completion queue took no receive completion", provider_log},
    {4121, "reading a datagram queue failed", provider_log},
    {4122, "libfabric's own shared-memory path failed", "set FI_EFA_ENABLE_SHM_TRANSFER=0"},
    {4123, "libfabric's own shared-memory path could not complete",
     "set FI_EFA_ENABLE_SHM_TRANSFER=0"},
    {4124, "the peer answered before and has stopped: its host died, or its process ended",
     peer_first},
    {4125, "a packet that zero-copy receiving does not take", "unset FI_EFA_USE_ZCPY_RX"},
    {4126,
     "the NIC reaches the peer's host, but libfabric's first exchange got no answer: the "
     "process ended, or a security group passes one direction only",
     group_rule},
    {4127, "the peer closed its memory or endpoint while the transfer was under way", peer_first},
};

}  // namespace

std::span<const EfaError> efa_errors() {
    return errors;
}

const EfaError* efa_error(int code) {
    const auto* found = std::lower_bound(std::begin(errors), std::end(errors), code,
                                         [](const EfaError& e, int c) { return e.code < c; });
    return found != std::end(errors) && found->code == code ? found : nullptr;
}

std::string completion_hint(std::string_view provider, int error, int provider_code) {
    const EfaError* known = provider.starts_with("efa") ? efa_error(provider_code) : nullptr;
    if (known == nullptr) {
        return hint_for(error);
    }
    std::string text = std::string("; ") + known->meaning;
    return *known->action == '\0' ? text : text + "; " + known->action;
}

const char* silence_hint(std::string_view provider) {
    return provider.starts_with("efa") ? "no answer and no error; its host is down, its process "
                                         "does not run, or the network "
                                         "drops the packets: let the security group of the "
                                         "instances pass all traffic from and to itself, in "
                                         "both directions"
                                       : "no answer and no error; its host is down, its process "
                                         "does not run, or a firewall "
                                         "or security group drops the packets: let all ports pass "
                                         "between the hosts, in both directions";
}

const char* hint_for(int error) {
    switch (error) {
        case FI_ECONNRESET:
        case FI_ENOTCONN:
        case FI_ECONNABORTED:
        case FI_ESHUTDOWN:
        case EPIPE:
        case FI_ECANCELED:
            return "; the peer's process ended or closed its endpoint";
        case FI_ECONNREFUSED:
            return "; nothing listens at the peer's address: its process ended or a firewall "
                   "rejects";
        case FI_EHOSTUNREACH:
        case FI_ENETUNREACH:
        case FI_EHOSTDOWN:
        case FI_ENETDOWN:
            return "; no route to the peer from this rail: check the interface and WEFT_RAILS";
        case FI_ETIMEDOUT:
            return "; the peer's host does not answer: check that it is up and that the firewall "
                   "or security group lets all traffic between the hosts through";
        case FI_EACCES:
        case FI_EPERM:
        case FI_EKEYREJECTED:
        case FI_ENOKEY:
            return "; the target memory is not granted (any more), or the process may not use the "
                   "device";
        case FI_ENOMEM:
        case FI_ENOBUFS:
            return "; raise the locked-memory limit (`ulimit -l unlimited`) or free memory";
        case FI_EADDRNOTAVAIL:
            return "; the source address is not one of this host: correct WEFT_RAILS";
        case FI_EADDRINUSE:
            return "; another process holds the port";
        case FI_EMFILE:
            return "; raise the limit of open files (`ulimit -n`)";
        default:
            return "";
    }
}

const char* own_hint_for(int error) {
    switch (error) {
        case FI_EACCES:
        case FI_EPERM:
            return "; this process may not use the device, or the memory is read-only: `ls -l "
                   "/dev/infiniband` shows who may";
        case FI_ENOENT:
        case FI_ENODEV:
            return "; the device is not given to this process: look into /dev/infiniband";
        default:
            return hint_for(error);
    }
}

}  // namespace weft::fabric
