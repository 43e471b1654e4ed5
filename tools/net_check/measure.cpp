// Figures of a plugin, by turns so that what else the machine does hits all alike: half a round
// trip of 8 bytes, and messages of 1 MiB and 8 MiB with four under way; the latter also over all
// NICs, merged into one device, as NCCL merges them. A turn ends when rank 0 knows that rank 1 has
// everything: rank 1 answers with a message. All messages of a turn use the same memory at either
// end, and nothing is compared: that is for the checks. Medians of the turns.
#include <algorithm>
#include <functional>
#include <sstream>

#include "src/base/log.h"
#include "tools/net_check/checks.h"

namespace weft::netcheck {

namespace {

constexpr int turns = 7;
constexpr int in_flight = 4;
constexpr size_t word_bytes = 8;
constexpr size_t long_bytes = 8 << 20;
constexpr Nanos turn_time = 250 * nanos_per_ms;  // about; by the rate of the turn that warms up
constexpr uint32_t looks = 1 << 14;              // calls between two looks at the clock
constexpr int merge_most = 4;                    // as many as every version of the ABI takes

struct Shape {
    size_t bytes;
    int window;
};

// Both directions between the ranks on one device, and memory registered with each.
class Pair {
  public:
    explicit Pair(Bench& bench, Communicator& communicator)
        : bench_(bench), communicator_(communicator), memory_(long_bytes) {}
    Result<void> open(int device);
    Result<void> close();
    Result<void> stream(Shape shape, int count);  // from rank 0 to rank 1, and an answer
    Result<void> ping(int count);

  private:
    struct End {
        Lines lines;
        void* mr = nullptr;
    };
    Result<void*> post(const End& end, size_t bytes);  // never null
    Result<void> wait(void* request);
    Result<void> messages(const End& end, Shape shape, int count);
    Result<void> look();
    const End& from(int rank) const { return ends_[rank]; }

    Bench& bench_;
    Communicator& communicator_;
    Memory memory_;
    End ends_[2];  // by who sends
    uint32_t calls_ = 0;
    Nanos until_ = 0;
};

Result<void> Pair::open(int device) {
    for (const int sender : {0, 1}) {
        End& end = ends_[sender];
        end.lines = TRY(lines_open(bench_, communicator_, {device, sender, 1}));
        TRY(communicator_.service.run([&] {
            const std::span<uint8_t> all = memory_.span();
            return good(communicator_.net().reg_mr(end.lines.ends[0], all.data(), all.size(),
                                                   netplugin::pointer_host, &end.mr),
                        "regMr");
        }));
    }
    return bench_.channel.barrier();
}

Result<void> Pair::close() {
    TRY(bench_.channel.barrier());
    for (End& end : ends_) {
        TRY(communicator_.service.run([&] {
            return good(communicator_.net().dereg_mr(end.lines.ends[0], end.mr), "deregMr");
        }));
        TRY(lines_close(end.lines));
    }
    return {};
}

// A thread that polls without pause looks at the clock now and then.
Result<void> Pair::look() {
    if (++calls_ % looks != 0) {
        return {};
    }
    const Nanos now = clock_now();
    if (until_ == 0) {
        until_ = now + bench_.limits.wait;
    }
    if (bench_.channel.gone()) {
        return make_error(Code::remote, Scope::peer, "the other process has gone");
    }
    return expect(now < until_, "no message goes on");
}

Result<void*> Pair::post(const End& end, size_t bytes) {
    const Piece piece{memory_.span().data(), bytes, 0, end.mr};
    Net& net = communicator_.net();
    void* request = nullptr;
    while (request == nullptr) {
        if (end.lines.sends) {
            TRY(good(net.isend(end.lines.ends[0], piece, &request), "isend"));
        } else {
            TRY(good(net.irecv(end.lines.ends[0], 1, &piece, &request), "irecv"));
        }
        TRY(look());
    }
    return request;
}

Result<void> Pair::wait(void* request) {
    int done = 0;
    int sizes[group_max];
    for (;;) {
        TRY(good(communicator_.net().test(request, &done, sizes), "test"));
        if (done != 0) {
            until_ = 0;
            return {};
        }
        TRY(look());
    }
}

Result<void> Pair::messages(const End& end, Shape shape, int count) {
    void* window[in_flight];
    for (int i = 0; i < count + shape.window; i++) {
        void*& place = window[i % shape.window];
        if (i >= shape.window) {
            TRY(wait(place));
        }
        if (i < count) {
            place = TRY(post(end, shape.bytes));
        }
    }
    return {};
}

Result<void> Pair::stream(Shape shape, int count) {
    TRY(messages(from(0), shape, count));
    return messages(from(1), {word_bytes, 1}, 1);
}

// Each posts the receive of the next message before it answers, as NCCL does.
Result<void> Pair::ping(int count) {
    const End& out = from(bench_.rank);
    const End& in = from(bench_.peer());
    void* coming = TRY(post(in, word_bytes));
    for (int i = 0; i < count; i++) {
        if (bench_.rank == 1) {
            TRY(wait(coming));
            coming = i + 1 < count ? TRY(post(in, word_bytes)) : nullptr;
        }
        void* const going = TRY(post(out, word_bytes));
        TRY(wait(going));
        if (bench_.rank == 0) {
            TRY(wait(coming));
            coming = i + 1 < count ? TRY(post(in, word_bytes)) : nullptr;
        }
    }
    return {};
}

// One thing that is measured: its turns, and what one unit of it took in each.
struct Series {
    std::string name;
    std::function<Result<void>(int count)> turn;
    int first;          // units of the turn that warms up
    double rate_bytes;  // of a unit; 0: a time is told, in us, of half a unit
    int count = 0;
    std::vector<double> values{};
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

class Figures {
  public:
    explicit Figures(Bench& bench) : bench_(bench) {}
    Result<void> take();

