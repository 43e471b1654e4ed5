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
#include <sstream>

#include "transports/fabric/newer.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

using weft::test::FakeInfo;
using weft::test::FakeLibfabric;
namespace newer = weft::fabric::newer;

uint32_t version_of(const std::string& text) {
    const size_t point = text.find('.');
    return FI_VERSION(std::stoi(text), std::stoi(text.substr(point + 1)));
}

std::vector<std::string> parts_of(const std::string& text, char between) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, between);) {
        parts.push_back(part);
    }
    return parts;
}

// "provider/fabric/domain", and after them "/rx": where writes use up receives.
FakeInfo info_told(const std::string& text) {
    FakeInfo info;
    const std::vector<std::string> parts = parts_of(text, '/');
    std::string* const fields[] = {&info.provider, &info.fabric, &info.domain};
    for (size_t i = 0; i < std::min(parts.size(), std::size(fields)); i++) {
        *fields[i] = parts[i];
    }
    info.mode = parts.size() > 3 ? FI_RX_CQ_DATA : 0;
    return info;
}

void word_told(FakeLibfabric& told, const std::string& name, const std::string& value) {
    if (name == "version") {
        told.version = version_of(value);
    } else if (name == "providers") {
        told.providers = parts_of(value, ',');
    } else if (name == "info") {
        told.infos.push_back(info_told(value));
    } else if (name == "emulated") {
        told.emulated_write = true;
    } else if (name == "open_error") {
        told.open_error = std::stoi(value);
    } else if (name == "register_error") {
        told.register_error = std::stoi(value);
    } else if (name == "linger") {
        told.linger_ms = std::stoi(value);
    } else {
        std::abort();  // a test's mistake
    }
}

FakeLibfabric world_told() {
    FakeLibfabric told;
    const char* text = std::getenv("FAKE_LIBFABRIC");
    for (const std::string& word : parts_of(text != nullptr ? text : "", ' ')) {
        const size_t sign = std::min(word.find('='), word.size());
        word_told(told, word.substr(0, sign), word.substr(std::min(sign + 1, word.size())));
    }
    return told;
}

FakeLibfabric world = world_told();

// libfabric's own end goes through its providers; who calls it from then on, calls into nothing.
std::atomic<bool> gone{false};
struct End {
    ~End() {
        gone = true;
        poll(nullptr, 0, world.linger_ms);
    }
} end;

template <class T>
T* zeroed() {
    return static_cast<T*>(std::calloc(1, sizeof(T)));
}

fi_info* info_new() {
    auto* info = zeroed<fi_info>();
    info->tx_attr = zeroed<fi_tx_attr>();
    info->rx_attr = zeroed<fi_rx_attr>();
    info->ep_attr = zeroed<fi_ep_attr>();
    info->domain_attr = zeroed<fi_domain_attr>();
    info->fabric_attr = zeroed<fi_fabric_attr>();
    return info;
}

char* copy_of(const char* text) {
    return text != nullptr ? strdup(text) : nullptr;
}

fi_info* info_of(const FakeInfo& fake) {
    fi_info* info = info_new();
    info->caps = FI_MSG | FI_RMA | fake.caps;
    info->mode = FI_CONTEXT2 | fake.mode;
    info->tx_attr->size = 64;
    info->rx_attr->size = 2048;
    info->ep_attr->type = FI_EP_RDM;
    info->ep_attr->max_msg_size = size_t{1} << 30;
    info->domain_attr->name = strdup(fake.domain.c_str());
    info->domain_attr->mr_mode =
        FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | fake.mr_mode;
    info->domain_attr->mr_key_size = 4;
    info->domain_attr->cq_data_size = fake.cq_data;
    info->fabric_attr->name = strdup(fake.fabric.c_str());
    info->fabric_attr->prov_name = strdup(fake.provider.c_str());
    return info;
}

bool offered(const FakeInfo& fake, const fi_info* hints) {
    return fake.provider == hints->fabric_attr->prov_name && (fake.mode & ~hints->mode) == 0 &&
           (fake.mr_mode & ~hints->domain_attr->mr_mode) == 0 &&
           (hints->caps & FI_HMEM & ~fake.caps) == 0;
}

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

