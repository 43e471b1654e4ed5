#include "perf/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "perf/collective.h"
#include "perf/device.h"

namespace weft::perf {
namespace {

// Memory of one kind, freed with its owner. What lies on a device is written and read here, in its
// image.
class Buffer {
  public:
    Buffer(const Options& options, const Device* device, size_t bytes, int rank)
        : memory_(options.memory),
          windows_(options.local_register == LocalRegister::windows),
          device_(device),
          bytes_(std::max<size_t>((bytes + 4095) / 4096 * 4096, 4096)) {
        if (memory_ == Memory::library) {
            data_ = library_take(rank);
        } else if (data_ = std::aligned_alloc(4096, bytes_); !data_) {
            std::fprintf(stderr, "weft-perf: no memory for %zu bytes; lower -e or --rotate\n",
                         bytes_);
            std::_Exit(1);
        }
        std::memset(data_, 0, bytes_);
        if (memory_ == Memory::device) {
            there_ = windows_ ? reinterpret_cast<gpu::Address>(library_take(rank))
                              : device->take(bytes_);
            device->put(there_, data_, bytes_);
        }
    }
    ~Buffer() {
        if (memory_ == Memory::library) {
            ncclMemFree(data_);
        } else {
            std::free(data_);
        }
        if (there_ != 0 && windows_) {
            ncclMemFree(call_at(0));
        } else if (there_ != 0) {
            device_->give_back(there_);
        }
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    // Here, and where calls find it.
    uint8_t* at(size_t offset) const { return static_cast<uint8_t*>(data_) + offset; }
    uint8_t* call_at(size_t offset) const {
        return there_ != 0 ? reinterpret_cast<uint8_t*>(there_) + offset : at(offset);
    }
    size_t bytes() const { return bytes_; }
    // The first bytes, written before calls and read after them.
    void written(size_t bytes) const {
        if (there_ != 0) {
            device_->put(there_, data_, bytes);
        }
    }
    void read(size_t bytes) const {
        if (there_ != 0) {
            device_->get(data_, there_, bytes);
        }
    }

  private:
    void* library_take(int rank) const {
        void* taken = nullptr;
        call_check(ncclMemAlloc(&taken, bytes_), "ncclMemAlloc", rank);
        return taken;
    }

    Memory memory_;
    bool windows_;  // what calls use is the library's
    const Device* device_;
    size_t bytes_;
    void* data_ = nullptr;
    gpu::Address there_ = 0;  // on the device; 0: not there
};

// What the library was told of a buffer, until its end. Windows are made by all ranks together.
class BufferRegistration {
  public:
    BufferRegistration(LocalRegister asked, ncclComm_t comm, const Buffer& buffer, int rank)
        : comm_(comm), rank_(rank) {
        if (asked == LocalRegister::buffers) {
            call_check(ncclCommRegister(comm, buffer.call_at(0), buffer.bytes(), &handle_),
                       "ncclCommRegister", rank);
        } else if (asked == LocalRegister::windows) {
            call_check(ncclCommWindowRegister(comm, buffer.call_at(0), buffer.bytes(), &window_,
                                              NCCL_WIN_COLL_SYMMETRIC),
                       "ncclCommWindowRegister", rank);
        }
    }
    ~BufferRegistration() {
        if (handle_ != nullptr) {
            call_check(ncclCommDeregister(comm_, handle_), "ncclCommDeregister", rank_);
        }
        if (window_ != nullptr) {
            call_check(ncclCommWindowDeregister(comm_, window_), "ncclCommWindowDeregister", rank_);
        }
    }
    BufferRegistration(const BufferRegistration&) = delete;
    BufferRegistration& operator=(const BufferRegistration&) = delete;
    // Something came of it.
    bool made() const { return handle_ != nullptr || window_ != nullptr; }

  private:
    ncclComm_t comm_;
    int rank_;
    void* handle_ = nullptr;
    ncclWindow_t window_ = nullptr;
};

struct Case {
    Type type;
    Op op;
    int root;
};

class Bench {
  public:
    Bench(const Options& options, ncclComm_t comm, RankPlace place, const Device* device)
        : options_(options),
          comm_(comm),
          place_(place),
          device_(device),
          send_(options, device, buffer_bytes(), place.rank),
          recv_(options, device, buffer_bytes(), place.rank),
          small_(options, device, 2 * sizeof(double), place.rank) {
        for (const Buffer* buffer : {&send_, &recv_}) {
            registered_.push_back(std::make_unique<BufferRegistration>(options.local_register, comm,
                                                                       *buffer, place.rank));
        }
    }

    bool registered() const { return registered_[0]->made() && registered_[1]->made(); }
    std::vector<Row> run();
    // The last call: no rank frees what another still has in a window.
    void deregister();

