// The stand-in driver as the tests of this folder load it. Thread-bound: one test at a time.
#pragma once

#include <dlfcn.h>

#include <csignal>

#include "tests/catch.h"
#include "tests/fake_cuda/control.h"

// For a test whose process the stand-in ends: without Catch's handler, which allocates, so that a
// sanitizer would end the process before the signal does.
inline void ends_here_by_abort() {
    std::signal(SIGABRT, SIG_DFL);
}

// The switches at their defaults, for one test.
class FakeSwitches {
  public:
    FakeSwitches() : library_(dlopen(FAKE_CUDA, RTLD_NOW)) {
        REQUIRE(library_ != nullptr);
        control_ = static_cast<FakeCudaControl*>(dlsym(library_, "fake_cuda_control"));
        REQUIRE(control_ != nullptr);
    }
    ~FakeSwitches() {
        control_->version = 12080;
        control_->devices = 1;
        control_->lacking = nullptr;
        control_->stub = 0;
        control_->block_threads = 1;
        control_->resident_blocks = control_->queues = control_->late = 0;
        control_->stream_room = control_->widest_block = 0;
        control_->launch_lost = control_->launch_stuck = control_->device_dies = 0;
        control_->copy_wrong = 0;
        control_->narrow = 0;
        control_->lazy = control_->no_waiting = control_->launch_fails = 0;
        control_->no_virtual_memory = control_->no_peers = control_->addresses_again = 0;
        dlclose(library_);
    }
    FakeSwitches(const FakeSwitches&) = delete;
    FakeSwitches& operator=(const FakeSwitches&) = delete;
    FakeCudaControl* operator->() const { return control_; }

  private:
    void* library_;
    FakeCudaControl* control_ = nullptr;
};
