#include "perf/peers/gloo_ops.h"

#ifdef WEFT_PERF_GLOO
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <cstdlib>
#endif

namespace weft::perf {

#ifdef WEFT_PERF_GLOO
namespace {

class Connected : public GlooPeer {
  public:
    Connected(int rank, int rank_count, const std::string& folder)
        : context_(std::make_shared<gloo::rendezvous::Context>(rank, rank_count)) {
        gloo::transport::tcp::attr where;
        // The address others reach this rank at: a virtual host's first rail.
        const char* rails = std::getenv("WEFT_RAILS");
        const std::string all = rails != nullptr ? rails : "127.0.0.1";
        where.hostname = all.substr(0, all.find(','));
        auto device = gloo::transport::tcp::CreateDevice(where);
        gloo::rendezvous::FileStore store(folder);
        context_->connectFullMesh(store, device);
    }

  protected:
    std::shared_ptr<gloo::rendezvous::Context> context_;
};

class Gather : public Connected {
  public:
    using Connected::Connected;
    void run(const float* send, float* recv, size_t count) override {
        gloo::AllgatherOptions options(context_);
        options.setInput(const_cast<float*>(send), count);
        options.setOutput(recv, count * static_cast<size_t>(context_->size));
        gloo::allgather(options);
    }
};

class Reduce : public Connected {
  public:
    using Connected::Connected;
    void run(const float* send, float* recv, size_t count) override {
        gloo::AllreduceOptions options(context_);
        options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
        options.setInput(const_cast<float*>(send), count);
        options.setOutput(recv, count);
        options.setReduceFunction([](void* sum, const void* a, const void* b, size_t n) {
            gloo::sum<float>(static_cast<float*>(sum), static_cast<const float*>(a),
                             static_cast<const float*>(b), n);
        });
        gloo::allreduce(options);
    }
};

}  // namespace

std::unique_ptr<GlooPeer> gloo_connect(const std::string& op, int rank, int rank_count,
                                       const std::string& folder, std::string* why) {
    if (op == "all_gather") {
        return std::make_unique<Gather>(rank, rank_count, folder);
    }
    if (op == "all_reduce") {
        return std::make_unique<Reduce>(rank, rank_count, folder);
    }
    *why = "Gloo is compared in all_gather and all_reduce, not in " + op;
    return nullptr;
}
#else
std::unique_ptr<GlooPeer> gloo_connect(const std::string&, int, int, const std::string&,
                                       std::string* why) {
    *why = "built without Gloo: install libgloo-dev and configure again";
    return nullptr;
}
#endif

}  // namespace weft::perf
