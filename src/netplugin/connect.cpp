#include "src/netplugin/connect.h"

#include <cstring>

#include "src/base/log.h"
#include "src/base/settings.h"

namespace weft::netplugin {

namespace {

static_assert(handle_bytes == meeting_handle_bytes);
constexpr size_t state_at = meeting_handle_used;
static_assert(state_at + sizeof(uint64_t) <= handle_bytes);

MeetConfig meet_config(const Device& device) {
    MeetConfig config;
    config.rails = device.rails;
    config.shares_memory = true;
    config.patience = settings().init_timeout_s * nanos_per_s;
    return config;
}

uint64_t state_of(const void* handle) {
    uint64_t id = 0;
    std::memcpy(&id, static_cast<const std::byte*>(handle) + state_at, sizeof id);
    return id;
}

void state_set(void* handle, uint64_t id) {
    std::memcpy(static_cast<std::byte*>(handle) + state_at, &id, sizeof id);
}

Result<uint64_t> call_begin(const std::shared_ptr<Shared>& shared, int index, const void* handle) {
    const Device* device = TRY(shared->devices.get(index));
    MeetingHandle bytes;
    std::memcpy(bytes.data(), handle, bytes.size());
    auto call = TRY(shared->hub->call(meet_config(*device), bytes));
    return shared->calling_add(std::make_unique<Calling>(shared, *device, std::move(call)));
}

}  // namespace

ListenComm::ListenComm(std::shared_ptr<Shared> shared, const Device& device,
                       std::unique_ptr<Listener> listener)
    : shared_(std::move(shared)), device_(device), listener_(std::move(listener)) {
}

Result<std::unique_ptr<ListenComm>> ListenComm::make(std::shared_ptr<Shared> shared, int index,
                                                     void* handle) {
    const Device* device = TRY(shared->devices.get(index));
    auto listener = TRY(shared->hub->listen(meet_config(*device)));
    std::memcpy(handle, listener->handle().data(), handle_bytes);
    return std::unique_ptr<ListenComm>(
        new ListenComm(std::move(shared), *device, std::move(listener)));
}

Result<void> ListenComm::advance() {
    if (made_ != nullptr) {
        return made_->drive();
    }
    auto met = TRY(listener_->accept(nullptr));
    if (met) {
        made_ = std::make_unique<RecvComm>(shared_, device_, *std::move(met));
        return made_->begin();
    }
    return {};
}

Result<std::unique_ptr<RecvComm>> ListenComm::accept() {
    auto done = advance();
    if (!done.ok()) {
        made_.reset();
        return std::move(done).error();
    }
    return made_ != nullptr && made_->up() ? std::move(made_) : nullptr;
}

Calling::Calling(std::shared_ptr<Shared> shared, const Device& device,
                 std::unique_ptr<PeerCall> call)
    : shared_(shared), device_(device), call_(std::move(call)) {
}

Result<std::unique_ptr<SendComm>> Calling::advance() {
    if (made_ == nullptr) {
        auto met = TRY(call_->advance(clock_now()));
        if (!met) {
            return std::unique_ptr<SendComm>();
        }
        made_ = std::make_unique<SendComm>(shared_.lock(), device_, *std::move(met));
        TRY(made_->begin());
    }
    TRY(made_->drive());
    return made_->up() ? std::move(made_) : nullptr;
}

Result<std::unique_ptr<SendComm>> connect(const std::shared_ptr<Shared>& shared, int device,
                                          void* handle) {
    uint64_t id = state_of(handle);
    if (id == 0) {
        id = TRY(call_begin(shared, device, handle));
        state_set(handle, id);
    }
    Calling* calling = shared->calling(id);
    if (calling == nullptr) {
        return make_error(Code::invalid_argument, Scope::call,
                          "the handle to connect to is damaged, or of another plugin: its last 8 "
                          "bytes name no call of this process");
    }
    auto made = calling->advance();
    if (!made.ok() || made.value() != nullptr) {
        shared->calling_take(id);
        state_set(handle, 0);
    }
    return made;
}

}  // namespace weft::netplugin
