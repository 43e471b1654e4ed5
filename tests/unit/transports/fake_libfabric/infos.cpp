// What the libfabric of tests says there is.
#include <rdma/fabric.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <cstdlib>
#include <cstring>

#include "tests/unit/transports/fake_libfabric/told.h"

namespace {

using weft::test::FakeInfo;
using weft::test::zeroed;

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

}  // namespace

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
    weft::test::FakeLibfabric& world = *weft_fake_libfabric();
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
                (*end)->caps &= hints->caps | ~FI_HMEM;  // what nobody asked for is not given
                end = &(*end)->next;
            }
        }
    }
    return *list != nullptr ? 0 : -FI_ENODATA;
}
