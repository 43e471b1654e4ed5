// Loading, devices, properties, contexts.
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/base/log.h"
#include "tools/net_check/checks.h"

namespace weft::netcheck {

namespace {

constexpr int unpack_version = 7;  // the only one that NCCL takes

std::string text_of(const char* text) {
    return text != nullptr ? text : "(null)";
}

Result<std::vector<Properties>> properties_all(const Communicator& communicator) {
    std::vector<Properties> all(static_cast<size_t>(communicator.device_count()));
    for (int device = 0; device < communicator.device_count(); device++) {
        TRY(good(communicator.net().properties(device, &all[static_cast<size_t>(device)]),
                 "getProperties"));
    }
    return all;
}

bool flag(int value) {
    return value == 0 || value == 1;
}

Result<void> set_check(const DeviceSet& set, int version, int device_count) {
    const int most = version >= 12 ? 8 : 4;
    TRY(expect(set.count >= 1 && set.count <= most,
               format("vProps.ndevs is %d, not from 1 to %d", set.count, most)));
    for (int i = 0; i < set.count; i++) {
        TRY(expect(set.devices[i] >= 0 && set.devices[i] < device_count,
                   format("vProps.devs[%d] is %d of %d devices", i, set.devices[i], device_count)));
    }
    return {};
}

Result<void> bytes_check(const char* name, size_t bytes) {
    return expect(bytes > 0 && bytes <= netplugin::bytes_max,
                  format("%s is %zu, not from 1 byte to 1 TiB", name, bytes));
}

Result<void> range_check(const Properties& p, int version, int device_count) {
    TRY(expect(p.name != nullptr && *p.name != '\0', "a device has no name"));
    const int known = netplugin::pointer_host | netplugin::pointer_cuda | netplugin::pointer_dmabuf;
    TRY(expect((p.pointer_kinds & netplugin::pointer_host) != 0 && (p.pointer_kinds & ~known) == 0,
               format("ptrSupport is %#x: host memory (1) must be in it, and nothing but 1, 2, 4",
                      static_cast<unsigned>(p.pointer_kinds))));
    TRY(expect(flag(p.reg_is_global), format("regIsGlobal is %d", p.reg_is_global)));
    TRY(expect(flag(p.force_flush), format("forceFlush is %d", p.force_flush)));
    TRY(expect(p.speed_mbps > 0, format("speed is %d Mbit/s", p.speed_mbps)));
    TRY(expect(std::isfinite(p.latency_us) && p.latency_us >= 0,
               format("latency is %g", static_cast<double>(p.latency_us))));
    TRY(expect(p.comms_max > 0, format("maxComms is %d", p.comms_max)));
    TRY(expect(p.recvs_max >= 1 && p.recvs_max <= group_max,
               format("maxRecvs is %d, not from 1 to %d", p.recvs_max, group_max)));
    const bool unpack =
        p.device_kind == netplugin::device_unpack && p.device_version == unpack_version;
    TRY(expect(p.device_kind == netplugin::device_host || unpack,
               format("netDeviceType %d of version %d: NCCL refuses the plugin", p.device_kind,
                      p.device_version)));
    TRY(bytes_check("maxP2pBytes", p.p2p_bytes_max));
    TRY(bytes_check("maxCollBytes", p.coll_bytes_max));
    TRY(expect(p.multi_request_max >= 0, format("maxMultiRequestSize is %d", p.multi_request_max)));
    TRY(expect(p.rail_id >= -1 && p.plane_id >= -1,
               format("railId %d, planeId %d: below -1", p.rail_id, p.plane_id)));
    return version >= 9 ? set_check(p.devices, version, device_count) : Result<void>();
}

bool same(const Properties& a, const Properties& b) {
    Properties x = a;
    Properties y = b;
    x.name = y.name = x.pci_path = y.pci_path = nullptr;
    return text_of(a.name) == text_of(b.name) && text_of(a.pci_path) == text_of(b.pci_path) &&
           std::memcmp(&x, &y, sizeof x) == 0;
}

}  // namespace

Result<void> check_load(Bench& bench) {
    TRY(bench.load());
    TRY(expect(*bench.net->name() != '\0', "the name is empty: NCCL_NET cannot select it"));
    return bench.unload();
}

Result<void> check_devices(Bench& bench) {
    const auto first = TRY(Communicator::open(bench));
    const auto second = TRY(Communicator::open(bench));
    TRY(expect(first->device_count() == second->device_count(),
               format("devices says %d, then %d", first->device_count(), second->device_count())));
    TRY(first->close());
    return second->close();
}

Result<void> check_properties_range(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    const std::vector<Properties> all = TRY(properties_all(*communicator));
    for (size_t device = 0; device < all.size(); device++) {
        Result<void> fits = range_check(all[device], bench.version, communicator->device_count());
        if (!fits.ok()) {
            return broken(format("device %zu: ", device) + fits.error().what);
        }
    }
    return communicator->close();
}

Result<void> check_properties_stable(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    const std::vector<Properties> first = TRY(properties_all(*communicator));
    const auto again = [&]() -> Result<void> {
        const std::vector<Properties> now = TRY(properties_all(*communicator));
        for (size_t device = 0; device < first.size(); device++) {
            TRY(expect(same(first[device], now[device]),
                       format("device %zu has other properties when asked again", device)));
        }
        return {};
    };
    TRY(again());
    communicator->service.start(again);
    Result<void> own = again();
    TRY(communicator->service.finish());
    TRY(std::move(own));
    return communicator->close();
}

Result<void> check_properties_path(Bench& bench) {
    const auto communicator = TRY(Communicator::open(bench));
    const std::vector<Properties> all = TRY(properties_all(*communicator));
    for (const Properties& p : all) {
        struct stat status {};
        TRY(expect(
            p.pci_path == nullptr || (::stat(p.pci_path, &status) == 0 && S_ISDIR(status.st_mode)),
            "pciPath is no folder: " + text_of(p.pci_path)));
    }
    return communicator->close();
}

Result<void> check_init_per_comm(Bench& bench) {
    Rig first = TRY(rig_open(bench));
    Rig second = TRY(rig_open(bench));
    TRY(transfer_run(bench, first.lines, some_messages(1)));
    TRY(rig_close(bench, first));
    TRY(transfer_run(bench, second.lines, some_messages(2)));
    Rig third = TRY(rig_open(bench));
    TRY(transfer_run(bench, third.lines, some_messages(3)));
    TRY(rig_close(bench, third));
    return rig_close(bench, second);
}

Result<void> check_finalize(Bench& bench) {
    TRY(rig_check(bench, {}, some_messages(1)));
    return rig_check(bench, {}, some_messages(2));
}

Result<void> check_reload(Bench& bench) {
    for (uint64_t round = 0; round < 3; round++) {
        TRY(bench.load());
        TRY(rig_check(bench, {}, some_messages(round)));
        TRY(bench.unload());
    }
    return {};
}

Result<void> check_virtual_device(Bench& bench) {
    if (!bench.net->has_virtual_devices()) {
        return skipped("makeVDevice is null");
    }
    auto communicator = TRY(Communicator::open(bench));
    if (communicator->device_count() < 2) {
        return skipped("there is only one device");
    }
    DeviceSet set{2, {0, 1}};
    int device = -1;
    const ncclResult_t code = communicator->net().make_virtual_device(&device, &set);
    if (code != ncclSuccess) {  // NCCL goes on with the devices as they are
        return skipped(format("makeVDevice gives %s for devices 0 and 1", code_name(code)));
    }
    TRY(expect(device >= communicator->device_count(),
               format("makeVDevice says device %d, which is a physical one", device)));
    Properties p{};
    TRY(good(communicator->net().properties(device, &p), "getProperties"));
    TRY(expect(p.devices.count == 2 && p.devices.devices[0] == 0 && p.devices.devices[1] == 1,
               "vProps of the virtual device do not name devices 0 and 1"));
    TRY(range_check(p, bench.version, communicator->device_count()));
    Rig rig{std::move(communicator), {}};
    rig.lines = TRY(lines_open(bench, *rig.communicator, {device, 0, 1}));
    TRY(transfer_run(bench, rig.lines, some_messages(1)));
    return rig_close(bench, rig);
}

Result<void> check_attributes(Bench& bench) {
    if (!bench.net->has_attributes()) {
        return skipped("setNetAttr is null");
    }
    Rig rig = TRY(rig_open(bench));
    TRY(rig.communicator->progress.run([&] {
        netplugin::NetAttributes hints{{4, 1, 8, 1}, {4, 1, 8, 1}, 2, 1, 2};
        return good(rig.communicator->net().set_attributes(rig.communicator->context(), &hints),
                    "setNetAttr");
    }));
    TRY(transfer_run(bench, rig.lines, some_messages(1)));
    return rig_close(bench, rig);
}

}  // namespace weft::netcheck
