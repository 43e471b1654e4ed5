// The tests, one a command. Each ends by finish() or fail(), or returns when it passed. Thread
// rule: one at a time. Failure rule: ends the process.
#pragma once

#include "tools/gpu_suite/check/device.h"
#include "tools/gpu_suite/check/options.h"

namespace weft::suite {

void facts(const Device& device, const Options& options);
void health(const Device& device, const Options& options);
void litmus(const Device& device, const Options& options);
void memory(const Device& device, const Options& options);
void copy_rates(const Device& device, const Options& options);
void correct(const Device& device, const Options& options);
void windows(const Device& device, const Options& options);
void crossed(const Device& device, const Options& options);
void graph(const Device& device, const Options& options);
void abort_waiting(const Device& device, const Options& options);
void rates(const Device& device, const Options& options);
void latency(const Device& device, const Options& options);

}  // namespace weft::suite
