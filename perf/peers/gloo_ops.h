// Gloo's side of the comparisons: all_gather and all_reduce (ring) on floats over TCP, where Gloo
// was there at build time. Thread rule: one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace weft::perf {

class GlooPeer {
  public:
    virtual ~GlooPeer() = default;
    // `count` is what the call is given: elements a rank sends.
    virtual void run(const float* send, float* recv, size_t count) = 0;
};

// `folder` is empty, shared by all ranks and theirs alone. Null with `why` filled in if this build
// or Gloo does not have it; throws what Gloo throws.
std::unique_ptr<GlooPeer> gloo_connect(const std::string& op, int rank, int rank_count,
                                       const std::string& folder, std::string* why);

}  // namespace weft::perf
