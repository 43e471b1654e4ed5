#include "tools/net_check/meet.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>

namespace weft::netcheck {

namespace {

constexpr const char* greeting = "weft-net-check 1";
constexpr Nanos answer_slack = 15 * nanos_per_s;  // beyond the deadline of a check

Error socket_error(const Place& place, const char* what) {
    return make_error(Code::system, Scope::process,
                      std::string(what) + " " + place.address + ":" + std::to_string(place.port) +
                          ": " + std::strerror(errno),
                      errno);
}

sockaddr_in address_of(const Place& place) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(place.port);
    ::inet_pton(AF_INET, place.address.c_str(), &address.sin_addr);  // checked with the options
    return address;
}

Result<Fd> listener_make(const Place& place) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const sockaddr_in address = address_of(place);
    if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(fd.get(), 16) != 0) {
        return socket_error(place, "cannot listen at");
    }
    return fd;
}

// Strangers that connect are left alone.
Result<Channel> guest_take(const Place& place, const Fd& listener, Nanos timeout) {
    const Nanos deadline = clock_now() + timeout;
    while (clock_now() < deadline) {
        pollfd readable{listener.get(), POLLIN, 0};
        if (::poll(&readable, 1, 100) <= 0) {
            continue;
        }
        Channel guest(Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)), timeout);
        const Result<std::string> said = guest.receive(nanos_per_s);
        if (said.ok() && said.value() == greeting) {
            return guest;
        }
    }
    errno = ETIMEDOUT;
    return socket_error(place, "rank 1 does not come to");
}

Result<Channel> host_reach(const Place& place, Nanos timeout) {
    const Nanos deadline = clock_now() + timeout;
    const sockaddr_in address = address_of(place);
    do {
        Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (fd &&
            ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
            Channel host(std::move(fd), timeout);
            TRY(host.send(greeting));
            return host;
        }
        ::poll(nullptr, 0, 50);  // rank 0 may not listen yet
    } while (clock_now() < deadline);
    return socket_error(place, "rank 0 is not at");
}

}  // namespace

Result<Meeting> Meeting::at(const Place& place, Nanos timeout) {
    if (place.rank == 1) {
        Channel control = TRY(host_reach(place, timeout));
        return Meeting(place, Fd(), std::move(control));
    }
    Fd listener = TRY(listener_make(place));
    Channel control = TRY(guest_take(place, listener, timeout));
    return Meeting(place, std::move(listener), std::move(control));
}

Result<Verdict> Meeting::half_play(const Task& task, Nanos deadline, bool verbose) {
    std::vector<Half> halves;
    {
        const Channel channel = TRY(place_.rank == 0 ? guest_take(place_, listener_, answer_slack)
                                                     : host_reach(place_, answer_slack));
        Half half = TRY(Half::start(task, channel.fd(), verbose));
        halves.push_back(std::move(half));
    }
    TRY(halves_wait(halves, clock_now() + deadline));
    return halves[0].verdict();
}

Result<Verdict> Meeting::check(const Task& task, Nanos deadline, bool verbose) {
    TRY(control_.send(std::to_string(task.version) + " " + task.check));
    const Verdict own = TRY(half_play(task, deadline, verbose));
    const std::string answer = TRY(control_.receive(deadline + answer_slack));
    return verdict_of_both(own, verdict_unpack(answer));
}

Result<void> Meeting::end() {
    return control_.send("0 end");
}

Result<void> Meeting::follow(Task task, Nanos deadline, bool verbose) {
    task.rank = 1;
    for (;;) {
        const std::string said = TRY(control_.receive(deadline + answer_slack));
        std::istringstream words(said);
        words >> task.version >> task.check;
        if (task.version == 0) {
            return {};
        }
        if (task_find(task.check) == nullptr) {
            return make_error(Code::remote, Scope::process,
                              "rank 0 wants a check that is not known here: " + task.check);
        }
        const Verdict verdict = TRY(half_play(task, deadline, verbose));
        TRY(control_.send(verdict_pack(verdict)));
    }
}

}  // namespace weft::netcheck
