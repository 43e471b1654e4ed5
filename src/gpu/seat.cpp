#include "src/gpu/seat.h"

#include "src/base/log.h"

namespace weft::gpu {

namespace {

Result<int> attribute_of(const Driver& driver, Device device, int attribute) {
    int value = 0;
    TRY(driver_check(driver, driver.cuDeviceGetAttribute(&value, attribute, device),
                     format("cuDeviceGetAttribute %d of CUDA device %d", attribute, device)));
    return value;
}

Result<DeviceFacts> facts_of(const Driver& driver, int ordinal, Device device) {
    DeviceFacts facts;
    facts.ordinal = ordinal;
    char name[128] = {};
    TRY(driver_check(driver, driver.cuDeviceGetName(name, sizeof(name), device),
                     format("the name of CUDA device %d", ordinal)));
    facts.name = name;
    facts.uuid = device_uuid(driver, device);
    facts.multiprocessors =
        TRY(attribute_of(driver, device, device_attribute::multiprocessor_count));
    const int major = TRY(attribute_of(driver, device, device_attribute::capability_major));
    const int minor = TRY(attribute_of(driver, device, device_attribute::capability_minor));
    const int cooperative = TRY(attribute_of(driver, device, device_attribute::cooperative_launch));
    facts.capability = major * 10 + minor;
    facts.cooperative = cooperative != 0;
    return facts;
}

Result<void> image_load(const Driver& driver, const DeviceFacts& facts, const char* what,
                        std::span<const std::byte> image, Module* module) {
    return driver_check(driver, driver.cuModuleLoadData(module, image.data()),
                        format("loading the %s kernels on %s (compute capability %d.%d)", what,
                               facts.name.c_str(), facts.capability / 10, facts.capability % 10));
}

}  // namespace

Result<std::shared_ptr<Seat>> Seat::create(const Driver& driver, int ordinal,
                                           const KernelWay& way) {
    const int count = TRY(driver_init(driver));
    if (ordinal < 0 || ordinal >= count) {
        return make_error(
            Code::invalid_argument, Scope::communicator,
            format("there is no CUDA device %d: the driver sees %d (from 0); check the device "
                   "list and CUDA_VISIBLE_DEVICES",
                   ordinal, count));
    }
    Device device = 0;
    TRY(driver_check(driver, driver.cuDeviceGet(&device, ordinal),
                     format("CUDA device %d", ordinal)));
    DeviceFacts facts = TRY(facts_of(driver, ordinal, device));
    PrimaryContext context = TRY(PrimaryContext::retain(driver, device));
    // Shared: by the communicators of a device.
    std::shared_ptr<Seat> seat(new Seat(driver, std::move(context), std::move(facts), way));
    TRY(seat->load());
    return seat;
}

Result<void> Seat::load() {
    const ContextGuard guard = TRY(ContextGuard::push(*driver_, context()));
    for (int type = 0; type < data_type_count; ++type) {
        TRY(load_type(static_cast<DataType>(type)));
    }
    const std::span<const std::byte> image = TRY(move_image());
    Module& module = modules_[data_type_count];
    TRY(image_load(*driver_, facts_, "copying", image, &module));
    move_kernel_ = TRY(kernel_load(module, "move_rows"));
    board_kernel_ = TRY(kernel_load(module, "board_rows"));
    return {};
}

Result<void> Seat::load_type(DataType type) {
    const std::span<const std::byte> image = TRY(device_image(type));
    Module& module = modules_[static_cast<size_t>(type)];
    TRY(image_load(*driver_, facts_, to_string(type), image, &module));
    for (int family = 0; family < family_count; ++family) {
        for (int op = 0; op < kernel_ops; ++op) {
            kernels_[family][static_cast<size_t>(type)][op] = TRY(kernel_load(
                module, kernel_name(static_cast<Family>(family), type, static_cast<RedOp>(op))));
        }
    }
    return {};
}

Result<Function> Seat::kernel_load(Module module, const std::string& name) {
    Function kernel = nullptr;
    TRY(driver_check(*driver_, driver_->cuModuleGetFunction(&kernel, module, name.c_str()),
                     "finding the kernel " + name));
    // Without this function loading cannot be lazy either.
    if (driver_->cuFuncLoad != nullptr) {
        TRY(driver_check(*driver_, driver_->cuFuncLoad(kernel), "loading " + name));
    }
    return kernel;
}

Seat::~Seat() {
    const RelaxedCapture relaxed(*driver_);
    const Result<ContextGuard> guard = ContextGuard::push(*driver_, context());
    if (!guard.ok()) {
        return;  // the program has reset its device, and with it everything here
    }
    for (const Module module : modules_) {
        if (module != nullptr) {
            driver_->cuModuleUnload(module);
        }
    }
}

Result<void> Seat::resident(Family family, DataType type, RedOp op, uint32_t blocks,
                            uint32_t threads) const {
    int per_multiprocessor = 0;
    TRY(driver_check(
        *driver_,
        driver_->cuOccupancyMaxActiveBlocksPerMultiprocessor(
            &per_multiprocessor, kernel(family, type, op), static_cast<int>(threads), 0),
        "asking how many blocks fit"));
    const auto fit = static_cast<uint32_t>(per_multiprocessor * facts_.multiprocessors);
    if (blocks <= fit) {
        return {};
    }
    return make_error(
        Code::invalid_usage, Scope::call,
        format("one launch needs %u blocks at once, %s holds %u: call from fewer ranks in one "
               "group, or each from a thread and stream of its own",
               blocks, facts_.name.c_str(), fit));
}

RelaxedCapture::RelaxedCapture(const Driver& driver)
    : driver_(driver), mode_(capture_mode::relaxed) {
    driver_.cuThreadExchangeStreamCaptureMode(&mode_);
}

RelaxedCapture::~RelaxedCapture() {
    driver_.cuThreadExchangeStreamCaptureMode(&mode_);
}

}  // namespace weft::gpu