  private:
    Result<int> merged_device();
    void series_add(const std::string& name, Pair& pair, size_t bytes);
    Result<Nanos> turn_time_of(Series& one, int count);
    Result<void> warm(Series& one);
    Result<void> measure();
    std::string text() const;

    Bench& bench_;
    std::unique_ptr<Communicator> communicator_;
    int merged_ = 0;  // NICs
    std::vector<Series> all_;
};

void Figures::series_add(const std::string& name, Pair& pair, size_t bytes) {
    const auto stream = [&pair, bytes](int count) {
        return pair.stream({bytes, in_flight}, count);
    };
    all_.push_back({name, stream, in_flight, static_cast<double>(bytes)});
}

// None: -1. What a plugin cannot merge NCCL uses as it is.
Result<int> Figures::merged_device() {
    merged_ = std::min(communicator_->device_count(), merge_most);
    if (merged_ < 2 || !bench_.net->has_virtual_devices()) {
        return -1;
    }
    DeviceSet set{merged_, {}};
    for (int i = 0; i < merged_; i++) {
        set.devices[i] = i;
    }
    int device = -1;
    return bench_.net->make_virtual_device(&device, &set) == ncclSuccess ? device : -1;
}

// The time of one turn, as rank 0 sees it; on the progress threads, which begin it together.
Result<Nanos> Figures::turn_time_of(Series& one, int count) {
    TRY(bench_.channel.barrier());
    Nanos took = 0;
    TRY(communicator_->progress.run([&]() -> Result<void> {
        const Nanos begin = clock_now();
        TRY(one.turn(count));
        took = clock_now() - begin;
        return {};
    }));
    return took;
}

// How many units a turn has is rank 0's to say.
Result<void> Figures::warm(Series& one) {
    const Nanos took = TRY(turn_time_of(one, one.first));
    if (bench_.rank == 1) {
        const std::string said = TRY(bench_.channel.receive());
        one.count = std::atoi(said.c_str());
        return {};
    }
    const Nanos each = std::max<Nanos>(took / one.first, 1);
    one.count = static_cast<int>(std::clamp<Nanos>(turn_time / each, one.first, 100'000));
    return bench_.channel.send(std::to_string(one.count));
}

Result<void> Figures::measure() {
    for (Series& one : all_) {
        TRY(warm(one));
    }
    for (int turn = 0; turn < turns; turn++) {
        for (Series& one : all_) {
            const auto us =
                static_cast<double>(TRY(turn_time_of(one, one.count))) / 1e3 / one.count;
            one.values.push_back(one.rate_bytes == 0 ? us / 2 : one.rate_bytes / us);
        }
    }
    return {};
}

std::string Figures::text() const {
    std::ostringstream text;
    for (const Series& one : all_) {
        const auto [least, most] = std::minmax_element(one.values.begin(), one.values.end());
        text << format("%s=%.2f %s_least=%.2f %s_most=%.2f ", one.name.c_str(), median(one.values),
                       one.name.c_str(), *least, one.name.c_str(), *most);
    }
    if (all_.size() > 3) {  // neighbouring turns: what slows one slows the other
        std::vector<double> ratios;
        for (int turn = 0; turn < turns; turn++) {
            const auto at = static_cast<size_t>(turn);
            ratios.push_back(all_[3].values[at] / all_[2].values[at]);
        }
        text << format("merged_nics=%d merged_over_one=%.3f", merged_, median(ratios));
    }
    return text.str();
}

Result<void> Figures::take() {
    communicator_ = TRY(Communicator::open(bench_));
    Pair one(bench_, *communicator_), merged(bench_, *communicator_);
    TRY(one.open(0));
    all_.push_back({"latency_us", [&one](int count) { return one.ping(count); }, 1000, 0});
    series_add("mb_per_s_1m", one, 1 << 20);
    series_add("mb_per_s_8m", one, long_bytes);
    const int device = TRY(merged_device());
    if (device >= 0) {
        TRY(merged.open(device));
        series_add("mb_per_s_8m_merged", merged, long_bytes);
    }
    TRY(measure());
    bench_.figures = text();
    TRY(one.close());
    if (device >= 0) {
        TRY(merged.close());
    }
    return communicator_->close();
}

}  // namespace

Result<void> figures_take(Bench& bench) {
    Figures figures(bench);
    return figures.take();
}

}  // namespace weft::netcheck
