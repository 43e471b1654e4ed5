#include "tests/unit/transports/fake_libfabric/fake_libfabric.h"

#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "tests/unit/transports/fake_libfabric/told.h"
#include "transports/fabric/newer.h"

namespace {

using weft::test::FakeLibfabric;
using weft::test::zeroed;
namespace newer = weft::fabric::newer;

FakeLibfabric world = weft::test::fake_told();

// libfabric's own end goes through its providers; who calls it from then on, calls into nothing.
std::atomic<bool> gone{false};
struct End {
    ~End() {
        gone = true;
        poll(nullptr, 0, world.linger_ms);
    }
} end;

int close_nothing(fid* object) {
    poll(nullptr, 0, world.linger_ms / 20);
    if (gone) {
        std::abort();
    }
    std::free(object);
    return 0;
}

int bind_nothing(fid*, fid*, uint64_t) {
    return 0;
}

// An endpoint knows its queue by it.
int bind(fid* object, fid* other, uint64_t) {
    if (other->fclass == FI_CLASS_CQ) {
        object->context = other;
    }
    world.events_bound += other->fclass == FI_CLASS_EQ && !world.enabled;
    return 0;
}

int control(fid*, int command, void* argument) {
    if (command == FI_GETWAIT) {
        static const int silent = eventfd(0, EFD_CLOEXEC);
        *static_cast<int*>(argument) = silent;
        return 0;
    }
    world.enabled = world.enabled || command == FI_ENABLE;
    return command == FI_ENABLE ? -world.enable_error : -FI_ENOSYS;
}

fi_ops object_ops = {sizeof(fi_ops), close_nothing, bind, control, nullptr, nullptr, nullptr};

// Of several queues, each says what belongs to its endpoint's sends; the rest is for any.
template <class Entries>
bool next_is_for(const fid_cq* queue, const Entries& entries) {
    if (entries.empty()) {
        return false;
    }
    const auto sent = world.sent_by.find(entries.front().op_context);
    return sent == world.sent_by.end() || sent->second == &queue->fid;
}

// What moves, moves under this lock: rails have locks of their own.
std::mutex moving;

size_t moved_read(const fid_cq* queue, fi_cq_data_entry* entries, size_t room) {
    auto& moved = world.queues[&queue->fid];
    size_t count = 0;
    for (; count < room && !moved.empty(); count++) {
        entries[count] = moved.front();
        moved.pop_front();
    }
    return count;
}

ssize_t cq_read(fid_cq* queue, void* entries, size_t room) {
    if (gone) {
        std::abort();
    }
    const std::lock_guard guard(moving);
    if (world.read_error != 0) {
        return -world.read_error;
    }
    if (next_is_for(queue, world.errors)) {
        return -FI_EAVAIL;
    }
    size_t count = moved_read(queue, static_cast<fi_cq_data_entry*>(entries), room);
    for (; count < room && next_is_for(queue, world.completions); count++) {
        static_cast<fi_cq_data_entry*>(entries)[count] = world.completions.front();
        world.completions.pop_front();
    }
    return count != 0 ? static_cast<ssize_t>(count) : -FI_EAGAIN;
}

ssize_t cq_read_error(fid_cq* queue, fi_cq_err_entry* entry, uint64_t) {
    if (!next_is_for(queue, world.errors)) {
        return -FI_EAGAIN;
    }
    *entry = world.errors.front();
    world.errors.pop_front();
    return 1;
}

const char* cq_error_text(fid_cq*, int, const void*, char*, size_t) {
    return "the provider's words";
}

int setopt(fid*, int, int option, const void* value, size_t bytes) {
    const bool known = option == newer::opt_efa_rnr_retry || world.newer_options;
    if (!known) {
        return -FI_ENOPROTOOPT;
    }
    const auto* from = static_cast<const unsigned char*>(value);
    world.options_set.push_back({option, {from, from + bytes}});
    world.options_late = world.options_late || world.enabled;
    if (option == newer::opt_cuda_api_permitted && *from == 0 && world.cuda_calls) {
        return -FI_EOPNOTSUPP;
    }
    const bool wanted = option == newer::opt_efa_write_in_order_128 && *from != 0;
    return wanted && !world.in_order ? -FI_EOPNOTSUPP : 0;
}

int getopt(fid*, int, int option, void* value, size_t*) {
    if (option != newer::opt_efa_emulated_write || !world.newer_options) {
        return -FI_ENOPROTOOPT;
    }
    *static_cast<bool*>(value) = world.emulated_write;
    return 0;
}

// Where things move, a name begins with the endpoint's number.
int name_get(fid* endpoint, void* address, size_t* bytes) {
    *bytes = 32;
    std::memset(address, 1, 32);
    if (world.moves) {
        const std::lock_guard guard(moving);
        const uint64_t number = world.endpoints.size();
        std::memcpy(address, &number, sizeof number);
        world.endpoints.push_back(endpoint);
    }
    return 0;
}

ssize_t receive(fid_ep* endpoint, void* into, size_t, void*, fi_addr_t, void* context) {
    if (world.receive_error == 0 && world.moves) {
        const std::lock_guard guard(moving);
        world.receives_of[&endpoint->fid].push_back({into, context});
    } else if (world.receive_error == 0) {
        world.receives.push_back(context);
    }
    return -world.receive_error;
}

void completed(const void* queue, void* context, uint64_t flags, size_t bytes = 0,
               uint64_t data = 0) {
    fi_cq_data_entry entry{};
    entry.op_context = context;
    entry.flags = flags;
    entry.len = bytes;
    entry.data = data;
    world.queues[queue].push_back(entry);
}

void failed(const fid_ep* endpoint, void* context, int error) {
    fi_cq_err_entry entry{};
    entry.op_context = context;
    entry.err = error;
    world.sent_by[context] = endpoint->fid.context;
    world.errors.push_back(entry);
}

// Where these bytes are to be touched; null where the registration does not cover them or does not
// allow it.
std::byte* touched(uint64_t key, const void* address, size_t bytes, uint64_t access) {
    const auto found = world.open_by_key.find(key);
    const auto* at = static_cast<const std::byte*>(address);
    if (found != world.open_by_key.end()) {
        const auto& what = found->second;
        const auto* base = static_cast<const std::byte*>(what.base);
        const bool inside = at >= base && at + bytes <= base + what.bytes;
        if (inside && (what.access & access) == access) {
            for (const auto& memory : world.device_memory) {
                const bool there = at >= memory.base && at < memory.base + memory.bytes;
                if (there && what.iface != 0) {
                    return memory.at + (at - memory.base);
                }
            }
            return const_cast<std::byte*>(at);
        }
    }
    world.refusals.push_back(address);
    return nullptr;
}

const fid* endpoint_at(fi_addr_t address) {
    return static_cast<const fid*>(world.endpoints.at(address));
}

ssize_t send_moved(fid_ep* endpoint, const void* from, size_t bytes, fi_addr_t to, void* context) {
    const std::lock_guard guard(moving);
    const fid* target = endpoint_at(to);
    auto& receives = world.receives_of[target];
    if (receives.empty()) {
        return -FI_EAGAIN;
    }
    std::memcpy(receives.front().into, from, bytes);
    completed(target->context, receives.front().context, FI_RECV | FI_MSG, bytes);
    receives.pop_front();
    completed(endpoint->fid.context, context, FI_SEND | FI_MSG);
    return 0;
}

ssize_t write_moved(fid_ep* endpoint, const fi_msg_rma* message) {
    const std::lock_guard guard(moving);
    const iovec& local = *message->msg_iov;
    const fi_rma_iov& remote = *message->rma_iov;
    const std::byte* from =
        touched(world.keys_of[message->desc[0]], local.iov_base, local.iov_len, FI_WRITE);
    std::byte* to = touched(remote.key, reinterpret_cast<const void*>(remote.addr), local.iov_len,
                            FI_REMOTE_WRITE);
    if (from == nullptr || to == nullptr) {
        failed(endpoint, message->context, FI_EACCES);
        return 0;
    }
    std::memcpy(to, from, local.iov_len);
    completed(endpoint_at(message->addr)->context, nullptr,
              FI_REMOTE_CQ_DATA | FI_RMA | FI_REMOTE_WRITE, local.iov_len, message->data);
    completed(endpoint->fid.context, message->context, FI_RMA | FI_WRITE);
    return 0;
}

ssize_t read(fid_ep* endpoint, void* into, size_t bytes, void* descriptor, fi_addr_t from,
             uint64_t address, uint64_t key, void* context) {
    const std::lock_guard guard(moving);
    if (world.reads_refused > 0) {
        world.reads_refused--;
        return -FI_EAGAIN;
    }
    const auto* at = reinterpret_cast<const void*>(address);
    const std::byte* source = touched(key, at, bytes, FI_REMOTE_READ);
    std::byte* target = touched(world.keys_of[descriptor], into, bytes, FI_READ);
    const FakeLibfabric::Read told{at, bytes, endpoint->fid.context, context};
    world.reads.push_back(told);
    const bool own = endpoint_at(from) == &endpoint->fid;
    if (source == nullptr || target == nullptr || !own || world.read_fails != 0) {
        failed(endpoint, context, world.read_fails != 0 ? world.read_fails : FI_EACCES);
        return 0;
    }
    std::memcpy(target, source, bytes);
    if (world.reads_held) {
        world.reads_waiting.push_back(told);
    } else {
        completed(told.queue, context, FI_RMA | FI_READ);
    }
    return 0;
}

ssize_t transmit(fid_ep* endpoint, void* context) {
    world.transmits.push_back(context);
    world.sent_by[context] = endpoint->fid.context;
    return 0;
}

ssize_t send(fid_ep* endpoint, const void* from, size_t bytes, void*, fi_addr_t to, void* context) {
    return world.moves ? send_moved(endpoint, from, bytes, to, context)
                       : transmit(endpoint, context);
}

// What was told of the next write, which is noted where it is taken.
int write_noted(const fi_msg_rma* message, uint64_t flags) {
    const std::lock_guard guard(moving);
    int error = 0;
    if (!world.write_errors.empty()) {
        error = world.write_errors.front();
        world.write_errors.pop_front();
    }
    if (error == 0) {
        world.written.push_back({message->msg_iov->iov_len, message->rma_iov->len,
                                 message->rma_iov->addr, message->rma_iov->key, message->data,
                                 flags});
    }
    return error;
}

ssize_t write_message(fid_ep* endpoint, const fi_msg_rma* message, uint64_t flags) {
    if (const int error = write_noted(message, flags); error != 0) {
        return -error;
    }
    return world.moves ? write_moved(endpoint, message) : transmit(endpoint, message->context);
}

int may_wait(fid_fabric*, fid**, int) {
    return 0;
}

int av_insert(fid_av*, const void* names, size_t count, fi_addr_t* addresses, uint64_t, void*) {
    for (size_t i = 0; i < count; i++) {
        addresses[i] = i;
    }
    if (world.moves) {
        std::memcpy(addresses, names, sizeof *addresses);
    }
    return static_cast<int>(count);
}

int av_remove(fid_av*, fi_addr_t*, size_t, uint64_t) {
    return 0;
}

const char* av_text(fid_av*, const void* address, char* text, size_t* bytes) {
    std::snprintf(text, *bytes, "fake://%.4s", static_cast<const char*>(address));
    return text;
}

// `ops` are as they are from the start, for other threads use them while more is opened.
template <class T, class Ops>
T* object_new(size_t fclass, Ops* ops) {
    T* object = zeroed<T>();
    object->fid.fclass = fclass;
    object->fid.ops = &object_ops;
    object->ops = ops;
    return object;
}

ssize_t eq_read_error(fid_eq*, fi_eq_err_entry* entry, uint64_t) {
    if (world.events.empty()) {
        return -FI_EAGAIN;
    }
    *entry = world.events.front();
    world.events.pop_front();
    return sizeof *entry;
}

int eq_open(fid_fabric*, fi_eq_attr*, fid_eq** queue, void*) {
    static fi_ops_eq ops = {.size = sizeof ops, .readerr = eq_read_error};
    *queue = object_new<fid_eq>(FI_CLASS_EQ, &ops);
    return 0;
}

int cq_open(fid_domain*, fi_cq_attr*, fid_cq** queue, void*) {
    static fi_ops_cq ops = {
        .size = sizeof ops, .read = cq_read, .readerr = cq_read_error, .strerror = cq_error_text};
    *queue = object_new<fid_cq>(FI_CLASS_CQ, &ops);
    return 0;
}

int av_open(fid_domain*, fi_av_attr*, fid_av** addresses, void*) {
    static fi_ops_av ops = {
        .size = sizeof ops, .insert = av_insert, .remove = av_remove, .straddr = av_text};
    *addresses = object_new<fid_av>(FI_CLASS_AV, &ops);
    return 0;
}

int endpoint_open(fid_domain*, fi_info*, fid_ep** endpoint, void*) {
    static fi_ops_ep ops = {.size = sizeof ops, .getopt = getopt, .setopt = setopt};
    static fi_ops_cm cm = {.getname = name_get};
    static fi_ops_msg message = {.recv = receive, .send = send};
    static fi_ops_rma rma = {.read = read, .writemsg = write_message};
    *endpoint = object_new<fid_ep>(FI_CLASS_EP, &ops);
    (*endpoint)->cm = &cm;
    (*endpoint)->msg = &message;
    (*endpoint)->rma = &rma;
    return 0;
}

int registration_close(fid* object) {
    const std::lock_guard guard(moving);
    world.registrations_open--;
    world.open_by_key.erase(reinterpret_cast<fid_mr*>(object)->key);
    world.keys_of.erase(object);
    std::free(object);
    return 0;
}

fi_ops registration_ops = {
    sizeof(fi_ops), registration_close, bind_nothing, control, nullptr, nullptr, nullptr};

int registered(FakeLibfabric::Registration what, fid_mr** registration) {
    const std::lock_guard guard(moving);
    world.registrations.push_back(what);
    if (world.register_error != 0) {
        return -world.register_error;
    }
    if (world.registrations_open >= world.registrations_max) {
        return -FI_ENOMEM;
    }
    world.registrations_open++;
    *registration = zeroed<fid_mr>();
    (*registration)->fid.fclass = FI_CLASS_MR;
    (*registration)->fid.ops = &registration_ops;
    (*registration)->mem_desc = *registration;
    (*registration)->key = world.next_key++;
    world.open_by_key[(*registration)->key] = what;
    world.keys_of[*registration] = (*registration)->key;
    return 0;
}

int mr_reg(fid*, const void* base, size_t bytes, uint64_t access, uint64_t, uint64_t key,
           uint64_t flags, fid_mr** registration, void*) {
    return registered({flags, access, key, 0, 0, -1, 0, bytes, base}, registration);
}

int mr_regattr(fid*, const fi_mr_attr* attributes, uint64_t flags, fid_mr** registration) {
    const auto* attr = reinterpret_cast<const newer::MemoryAttributes*>(attributes);
    FakeLibfabric::Registration what{
        flags, attr->access, attr->requested_key, attr->iface, attr->device.cuda, -1, 0,
        0,     nullptr};
    if ((flags & newer::mr_dmabuf) != 0) {
        what.dmabuf_fd = attr->dmabuf->fd;
        what.dmabuf_offset = attr->dmabuf->offset;
        what.bytes = attr->dmabuf->bytes;
        what.base = attr->dmabuf->base;
    } else {
        what.bytes = attr->iov->iov_len;
        what.base = attr->iov->iov_base;
    }
    return registered(what, registration);
}

int domain_open(fid_fabric*, fi_info*, fid_domain** domain, void*) {
    static fi_ops_domain ops = {
        .size = sizeof ops, .av_open = av_open, .cq_open = cq_open, .endpoint = endpoint_open};
    static fi_ops_mr memory = {.size = sizeof memory, .reg = mr_reg, .regattr = mr_regattr};
    if (world.open_error != 0) {
        return -world.open_error;
    }
    *domain = object_new<fid_domain>(FI_CLASS_DOMAIN, &ops);
    (*domain)->mr = &memory;
    return 0;
}

}  // namespace

EXPORTED FakeLibfabric* weft_fake_libfabric() {
    return &world;
}

EXPORTED std::mutex& weft_fake_libfabric_lock() {
    return moving;
}

EXPORTED uint32_t fi_version(void) {
    return world.version;
}

EXPORTED const char* fi_strerror(int error) {
    return std::strerror(error);
}

EXPORTED int fi_fabric(fi_fabric_attr*, fid_fabric** fabric, void*) {
    static fi_ops_fabric ops = {
        .size = sizeof ops, .domain = domain_open, .eq_open = eq_open, .trywait = may_wait};
    *fabric = object_new<fid_fabric>(FI_CLASS_FABRIC, &ops);
    return 0;
}
