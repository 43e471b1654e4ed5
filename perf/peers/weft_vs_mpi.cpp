// weft-vs-mpi: Weft and MPI, and Gloo if asked for, in the same processes, taking turns.
//
// Absolute times on a shared machine are worth little: speed changes by the second. Both libraries
// therefore run in the same processes, a batch of calls each in turn, the order swapped from
// repetition to repetition; the ratio is taken per repetition and the median printed. Buffers
// rotate through more memory than the caches hold, from 64 KiB on. Results are compared bit for
// bit, on inputs whose sums are exact in any order.
#include <getopt.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <weft/nccl.h>

#include "perf/collective.h"
#include "perf/peers/gloo_ops.h"
#include "perf/peers/mpi_ops.h"
#include "perf/verifiable.h"

namespace weft::perf {
namespace {

struct VersusOptions {
    std::string op = "all_reduce";
    std::vector<size_t> sizes = {8, 64 << 20};
    bool library_memory = true;
    size_t rotate_bytes = 256 << 20;  // per buffer: several times the last-level cache's share
    int repetitions = 31;
    std::string json_file;
    std::string gloo_folder;  // empty: not compared with Gloo
};

struct VersusRow {
    size_t bytes;
    double weft_us;
    double mpi_us;
    double ratio;
    double ratio_low;   // a tenth of the repetitions is below
    double ratio_high;  // a tenth is above
    double gloo_us;     // 0: not compared
    double gloo_ratio;
    long long wrong;
};

struct Buffers {
    char* send;
    char* recv;
};

double quantile(std::vector<double> values, double q) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

class Versus {
  public:
    Versus(const VersusOptions& options, ncclComm_t comm, RankPlace place, GlooPeer* gloo)
        : options_(options),
          comm_(comm),
          place_(place),
          gloo_(gloo),
          mpi_op_(mpi_op_find(options.op.c_str())) {
        for (int i = 0; i < collective_count; ++i) {
            if (options.op == collective_name(static_cast<Collective>(i))) {
                collective_ = static_cast<Collective>(i);
            }
        }
        room_ = std::max(options.rotate_bytes,
                         *std::max_element(options.sizes.begin(), options.sizes.end()));
        weft_ = {memory(options.library_memory), memory(options.library_memory)};
        mpi_ = {memory(false), memory(false)};
    }

    VersusRow measure(size_t bytes) {
        const Shape shape = shape_of(collective_, bytes / sizeof(float), place_.rank_count);
        const long long wrong = compare(shape);
        const size_t stride = std::max<size_t>((shape.row() * 4 + 4095) / 4096 * 4096, 4096);
        // Small messages were just written by the program: they are warm.
        places_ = bytes < (64 << 10) ? 1 : std::max<size_t>(1, room_ / stride);
        // A batch is long against the clock and short against the machine's moods.
        const int batch = static_cast<int>(std::clamp<size_t>((4 << 20) / (bytes + 8192), 1, 200));
        const int sides = gloo_ ? 3 : 2;
        std::vector<double> us[3];
        std::vector<double> ratios[3];  // to Weft's, in the same repetition
        for (int r = -2; r < options_.repetitions; ++r) {
            double now[3] = {};
            for (int turn = 0; turn < sides; ++turn) {
                const int side = (r + 2 + turn) % sides;
                now[side] = batch_us(static_cast<Side>(side), shape, stride, batch);
            }
            for (int side = 0; r >= 0 && side < sides; ++side) {
                us[side].push_back(now[side]);
                ratios[side].push_back(now[side] / now[0]);
            }
        }
        return {shape.row() * sizeof(float),
                quantile(us[0], 0.5),
                quantile(us[1], 0.5),
                quantile(ratios[1], 0.5),
                quantile(ratios[1], 0.1),
                quantile(ratios[1], 0.9),
                gloo_ ? quantile(us[2], 0.5) : 0,
                gloo_ ? quantile(ratios[2], 0.5) : 0,
                wrong};
    }

  private:
    enum class Side { weft, mpi, gloo };