  private:
    // What a row may use of a buffer; the guard lies behind it.
    size_t room_bytes() const { return std::max(options_.bytes_max, options_.rotate_bytes / 2); }
    size_t buffer_bytes() const { return room_bytes() + guard_bytes; }
    const Pattern& input_of(int rank) const;
    void patterns_make(const Case& test);
    ncclRedOp_t op_make(const Case& test) const;
    Row row_measure(const Case& test, size_t bytes);
    Timing measure(const Call& call, const Shape& shape, bool in_place);
    double time_us(const Call& call, const Shape& shape, bool in_place);
    int64_t check(const Call& call, const Shape& shape, bool in_place);
    int64_t mismatches(const Call& call, const Shape& shape, uint8_t* recv) const;
    double time_over_ranks(double own_us);
    int64_t sum_over_ranks(int64_t own);
    template <class T>
    T over_ranks(T own, ncclDataType_t type, ncclRedOp_t op);
    void done() const;

    const Options& options_;
    ncclComm_t comm_;
    RankPlace place_;
    const Device* device_;  // null: memory of the host
    Buffer send_;
    Buffer recv_;
    Buffer small_;  // a number of this rank, and of all
    std::vector<std::unique_ptr<BufferRegistration>> registered_;  // of both
    size_t element_bytes_ = 0;
    std::vector<Pattern> inputs_;   // by rank; of this rank only when the values are reduced
    std::vector<Pattern> reduced_;  // one, or none when only data moves
    // Flips a bit of every checked result: shows that checking can fail.
    bool corrupt_ = std::getenv("WEFT_PERF_CORRUPT") != nullptr;
};

std::vector<Row> Bench::run() {
    const std::vector<Op> none = {Op::none};
    const std::vector<Op>& ops = collective_reduces(options_.collective) ? options_.ops : none;
    const bool has_root = collective_has_root(options_.collective);
    const int root_first = has_root ? std::max(options_.root, 0) : -1;
    const int root_last = has_root && options_.root < 0 ? place_.rank_count - 1 : root_first;
    std::vector<Row> rows;
    for (const Type type : options_.types) {
        for (const Op op : ops) {
            for (int root = root_first; root <= root_last; ++root) {
                const Case test{type, op, root};
                patterns_make(test);
                for (const size_t bytes : options_sizes(options_)) {
                    rows.push_back(row_measure(test, bytes));
                    if (place_.rank == 0) {
                        std::fputs(
                            table_row(options_.collective, place_.rank_count, rows.back()).c_str(),
                            stdout);
                        std::fflush(stdout);
                    }
                }
            }
        }
    }
    return rows;
}

void Bench::deregister() {
    registered_.clear();
    if (options_.local_register != LocalRegister::none) {
        sum_over_ranks(0);
    }
}

void Bench::patterns_make(const Case& test) {
    element_bytes_ = type_size(test.type);
    inputs_.clear();
    reduced_.clear();
    if (test.op != Op::none) {
        inputs_.push_back(Pattern::input(test.type, test.op, place_.rank, place_.rank_count));
        reduced_.push_back(Pattern::reduced(test.type, test.op, place_.rank_count));
        return;
    }
    for (int rank = 0; rank < place_.rank_count; ++rank) {
        inputs_.push_back(Pattern::input(test.type, test.op, rank, place_.rank_count));
    }
}

const Pattern& Bench::input_of(int rank) const {
    return inputs_[inputs_.size() == 1 ? 0 : static_cast<size_t>(rank)];
}

ncclRedOp_t Bench::op_make(const Case& test) const {
    if (test.op == Op::none) {
        return ncclSum;
    }
    if (test.op != Op::mul_sum) {
        return static_cast<ncclRedOp_t>(test.op);
    }
    const double scalar = mul_sum_scalar(place_.rank);
    uint64_t bits =
        type_is_float(test.type) ? float_encode(test.type, scalar) : static_cast<uint64_t>(scalar);
    ncclRedOp_t op = ncclSum;
    call_check(ncclRedOpCreatePreMulSum(&op, &bits, static_cast<ncclDataType_t>(test.type),
                                        ncclScalarHostImmediate, comm_),
               "ncclRedOpCreatePreMulSum", place_.rank);
    return op;
}

Row Bench::row_measure(const Case& test, size_t bytes) {
    const Shape shape = shape_of(options_.collective, bytes / element_bytes_, place_.rank_count);
    const Call call{
        options_.collective, shape.count, static_cast<ncclDataType_t>(test.type),
        op_make(test),       test.root,   device_ != nullptr ? device_->cuda_stream() : nullptr};
    Row row{shape.row() * element_bytes_, shape.count, test.type, test.op, test.root, {}, {}};
    row.out_of_place = measure(call, shape, false);
    if (has_in_place(options_.collective)) {
        row.in_place = measure(call, shape, true);
    }
    if (test.op == Op::mul_sum) {
        call_check(ncclRedOpDestroy(call.op, comm_), "ncclRedOpDestroy", place_.rank);
    }
    return row;
}

Timing Bench::measure(const Call& call, const Shape& shape, bool in_place) {
    Timing timing;
    timing.time_us = time_over_ranks(time_us(call, shape, in_place));
    if (options_.checks > 0) {
        int64_t wrong = 0;
        for (int i = 0; i < options_.checks; ++i) {
            wrong += check(call, shape, in_place);
        }
        timing.wrong = sum_over_ranks(wrong);
    }
    return timing;
}

double Bench::time_us(const Call& call, const Shape& shape, bool in_place) {
    const size_t stride = std::max<size_t>((shape.row() * element_bytes_ + 63) / 64 * 64, 64);
    const size_t places =
        options_.rotate_bytes > 0 ? std::max<size_t>(1, room_bytes() / stride) : 1;
    const Offsets offsets =
        in_place ? in_place_offsets(call.collective, shape, place_.rank) : Offsets{0, 0};
    const Buffer& from = in_place ? recv_ : send_;
    const auto run = [&](size_t i) {
        const size_t base = i % places * stride;
        call_run(call, from.call_at(base + offsets.send * element_bytes_),
                 recv_.call_at(base + offsets.recv * element_bytes_), comm_, place_);
    };
    input_of(place_.rank).fill(from.at(0), 0, shape.send);
    from.written(shape.send * element_bytes_);
    for (int i = 0; i < options_.warmups; ++i) {
        run(static_cast<size_t>(i));
    }
    sum_over_ranks(0);  // all start together
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < options_.iterations; ++i) {
        run(static_cast<size_t>(options_.warmups + i));
    }
    done();
    const std::chrono::duration<double, std::micro> elapsed = Clock::now() - start;
    return elapsed.count() / options_.iterations;
}

int64_t Bench::check(const Call& call, const Shape& shape, bool in_place) {
    const Offsets offsets =
        in_place ? in_place_offsets(call.collective, shape, place_.rank) : Offsets{0, 0};
    std::memset(recv_.at(0), 0x5a, shape.row() * element_bytes_);
    const Buffer& from = in_place ? recv_ : send_;
    const size_t send = offsets.send * element_bytes_, recv = offsets.recv * element_bytes_;
    input_of(place_.rank).fill(from.at(send), 0, shape.send);
    // In place the output may lie in the middle of the input, so the guard follows both.
    const size_t guarded = (in_place ? shape.row() : shape.recv) * element_bytes_;
    guard_write(recv_.at(guarded));
    const size_t bytes = shape.row() * element_bytes_ + guard_bytes;
    send_.written(bytes);
    recv_.written(bytes);
    call_run(call, from.call_at(send), recv_.call_at(recv), comm_, place_);
    done();
    recv_.read(bytes);
    return mismatches(call, shape, recv_.at(recv)) +
           static_cast<int64_t>(guard_damage(recv_.at(guarded)));
}

int64_t Bench::mismatches(const Call& call, const Shape& shape, uint8_t* recv) const {
    const Expected expected = expected_of(call.collective, shape, place_, call.root);
    if (corrupt_ && expected.blocks > 0 && expected.count > 0) {
        recv[0] ^= 0x40;
    }
    size_t wrong = 0;
    for (int block = 0; block < expected.blocks; ++block) {
        const Pattern& pattern = expected.reduced ? reduced_[0] : input_of(expected.source + block);
        const size_t offset = static_cast<size_t>(block) * expected.count * element_bytes_;
        wrong += pattern.mismatches(recv + offset, expected.first, expected.count);
    }
    return static_cast<int64_t>(wrong);
}

void Bench::done() const {
    if (device_ != nullptr) {
        device_->synchronize();
    }
}

template <class T>
T Bench::over_ranks(T own, ncclDataType_t type, ncclRedOp_t op) {
    static_assert(sizeof(T) == sizeof(double));
    std::memcpy(small_.at(0), &own, sizeof own);
    small_.written(sizeof own);
    call_check(ncclAllReduce(small_.call_at(0), small_.call_at(sizeof own), 1, type, op, comm_,
                             device_ != nullptr ? device_->cuda_stream() : nullptr),
               "ncclAllReduce", place_.rank);
    done();
    small_.read(2 * sizeof own);
    std::memcpy(&own, small_.at(sizeof own), sizeof own);
    return own;
}

double Bench::time_over_ranks(double own_us) {
    constexpr ncclRedOp_t ops[] = {ncclSum, ncclSum, ncclMin, ncclMax};
    const bool counts = options_.average != Average::rank0 || place_.rank == 0;
    const double total =
        over_ranks(counts ? own_us : 0, ncclFloat64, ops[static_cast<int>(options_.average)]);
    return options_.average == Average::mean ? total / place_.rank_count : total;
}

int64_t Bench::sum_over_ranks(int64_t own) {
    return over_ranks(own, ncclInt64, ncclSum);
}

}  // namespace

std::vector<Row> bench_run(const Options& options, ncclComm_t comm, RankPlace place,
                           const Device* device) {
    Bench bench(options, comm, place, device);
    if (place.rank == 0) {
        int library = 0;
        call_check(ncclGetVersion(&library), "ncclGetVersion", place.rank);
        std::printf("# weft-perf nccl-headers=%d nccl-library=%d\n", NCCL_VERSION_CODE, library);
        std::fputs(table_header(options, place.rank_count, bench.registered()).c_str(), stdout);
        std::fflush(stdout);
    }
    std::vector<Row> rows = bench.run();
    bench.deregister();
    return rows;
}

}  // namespace weft::perf