ssize_t cq_read(fid_cq* queue, void* entries, size_t room) {
    if (gone) {
        std::abort();
    }
    if (world.read_error != 0) {
        return -world.read_error;
    }
    if (next_is_for(queue, world.errors)) {
        return -FI_EAVAIL;
    }
    size_t count = 0;
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

int name_get(fid*, void* address, size_t* bytes) {
    *bytes = 32;
    std::memset(address, 1, 32);
    return 0;
}

ssize_t receive(fid_ep*, void*, size_t, void*, fi_addr_t, void* context) {
    if (world.receive_error == 0) {
        world.receives.push_back(context);
    }
    return -world.receive_error;
}

ssize_t transmit(fid_ep* endpoint, void* context) {
    world.transmits.push_back(context);
    world.sent_by[context] = endpoint->fid.context;
    return 0;
}

ssize_t send(fid_ep* endpoint, const void*, size_t, void*, fi_addr_t, void* context) {
    return transmit(endpoint, context);
}

ssize_t write_message(fid_ep* endpoint, const fi_msg_rma* message, uint64_t flags) {
    int error = 0;
    if (!world.write_errors.empty()) {
        error = world.write_errors.front();
        world.write_errors.pop_front();
    }
    if (error != 0) {
        return -error;
    }
    world.written.push_back({message->msg_iov->iov_len, message->rma_iov->len,
                             message->rma_iov->addr, message->rma_iov->key, message->data, flags});
    return transmit(endpoint, message->context);
}

int may_wait(fid_fabric*, fid**, int) {
    return 0;
}

int av_insert(fid_av*, const void*, size_t count, fi_addr_t* addresses, uint64_t, void*) {
    for (size_t i = 0; i < count; i++) {
        addresses[i] = i;
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
    static fi_ops_eq ops{};
    ops.size = sizeof ops;
    ops.readerr = eq_read_error;
    *queue = object_new<fid_eq>(FI_CLASS_EQ, &ops);
    return 0;
}

int cq_open(fid_domain*, fi_cq_attr*, fid_cq** queue, void*) {
    static fi_ops_cq ops{};
    ops.size = sizeof ops;
    ops.read = cq_read;
    ops.readerr = cq_read_error;
    ops.strerror = cq_error_text;
    *queue = object_new<fid_cq>(FI_CLASS_CQ, &ops);
    return 0;
}

int av_open(fid_domain*, fi_av_attr*, fid_av** addresses, void*) {
    static fi_ops_av ops{};
    ops.size = sizeof ops;
    ops.insert = av_insert;
    ops.remove = av_remove;
    ops.straddr = av_text;
    *addresses = object_new<fid_av>(FI_CLASS_AV, &ops);
    return 0;
}

int endpoint_open(fid_domain*, fi_info*, fid_ep** endpoint, void*) {
    static fi_ops_ep ops{};
    static fi_ops_cm cm{};
    static fi_ops_msg message{};
    static fi_ops_rma rma{};
    ops.size = sizeof ops;
    ops.setopt = setopt;
    ops.getopt = getopt;
    cm.getname = name_get;
    message.recv = receive;
    message.send = send;
    *endpoint = object_new<fid_ep>(FI_CLASS_EP, &ops);
    (*endpoint)->cm = &cm;
    (*endpoint)->msg = &message;
    rma.writemsg = write_message;
    (*endpoint)->rma = &rma;
    return 0;
}

int registration_close(fid* object) {
    world.registrations_open--;
    std::free(object);
    return 0;
}

fi_ops registration_ops = {
    sizeof(fi_ops), registration_close, bind_nothing, control, nullptr, nullptr, nullptr};

int registered(FakeLibfabric::Registration what, fid_mr** registration) {
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
    static fi_ops_domain ops{};
    static fi_ops_mr memory{};
    if (world.open_error != 0) {
        return -world.open_error;
    }
    ops.size = sizeof ops;
    ops.av_open = av_open;
    ops.cq_open = cq_open;
    ops.endpoint = endpoint_open;
    memory.size = sizeof memory;
    memory.reg = mr_reg;
    memory.regattr = mr_regattr;
    *domain = object_new<fid_domain>(FI_CLASS_DOMAIN, &ops);
    (*domain)->mr = &memory;
    return 0;
}

}  // namespace

EXPORTED FakeLibfabric* weft_fake_libfabric() {
    return &world;
}

EXPORTED uint32_t fi_version(void) {
    return world.version;
}

EXPORTED const char* fi_strerror(int error) {
    return std::strerror(error);
}

EXPORTED void fi_freeinfo(fi_info* info) {
    while (info != nullptr) {
        fi_info* next = info->next;
        std::free(info->domain_attr->name);
        std::free(info->fabric_attr->name);
        std::free(info->fabric_attr->prov_name);
        std::free(info->tx_attr);
        std::free(info->rx_attr);
        std::free(info->ep_attr);
        std::free(info->domain_attr);
        std::free(info->fabric_attr);
        std::free(info);
        info = next;
    }
}

EXPORTED fi_info* fi_dupinfo(const fi_info* from) {
    fi_info* info = info_new();
    if (from == nullptr) {
        return info;
    }
    info->caps = from->caps;
    info->mode = from->mode;
    *info->tx_attr = *from->tx_attr;
    *info->rx_attr = *from->rx_attr;
    *info->ep_attr = *from->ep_attr;
    *info->domain_attr = *from->domain_attr;
    *info->fabric_attr = *from->fabric_attr;
    info->domain_attr->name = copy_of(from->domain_attr->name);
    info->fabric_attr->name = copy_of(from->fabric_attr->name);
    info->fabric_attr->prov_name = copy_of(from->fabric_attr->prov_name);
    return info;
}

EXPORTED int fi_getinfo(uint32_t version, const char*, const char*, uint64_t flags,
                        const fi_info* hints, fi_info** list) {
    world.getinfo_calls++;
    world.api_version = version;
    *list = nullptr;
    fi_info** end = list;
    if ((flags & FI_PROV_ATTR_ONLY) != 0) {
        for (const std::string& provider : world.providers) {
            *end = info_of({provider});
            end = &(*end)->next;
        }
    } else {
        for (const FakeInfo& fake : world.infos) {
            if (offered(fake, hints)) {
                *end = info_of(fake);
                end = &(*end)->next;
            }
        }
    }
    return *list != nullptr ? 0 : -FI_ENODATA;
}

EXPORTED int fi_fabric(fi_fabric_attr*, fid_fabric** fabric, void*) {
    static fi_ops_fabric ops{};
    ops.size = sizeof ops;
    ops.domain = domain_open;
    ops.trywait = may_wait;
    ops.eq_open = eq_open;
    *fabric = object_new<fid_fabric>(FI_CLASS_FABRIC, &ops);
    return 0;
}