    char* memory(bool library) const {
        void* data = nullptr;
        if (library) {
            call_check(ncclMemAlloc(&data, room_), "ncclMemAlloc", place_.rank);
        } else if (data = std::aligned_alloc(4096, (room_ + 4095) / 4096 * 4096); !data) {
            std::fprintf(stderr, "weft-vs-mpi: no memory for %zu bytes; lower --rotate\n", room_);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        std::memset(data, 0, room_);
        return static_cast<char*>(data);
    }

    void weft_run(const Shape& shape, size_t at) const {
        const Call call{collective_, shape.count, ncclFloat32, ncclSum, 0};
        call_run(call, weft_.send + at, weft_.recv + at, comm_, place_);
    }

    void mpi_run(const Shape& shape, size_t at) const {
        mpi_op_run(mpi_op_, mpi_.send + at, mpi_.recv + at, shape.count, MPI_COMM_WORLD);
    }

    void side_run(Side side, const Shape& shape, size_t at) const {
        switch (side) {
            case Side::weft:
                return weft_run(shape, at);
            case Side::mpi:
                return mpi_run(shape, at);
            case Side::gloo:
                return gloo_->run(reinterpret_cast<const float*>(mpi_.send + at),
                                  reinterpret_cast<float*>(mpi_.recv + at), shape.count);
        }
    }

    double batch_us(Side side, const Shape& shape, size_t stride, int batch) {
        MPI_Barrier(MPI_COMM_WORLD);
        const double start = MPI_Wtime();
        for (int i = 0; i < batch; ++i) {
            const size_t at = next_++ % places_ * stride;
            side_run(side, shape, at);
        }
        const double own = (MPI_Wtime() - start) * 1e6 / batch;
        double slowest = 0;
        MPI_Allreduce(&own, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        return slowest;
    }

    // Bytes of all ranks that differ.
    long long compare(const Shape& shape) const {
        const Pattern input = Pattern::input(Type::f32, Op::sum, place_.rank, place_.rank_count);
        for (const Buffers& buffers : {weft_, mpi_}) {
            input.fill(buffers.send, 0, shape.send);
            std::memset(buffers.recv, 0, shape.recv * sizeof(float));
        }
        weft_run(shape, 0);
        long long own = 0;
        for (const Side side : {Side::mpi, Side::gloo}) {
            if (side == Side::mpi || gloo_) {
                std::memset(mpi_.recv, 0, shape.recv * sizeof(float));
                side_run(side, shape, 0);
                own += differing(shape);
            }
        }
        long long total = 0;
        MPI_Allreduce(&own, &total, 1, MPI_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
        return total;
    }

    long long differing(const Shape& shape) const {
        const bool sender_only = collective_ == Collective::broadcast && place_.rank == 0;
        const size_t bytes = sender_only ? 0 : shape.recv * sizeof(float);
        long long own = 0;
        for (size_t i = 0; i < bytes; ++i) {
            own += weft_.recv[i] != mpi_.recv[i] ? 1 : 0;
        }
        return own;
    }

    const VersusOptions& options_;
    ncclComm_t comm_;
    RankPlace place_;
    GlooPeer* gloo_;  // null: not compared
    int mpi_op_;
    Collective collective_ = Collective::all_reduce;
    size_t room_ = 0;
    size_t places_ = 1;
    size_t next_ = 0;
    Buffers weft_{};
    Buffers mpi_{};
};

bool sizes_read(std::string text, std::vector<size_t>* sizes) {
    sizes->clear();
    for (size_t comma = 0; comma != std::string::npos;) {
        comma = text.find(',');
        sizes->push_back(mpi_size_read(text.substr(0, comma).c_str()));
        text.erase(0, comma == std::string::npos ? comma : comma + 1);
    }
    return std::find(sizes->begin(), sizes->end(), 0u) == sizes->end();
}

// Empty, or what is wrong.
std::string options_read(int argc, char** argv, VersusOptions* options) {
    const option names[] = {
        {"op", 1, nullptr, 'o'},     {"sizes", 1, nullptr, 's'},      {"mem", 1, nullptr, 'm'},
        {"rotate", 1, nullptr, 'r'}, {"reps", 1, nullptr, 'n'},       {"json", 1, nullptr, 'j'},
        {"gloo", 1, nullptr, 'g'},   {"mpi-vector", 0, nullptr, 'v'}, {nullptr, 0, nullptr, 0}};
    opterr = 0;
    for (int letter = 0; (letter = getopt_long(argc, argv, "", names, nullptr)) != -1;) {
        const std::string value = optarg ? optarg : "";
        bool ok = letter != '?';
        if (letter == 'o') {
            options->op = value;
            ok = mpi_op_find(value.c_str()) >= 0;
        } else if (letter == 's') {
            ok = sizes_read(value, &options->sizes);
        } else if (letter == 'm') {
            options->library_memory = value == "lib";
            ok = value == "lib" || value == "malloc";
        } else if (letter == 'r') {
            options->rotate_bytes = mpi_size_read(value.c_str());
            ok = options->rotate_bytes > 0;
        } else if (letter == 'n') {
            options->repetitions = std::atoi(value.c_str());
            ok = options->repetitions > 0;
        } else if (letter == 'j') {
            options->json_file = value;
        } else if (letter == 'g') {
            options->gloo_folder = value;
        } else if (letter == 'v') {
            mpi_ops_vector(1);
        }
        if (!ok) {
            return std::string(argv[optind - 1]) +
                   "? usage: mpirun -np N weft-vs-mpi [--op OP] [--sizes 8,64M] [--mem lib|malloc]"
                   " [--rotate SIZE] [--reps N] [--json FILE] [--gloo EMPTY_FOLDER]"
                   " [--mpi-vector: MPI_Reduce_scatter instead of MPI_Reduce_scatter_block]";
        }
    }
    return {};
}

std::string mpi_name() {
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = {};
    int length = 0;
    MPI_Get_library_version(version, &length);
    return std::string(version).substr(0, std::string(version).find_first_of(",\n"));
}

bool json_write(const VersusOptions& options, int rank_count, const std::vector<VersusRow>& rows) {
    std::FILE* file = std::fopen(options.json_file.c_str(), "w");
    if (!file) {
        std::fprintf(stderr, "weft-vs-mpi: cannot write '%s'\n", options.json_file.c_str());
        return false;
    }
    std::fprintf(file,
                 "{\"op\": \"%s\", \"ranks\": %d, \"mem\": \"%s\", \"mpi\": \"%s\", \"rows\": [",
                 options.op.c_str(), rank_count, options.library_memory ? "lib" : "malloc",
                 mpi_name().c_str());
    const char* separator = "";
    for (const VersusRow& row : rows) {
        std::fprintf(file,
                     "%s\n  {\"bytes\": %zu, \"weft_us\": %.3f, \"mpi_us\": %.3f, \"ratio\": %.4f, "
                     "\"ratio_p10\": %.4f, \"ratio_p90\": %.4f, \"gloo_us\": %.3f, "
                     "\"gloo_ratio\": %.4f, \"wrong\": %lld}",
                     separator, row.bytes, row.weft_us, row.mpi_us, row.ratio, row.ratio_low,
                     row.ratio_high, row.gloo_us, row.gloo_ratio, row.wrong);
        separator = ",";
    }
    std::fprintf(file, "\n]}\n");
    return std::fclose(file) == 0;
}

bool compare_all(const VersusOptions& options, ncclComm_t comm, RankPlace place, GlooPeer* gloo) {
    if (place.rank == 0) {
        std::printf("# %s float sum, %d ranks, memory %s, against %s\n", options.op.c_str(),
                    place.rank_count, options.library_memory ? "lib" : "malloc",
                    mpi_name().c_str());
        std::printf("# %10s  %12s  %12s  %8s  %15s  %12s  %8s  %6s\n", "size", "weft(us)",
                    "mpi(us)", "ratio", "p10..p90", "gloo(us)", "ratio", "#wrong");
    }
    Versus versus(options, comm, place, gloo);
    std::vector<VersusRow> rows;
    bool ok = true;
    for (const size_t bytes : options.sizes) {
        const VersusRow row = versus.measure(bytes);
        rows.push_back(row);
        ok &= row.wrong == 0;
        if (place.rank == 0) {
            std::printf("%12zu  %12.2f  %12.2f  %8.2f  %7.2f %7.2f  %12.2f  %8.2f  %6lld\n",
                        row.bytes, row.weft_us, row.mpi_us, row.ratio, row.ratio_low,
                        row.ratio_high, row.gloo_us, row.gloo_ratio, row.wrong);
            std::fflush(stdout);
        }
    }
    if (place.rank == 0 && !options.json_file.empty()) {
        ok &= json_write(options, place.rank_count, rows);
    }
    return ok;
}

int run(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    RankPlace place{};
    MPI_Comm_rank(MPI_COMM_WORLD, &place.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &place.rank_count);
    VersusOptions options;
    const std::string error = options_read(argc, argv, &options);
    if (!error.empty()) {
        if (place.rank == 0) {
            std::fprintf(stderr, "weft-vs-mpi: %s\n", error.c_str());
        }
        MPI_Finalize();
        return 2;
    }
    ncclUniqueId id{};
    if (place.rank == 0) {
        call_check(ncclGetUniqueId(&id), "ncclGetUniqueId", 0);
    }
    MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, MPI_COMM_WORLD);
    ncclComm_t comm = nullptr;
    call_check(ncclCommInitRank(&comm, place.rank_count, id, place.rank), "ncclCommInitRank",
               place.rank);
    std::unique_ptr<GlooPeer> gloo;
    std::string why;
    if (!options.gloo_folder.empty() &&
        !(gloo =
              gloo_connect(options.op, place.rank, place.rank_count, options.gloo_folder, &why)) &&
        place.rank == 0) {
        std::fprintf(stderr, "weft-vs-mpi: %s\n", why.c_str());
    }
    const bool ok = compare_all(options, comm, place, gloo.get());
    gloo.reset();
    call_check(ncclCommDestroy(comm), "ncclCommDestroy", place.rank);
    MPI_Finalize();
    return ok ? 0 : 1;
}

}  // namespace
}  // namespace weft::perf

int main(int argc, char** argv) {
    return weft::perf::run(argc, argv);
}
