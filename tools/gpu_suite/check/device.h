// The device as a program has it (perf/device.h), and what tests need beside: kernels of their own,
// pinned memory, capture. Whatever fails ends the test. Thread rule: made by one thread; use()
// makes it current on another. Lifetime: the process's: tests end without giving back.
#pragma once

#include <string>

#include "perf/device.h"
#include "tools/gpu_suite/check/program_table.h"

namespace weft::suite {

class Device : public perf::Device {
  public:
    explicit Device(int ordinal);
    const gpu::ProgramTable& program() const { return program_; }
    bool is_stand_in() const { return name_.starts_with("stand-in"); }
    int ordinal() const { return ordinal_; }
    // The context, on this thread until it ends.
    void use() const;

    uint64_t* take_pinned(size_t words) const;
    void fill(gpu::Address at, unsigned char byte, size_t bytes) const;
    int attribute(int number) const;
    gpu::Function kernel(const char* name) const;
    template <class Argument>
    void launch(gpu::Function kernel, unsigned blocks, unsigned threads, gpu::Stream stream,
                Argument argument) const {
        launch_any(kernel, blocks, threads, stream, &argument);
    }
    gpu::GraphExec capture_end(gpu::Stream stream) const;

  private:
    void launch_any(gpu::Function kernel, unsigned blocks, unsigned threads, gpu::Stream stream,
                    void* argument) const;
    gpu::ProgramTable program_;
    int ordinal_;
    std::string name_;
    mutable gpu::Module module_ = nullptr;
};

// Seconds that work on a stream took, by two events around it.
class Stopwatch {
  public:
    Stopwatch(const Device& device, gpu::Stream stream);
    ~Stopwatch();
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    double seconds();  // waits for the stream

  private:
    const Device& device_;
    gpu::Stream stream_;
    gpu::Event begin_ = nullptr, end_ = nullptr;
    double wall_;
};

double wall_seconds();

}  // namespace weft::suite
