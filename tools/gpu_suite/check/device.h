// The device as a program has it: one context, streams, memory, copies, capture. Whatever fails
// ends the test. Thread rule: made by one thread; use() makes it current on another. Lifetime: the
// process's: tests end without giving back.
#pragma once

#include <string>
#include <vector>

#include "src/gpu/context.h"
#include "src/gpu/driver.h"
#include "tools/gpu_suite/check/program_table.h"

namespace weft::suite {

class Device {
  public:
    // The driver is WEFT_LIBCUDA's or the loader's.
    explicit Device(int ordinal);
    const gpu::Driver* operator->() const { return &driver_; }
    const gpu::ProgramTable& program() const { return program_; }
    const std::string& name() const { return name_; }
    bool is_stand_in() const { return name_.starts_with("stand-in"); }
    int ordinal() const { return ordinal_; }
    gpu::DevicePlace place() const { return {&driver_, context_, ordinal_}; }
    // The context, on this thread until it ends.
    void use() const;

    gpu::Stream stream() const;
    gpu::Address take(size_t bytes) const;
    uint64_t* take_pinned(size_t words) const;
    void put(gpu::Address to, const void* from, size_t bytes) const;
    void get(void* to, gpu::Address from, size_t bytes) const;
    void fill(gpu::Address at, unsigned char byte, size_t bytes) const;
    void synchronize(gpu::Stream stream) const;
    int attribute(int number) const;
    gpu::Function kernel(const char* name) const;
    template <class Argument>
    void launch(gpu::Function kernel, unsigned blocks, unsigned threads, gpu::Stream stream,
                Argument argument) const {
        launch_any(kernel, blocks, threads, stream, &argument);
    }
    gpu::GraphExec capture_end(gpu::Stream stream) const;
    void done(gpu::Status status, const char* what) const;

  private:
    void launch_any(gpu::Function kernel, unsigned blocks, unsigned threads, gpu::Stream stream,
                    void* argument) const;
    gpu::Driver driver_;
    gpu::ProgramTable program_;
    int ordinal_;
    gpu::Context context_ = nullptr;
    gpu::Stream copies_ = nullptr;
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
