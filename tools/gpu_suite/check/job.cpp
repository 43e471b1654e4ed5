#include "tools/gpu_suite/check/job.h"

#include <atomic>
#include <cstring>
#include <thread>

#include "tools/gpu_suite/check/outcome.h"
#include "tools/gpu_suite/check/values.h"

namespace weft::suite {

namespace {

constexpr int factor = 2;  // of PreMulSum
constexpr size_t comms_max = 64;
std::atomic<ncclComm_t> live[comms_max];  // for unlock()

void live_add(ncclComm_t comm) {
    for (auto& place : live) {
        ncclComm_t none = nullptr;
        if (place.compare_exchange_strong(none, comm)) {
            return;
        }
    }
}

// True for whoever took it out.
bool live_take(ncclComm_t comm) {
    for (auto& place : live) {
        ncclComm_t same = comm;
        if (comm != nullptr && place.compare_exchange_strong(same, nullptr)) {
            return true;
        }
    }
    return false;
}

}  // namespace

void ok(ncclResult_t result, const char* what) {
    if (result != ncclSuccess && result != ncclInProgress) {
        fail("%s: %s: %s", what, ncclGetErrorString(result), ncclGetLastError(nullptr));
    }
}

uint64_t counted(const Job& job, uint64_t weftStats_t::*counter) {
    uint64_t total = 0;
    for (int rank = job.first(); rank < job.end(); rank++) {
        weftStats_t stats = WEFT_STATS_INITIALIZER;
        ok(weftCommStats(job.comm(rank), &stats), "weftCommStats");
        total += stats.*counter;
    }
    return total;
}

ncclDataType_t nccl_type(DataType type) {
    return static_cast<ncclDataType_t>(type);
}

Job::Job(const Device& device, const Options& options)
    : device_(device),
      mode_(options.mode),
      first_(options.mode == Mode::process ? options.rank : 0),
      comms_(options.mode == Mode::process ? 1 : static_cast<size_t>(options.ranks)) {
    ncclUniqueId id;
    ok(ncclGetUniqueId(&id), "ncclGetUniqueId");
    ok(ncclGroupStart(), "ncclGroupStart");
    for (size_t i = 0; i < comms_.size(); i++) {
        ok(ncclCommInitRank(&comms_[i], options.ranks, id, first_ + static_cast<int>(i)),
           "ncclCommInitRank");
    }
    ok(ncclGroupEnd(), "making the communicators");
    const gpu::Stream shared = device.stream_make();
    for (const ncclComm_t comm : comms_) {
        live_add(comm);
        const bool one = mode_ == Mode::gang && !options.streams;
        streams_.push_back(one ? shared : device.stream_make());
    }
}

void Job::close() {
    for (ncclComm_t& comm : comms_) {
        if (live_take(comm)) {
            ok(ncclCommDestroy(comm), "ncclCommDestroy");
        }
        comm = nullptr;
    }
}

void Job::unlock() {
    for (auto& place : live) {
        if (ncclComm_t const comm = place.exchange(nullptr)) {
            ncclCommAbort(comm);
        }
    }
}

void Job::each(const std::function<ncclResult_t(int, gpu::Stream)>& body) {
    if (mode_ == Mode::gang) {
        ok(ncclGroupStart(), "ncclGroupStart");
        for (int rank = first_; rank < end(); rank++) {
            ok(body(rank, stream(rank)), "enqueuing");
        }
        ok(ncclGroupEnd(), "ncclGroupEnd");
        return;
    }
    std::vector<std::thread> running;
    for (int rank = first_; rank < end(); rank++) {
        running.emplace_back([&, rank] {
            device_.use();
            ok(body(rank, stream(rank)), "enqueuing");
        });
    }
    for (std::thread& thread : running) {
        thread.join();
    }
}

void Job::synchronize() const {
    for (const gpu::Stream stream : streams_) {
        device_.synchronize(stream);
    }
}

namespace {

// Input and output one behind the other, each at a multiple of 16.
uint64_t input_room(const Options& what) {
    const uint64_t bytes =
        what.count * size_of(what.type) * reference::blocks_of(what.coll, what.ranks).input;
    return (bytes + 15) / 16 * 16;
}

uint64_t output_room(const Options& what) {
    return what.count * size_of(what.type) * reference::blocks_of(what.coll, what.ranks).output;
}

gpu::Address memory_take(const Device& device, InWindows windows, uint64_t bytes) {
    if (windows != InWindows::library) {
        return device.take(bytes);
    }
    void* taken = nullptr;
    ok(ncclMemAlloc(&taken, bytes), "ncclMemAlloc");
    return reinterpret_cast<gpu::Address>(taken);
}

}  // namespace

Buffers::Buffers(Job& job, const Options& what)
    : job_(job),
      what_(what),
      shape_{what.coll, what.ranks, what.root, what.count},
      blocks_(reference::blocks_of(what.coll, what.ranks)),
      bytes_(input_room(what) + output_room(what) + 64) {
    const uint64_t block = what.count * size_of(what.type);
    for (int rank = job.first(); rank < job.end(); rank++) {
        const uint64_t input = block * blocks_.input, output = block * blocks_.output;
        const gpu::Address at = memory_take(job.device(), what.windows, bytes_);
        taken_.push_back(at);
        One one{at, at + input_room(what)};
        if (what.in_place) {
            const auto own = static_cast<uint64_t>(rank) * block;
            one.output = input > output ? at + own : at;
            one.input = input < output ? at + own : at;
        }
        ranks_.push_back(one);
        ncclRedOp_t op = static_cast<ncclRedOp_t>(what.op);
        if (what.op == RedOp::pre_mul_sum) {
            uint64_t scalar = bits_of(what.type, factor);
            ok(ncclRedOpCreatePreMulSum(&op, &scalar, nccl_type(what.type), ncclScalarHostImmediate,
                                        job.comm(rank)),
               "ncclRedOpCreatePreMulSum");
        }
        ops_.push_back(op);
    }
    if (what.windows != InWindows::none) {
        windows_make();
    }
}

void Buffers::windows_make() {
    windows_.resize(taken_.size());
    job_.each([&](int rank, gpu::Stream) {
        const auto own = static_cast<size_t>(rank - job_.first());
        return ncclCommWindowRegister(job_.comm(rank), reinterpret_cast<void*>(taken_[own]), bytes_,
                                      &windows_[own], NCCL_WIN_COLL_SYMMETRIC);
    });
    for (const ncclWindow_t window : windows_) {
        if (window == nullptr) {
            fail("there is no window of %llu bytes of memory of the %s",
                 static_cast<unsigned long long>(bytes_), to_string(what_.windows));
        }
    }
}

void Buffers::windows_drop() {
    if (windows_.empty()) {
        return;
    }
    for (size_t i = 0; i < windows_.size(); i++) {
        ok(ncclCommWindowDeregister(job_.comm(job_.first() + static_cast<int>(i)), windows_[i]),
           "ncclCommWindowDeregister");
    }
    windows_.clear();
    job_.each([&](int rank, gpu::Stream stream) {
        void* const at = reinterpret_cast<void*>(taken_[static_cast<size_t>(rank - job_.first())]);
        return ncclAllReduce(at, at, 1, ncclInt32, ncclSum, job_.comm(rank), cuda_stream(stream));
    });
    job_.synchronize();
}

Buffers::~Buffers() {
    windows_drop();
    for (size_t i = 0; i < ops_.size(); i++) {
        if (what_.op == RedOp::pre_mul_sum) {
            ncclRedOpDestroy(ops_[i], job_.comm(job_.first() + static_cast<int>(i)));
        }
    }
    for (const gpu::Address at : taken_) {
        if (what_.windows == InWindows::library) {
            ncclMemFree(reinterpret_cast<void*>(at));
        } else {
            job_.device()->cuMemFree(at);
        }
    }
}

uint64_t Buffers::input_bits(int rank, uint64_t i, uint64_t salt) const {
    return raw() ? input_raw(what_.type, rank, i, salt)
                 : bits_of(what_.type, input_number(what_.type, what_.op, rank, i, salt));
}

std::optional<uint64_t> Buffers::output_bits(int rank, uint64_t i, uint64_t salt) const {
    const auto input = [&](int from, uint64_t at) {
        return raw() ? static_cast<int64_t>(input_raw(what_.type, from, at, salt))
                     : input_number(what_.type, what_.op, from, at, salt);
    };
    const auto found = reference::output_at(
        shape_, rank, i, input, [&](int64_t a, int64_t b) { return fold(what_.op, a, b); });
    if (!found || raw()) {
        return found;
    }
    const int64_t number = what_.op == RedOp::pre_mul_sum ? *found * factor : *found;
    return bits_of(what_.type, number, what_.op == RedOp::avg ? what_.ranks : 1);
}

void Buffers::fill(uint64_t salt) {
    const uint64_t elements = what_.count * blocks_.input;
    std::vector<char> bytes(elements * size_of(what_.type));
    for (int rank = job_.first(); rank < job_.end(); rank++) {
        for (uint64_t i = 0; i < elements; i++) {
            element_put(bytes.data() + i * size_of(what_.type), what_.type,
                        input_bits(rank, i, salt));
        }
        const One& one = of(rank);
        job_.device().fill(one.output, 0xee, what_.count * blocks_.output * size_of(what_.type));
        job_.device().put(one.input, bytes.data(), bytes.size());
    }
}

ncclResult_t Buffers::call(int rank, ncclComm_t comm, gpu::Stream stream) const {
    const One& one = of(rank);
    return reference::call(shape_, nccl_type(what_.type),
                           ops_[static_cast<size_t>(rank - job_.first())], rank,
                           reinterpret_cast<const void*>(one.input),
                           reinterpret_cast<void*>(one.output), comm, cuda_stream(stream));
}

void Buffers::check_rank(int rank, uint64_t salt) const {
    const uint64_t elements = what_.count * blocks_.output;
    std::vector<char> bytes(elements * size_of(what_.type));
    job_.device().get(bytes.data(), of(rank).output, bytes.size());
    uint64_t wrong = 0, first = 0;
    for (uint64_t i = 0; i < elements; i++) {
        const std::optional<uint64_t> wanted = output_bits(rank, i, salt);
        const uint64_t seen = element_get(bytes.data() + i * size_of(what_.type), what_.type);
        if (wanted && seen != *wanted) {
            first = wrong++ == 0 ? i : first;
        }
    }
    if (wrong > 0) {
        const uint64_t seen = element_get(bytes.data() + first * size_of(what_.type), what_.type);
        fail(
            "%s of %s %s, count %llu, rank %d: %llu of %llu elements are wrong, first %llu: bits "
            "0x%llx, wanted 0x%llx",
            to_string(what_.coll), to_string(what_.type), to_string(what_.op),
            static_cast<unsigned long long>(what_.count), rank,
            static_cast<unsigned long long>(wrong), static_cast<unsigned long long>(elements),
            static_cast<unsigned long long>(first), static_cast<unsigned long long>(seen),
            static_cast<unsigned long long>(*output_bits(rank, first, salt)));
    }
}

void Buffers::check(uint64_t salt) const {
    for (int rank = job_.first(); rank < job_.end(); rank++) {
        check_rank(rank, salt);
    }
}

void Buffers::round_check(uint64_t salt) {
    fill(salt);
    job_.each([&](int rank, gpu::Stream stream) { return call(rank, job_.comm(rank), stream); });
    job_.synchronize();
    check(salt);
}

}  // namespace weft::suite
