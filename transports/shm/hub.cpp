#include "transports/hubs.h"

#include "src/base/log.h"
#include "transports/shm/exchange.h"
#include "transports/shm/wire.h"

namespace weft {

namespace {

class ShmHub final : public WireHub {
  public:
    ShmHub(std::shared_ptr<shm::Exchange> exchange, bool cma)
        : exchange_(std::move(exchange)), cma_(cma) {}
    ~ShmHub() override { exchange_->close(); }

    Result<std::unique_ptr<Wire>> attach(const WireConfig& config) override {
        if (config.doorbell == nullptr || config.rank >= config.rank_count) {
            return make_error(Code::invalid_argument, Scope::call,
                              format("a wire for rank %u of %u without a doorbell or a place",
                                     config.rank, config.rank_count));
        }
        auto port = TRY(exchange_->attach(config));
        return std::unique_ptr<Wire>(std::make_unique<shm::ShmWire>(exchange_, std::move(port)));
    }

    std::string describe() const override {
        return format(
            "shm: peers on this host through sealed memory files, by value up to %u "
            "bytes, private memory %s",
            shm::inline_bytes,
            cma_ ? "pulled by process_vm_readv where allowed, else staged" : "staged");
    }

  private:
    std::shared_ptr<shm::Exchange> exchange_;  // shared with the wires and posted callbacks
    bool cma_;
};

}  // namespace

Result<std::unique_ptr<WireHub>> shm_hub_make(Reactor& reactor, const ShmOptions& options) {
    auto exchange = TRY(shm::Exchange::create(reactor, options.cma));
    return std::unique_ptr<WireHub>(std::make_unique<ShmHub>(std::move(exchange), options.cma));
}

}  // namespace weft
