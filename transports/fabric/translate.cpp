#include "transports/fabric/translate.h"

#include <rdma/fi_errno.h>

#include <cerrno>

namespace weft::fabric {

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

}  // namespace weft::fabric
