// weft-rail-rate: what one raw TCP stream per rail carries from one host to another, rail by rail
// and on all rails at once. It is the yardstick for what a library may claim of the same rails, so
// it runs in the same job: weft-run --hosts 2 ... -- sh -c 'weft-rail-rate && weft-perf ...'
//
// Rank 0 receives and counts. The first rank of the second host sends (rank 1, if there is only one
// host). All others wait, so that nothing else is on the wire until the measurement is over.
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "perf/launch_env.h"
#include "src/base/clock.h"
#include "src/base/handle.h"
#include "src/base/log.h"
#include "src/base/result.h"

namespace weft::run {

namespace {

constexpr Nanos meet_ns = 30 * nanos_per_s;
constexpr time_t silence_s = 30;           // longer than any pause that is not a failure
constexpr size_t block_bytes = 256 << 10;  // per system call

struct Options {
    double seconds = 1.0;  // per rail, and again for all rails together
    std::string json;
};

struct Rate {
    uint64_t bytes = 0;
    Nanos time = 0;
    double mb_per_s() const {
        return time == 0 ? 0 : static_cast<double>(bytes) * 1e3 / static_cast<double>(time);
    }
};

Error failed(const std::string& what) {
    return make_error(Code::system, Scope::process, what + ": " + std::strerror(errno), errno);
}

Result<sockaddr_in> address_parse(const std::string& host, int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
        return make_error(Code::invalid_argument, Scope::call,
                          "'" + host + "' is not an IPv4 address");
    }
    return address;
}

const sockaddr* generic(const sockaddr_in& address) {
    return reinterpret_cast<const sockaddr*>(&address);
}

Fd socket_make() {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval limit{silence_s, 0};
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return fd;
}

Result<Fd> listen_at(const std::string& host, int port) {
    const sockaddr_in address = TRY(address_parse(host, port));
    Fd fd = socket_make();
    if (::bind(fd.get(), generic(address), sizeof address) != 0 ||
        ::listen(fd.get(), SOMAXCONN) != 0) {
        return failed("listening at " + host);
    }
    return fd;
}

// From `source`, so that the stream rides that rail and no other.
Result<Fd> connect_to(const sockaddr_in& address, const std::string& source) {
    for (const Nanos end = clock_now() + meet_ns; clock_now() < end; ::usleep(10'000)) {
        Fd fd = socket_make();
        if (!source.empty()) {
            const sockaddr_in from = TRY(address_parse(source, 0));
            if (::bind(fd.get(), generic(from), sizeof from) != 0) {
                return failed("sending from " + source);
            }
        }
        if (::connect(fd.get(), generic(address), sizeof address) == 0) {
            return fd;
        }
    }
    return failed("connecting");
}

std::vector<std::string> rails_here() {
    const char* text = std::getenv("WEFT_RAILS");
    const char* fallback = std::getenv("MASTER_ADDR");
    std::string list = text ? text : fallback ? fallback : "127.0.0.1";
    std::vector<std::string> rails;
    for (size_t at = 0; at <= list.size();) {
        const size_t end = std::min(list.find(',', at), list.size());
        rails.push_back(list.substr(at, end - at));
        at = end + 1;
    }
    return rails;
}

// Counts what arrives until the sender closes, without the start: what the buckets of the shaping
// have saved up, and TCP's first steps.
Result<Rate> receive(int listener, Nanos warm_up) {
    const Fd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) {
        return failed("accepting");
    }
    std::vector<char> block(block_bytes);
    Rate rate;
    const Nanos begin = clock_now() + warm_up;
    Nanos from = 0;
    for (;;) {
        const ssize_t got = ::recv(fd.get(), block.data(), block.size(), 0);
        if (got < 0) {
            return failed("receiving");
        }
        const Nanos now = clock_now();
        if (got == 0) {
            break;
        }
        if (from != 0) {
            rate.bytes += static_cast<uint64_t>(got);
            rate.time = now - from;
        } else if (now >= begin) {
            from = now;
        }
    }
    (void)!::send(fd.get(), "", 1, MSG_NOSIGNAL);  // all of it is here
    return rate;
}

Result<void> send_for(const sockaddr_in& address, const std::string& source, Nanos time) {
    const Fd fd = TRY(connect_to(address, source));
    const std::vector<char> block(block_bytes);
    for (const Nanos end = clock_now() + time; clock_now() < end;) {
        if (::send(fd.get(), block.data(), block.size(), MSG_NOSIGNAL) < 0) {
            return failed("sending");
        }
    }
    ::shutdown(fd.get(), SHUT_WR);
    char all_here = 0;
    if (::recv(fd.get(), &all_here, 1, 0) != 1) {
        return failed("waiting for the receiver");
    }
    return {};
}

// Runs `one(rail)` for all rails at once; the first failure, if any.
template <class One>
Result<void> on_all(size_t rail_count, const One& one) {
    std::vector<Result<void>> results(rail_count);
    std::vector<std::thread> threads;
    for (size_t rail = 0; rail < rail_count; ++rail) {
        threads.emplace_back([&, rail] { results[rail] = one(rail); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (Result<void>& result : results) {
        TRY(std::move(result));
    }
    return {};
}

struct Wire {
    std::vector<std::string> rails;
    std::vector<Rate> alone;
    std::vector<Rate> together;

    double sum() const {
        double total = 0;
        for (const Rate& rate : together) {
            total += rate.mb_per_s();
        }
        return total;
    }
};

Result<void> write_json(const std::string& path, const Wire& wire) {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "w"), std::fclose);
    if (!file) {
        return failed("writing " + path);
    }
    std::fprintf(file.get(), "{\"rails\": [");
    for (size_t rail = 0; rail < wire.rails.size(); ++rail) {
        std::fprintf(file.get(),
                     "%s{\"rail\": %zu, \"address\": \"%s\", \"alone_mb_per_s\": %.3f, "
                     "\"together_mb_per_s\": %.3f}",
                     rail == 0 ? "" : ", ", rail, wire.rails[rail].c_str(),
                     wire.alone[rail].mb_per_s(), wire.together[rail].mb_per_s());
    }
    std::fprintf(file.get(), "], \"all_mb_per_s\": %.3f}\n", wire.sum());
    return {};
}

void print(const Wire& wire) {
    for (size_t rail = 0; rail < wire.rails.size(); ++rail) {
        std::printf("rail %zu  %-15s  alone %9.2f MB/s  together %9.2f MB/s\n", rail,
                    wire.rails[rail].c_str(), wire.alone[rail].mb_per_s(),
                    wire.together[rail].mb_per_s());
    }
    std::printf("all %zu rails%31s together %9.2f MB/s\n", wire.rails.size(), "", wire.sum());
    std::fflush(stdout);
}

// Rank 0's rails as the sender is told them: an address and a port each.
Result<std::vector<sockaddr_in>> listeners_open(const std::vector<std::string>& rails,
                                                std::vector<Fd>& listeners) {
    std::vector<sockaddr_in> addresses;
    for (const std::string& rail : rails) {
        listeners.push_back(TRY(listen_at(rail, 0)));
        sockaddr_in address{};
        socklen_t size = sizeof address;
        ::getsockname(listeners.back().get(), reinterpret_cast<sockaddr*>(&address), &size);
        addresses.push_back(address);
    }
    return addresses;
}

Result<Wire> measure(const std::vector<std::string>& rails, const std::vector<Fd>& listeners,
                     Nanos warm_up) {
    Wire wire;
    wire.rails = rails;
    wire.together.resize(rails.size());
    for (const Fd& listener : listeners) {
        wire.alone.push_back(TRY(receive(listener.get(), warm_up)));
    }
    TRY(on_all(rails.size(), [&](size_t rail) -> Result<void> {
        wire.together[rail] = TRY(receive(listeners[rail].get(), warm_up));
        return {};
    }));
    return wire;
}

// The ranks say their number, get rank 0's rails, and close when rank 0 has said it is over.
struct Peers {
    std::vector<Fd> links;
};

Result<Peers> peers_meet(int rank_count, const std::string& host, int port,
                         const std::vector<sockaddr_in>& rails) {
    const Fd listener = TRY(listen_at(host, port));
    Peers peers;
    while (static_cast<int>(peers.links.size()) < rank_count - 1) {
        Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const size_t bytes = rails.size() * sizeof rails[0];
        if (!peer || ::send(peer.get(), rails.data(), bytes, MSG_NOSIGNAL) < 0) {
            return failed("waiting for the other ranks");
        }
        peers.links.push_back(std::move(peer));
    }
    return peers;
}

// The ranks close first: what a closed connection leaves behind stays off rank 0's port.
void peers_dismiss(const Peers& peers) {
    for (const Fd& peer : peers.links) {
        (void)!::send(peer.get(), "", 1, MSG_NOSIGNAL);
        char end = 0;
        (void)!::recv(peer.get(), &end, 1, 0);
    }
}

Result<void> receiver_run(const Options& options, const LaunchEnv& env, const std::string& host,
                          int port) {
    const std::vector<std::string> rails = rails_here();
    std::vector<Fd> listeners;
    const std::vector<sockaddr_in> addresses = TRY(listeners_open(rails, listeners));
    const Peers peers = TRY(peers_meet(env.rank_count, host, port, addresses));
    const auto warm_up = static_cast<Nanos>(options.seconds * 0.2 * double(nanos_per_s));
    const Wire wire = TRY(measure(rails, listeners, warm_up));
    print(wire);
    if (!options.json.empty()) {
        TRY(write_json(options.json, wire));
    }
    peers_dismiss(peers);
    return {};
}

Result<void> send_all(const std::vector<sockaddr_in>& rails, Nanos time) {
    const std::vector<std::string> sources = rails_here();
    if (sources.size() != rails.size()) {
        return make_error(Code::invalid_usage, Scope::process,
                          format("%zu rails here, %zu at rank 0", sources.size(), rails.size()));
    }
    for (size_t rail = 0; rail < rails.size(); ++rail) {
        TRY(send_for(rails[rail], sources[rail], time));
    }
    return on_all(rails.size(),
                  [&](size_t rail) { return send_for(rails[rail], sources[rail], time); });
}

Result<void> other_run(const Options& options, const LaunchEnv& env, const std::string& host,
                       int port) {
    const bool sends =
        env.host_count > 1 ? env.host_index == 1 && env.local_rank == 0 : env.rank == 1;
    const Fd link = TRY(connect_to(TRY(address_parse(host, port)), ""));
    std::vector<sockaddr_in> rails(rails_here().size());
    const size_t bytes = rails.size() * sizeof rails[0];
    if (::recv(link.get(), rails.data(), bytes, MSG_WAITALL) != static_cast<ssize_t>(bytes)) {
        return failed("asking rank 0 for its rails");
    }
    if (sends) {
        TRY(send_all(rails, static_cast<Nanos>(options.seconds * double(nanos_per_s))));
    }
    const timeval for_ever{0, 0};  // rank 0 ends, and with it the connection
    ::setsockopt(link.get(), SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof for_ever);
    char over = 0;
    (void)!::recv(link.get(), &over, 1, 0);
    return {};
}

Result<Options> options_parse(int argc, char** argv) {
    Options options;
    opterr = 0;
    const option long_options[] = {{"json", required_argument, nullptr, 'j'}, {}};
    for (int which = 0; (which = getopt_long(argc, argv, "s:", long_options, nullptr)) != -1;) {
        if (which == 's') {
            options.seconds = std::atof(optarg);
        } else if (which == 'j') {
            options.json = optarg;
        }
        if (which == '?' || !(options.seconds >= 0.1 && options.seconds <= 600)) {
            return make_error(Code::invalid_argument, Scope::call,
                              "usage: weft-rail-rate [-s SECONDS (0.1 to 600)] [--json FILE]");
        }
    }
    return options;
}

Result<void> run(int argc, char** argv) {
    const Options options = TRY(options_parse(argc, argv));
    const LaunchEnv env = launch_env_find();
    const char* host = std::getenv("MASTER_ADDR");
    const char* port = std::getenv("MASTER_PORT");
    if (!env.error.empty() || env.rank_count < 2 || !host || !port) {
        return make_error(Code::invalid_usage, Scope::process,
                          "needs two or more ranks started by weft-run or torchrun");
    }
    return env.rank == 0 ? receiver_run(options, env, host, std::atoi(port))
                         : other_run(options, env, host, std::atoi(port));
}

}  // namespace

}  // namespace weft::run

int main(int argc, char** argv) {
    const weft::Result<void> result = weft::run::run(argc, argv);
    if (!result.ok()) {
        std::fprintf(stderr, "weft-rail-rate: %s\n", result.error().what.c_str());
    }
    return result.ok() ? 0 : 1;
}
