// Who is behind an endpoint: a process that maps shared memory, a socket that listens.
#include "transports/fabric/presence.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/transports/fake_machine.h"

namespace weft::fabric {
namespace {

// A child that has a file of its own number mapped, as a process has with an endpoint of shm.
class Neighbour {
  public:
    explicit Neighbour(bool maps) {
        int ready[2];
        REQUIRE(pipe(ready) == 0);
        pid_ = fork();
        if (pid_ == 0) {
            const std::string file = folder_.path / (std::to_string(getpid()) + ":0:0");
            const Fd fd(open(file.c_str(), O_CREAT | O_RDWR, 0600));
            bool well = ftruncate(fd.get(), 4096) == 0;
            well = well &&
                   (!maps || mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd.get(), 0) != MAP_FAILED);
            well = well && write(ready[1], "r", 1) == 1;
            for (; well;) {
                pause();
            }
            _exit(1);
        }
        char byte = 0;
        close(ready[1]);
        const bool is_ready = read(ready[0], &byte, 1) == 1;
        close(ready[0]);
        REQUIRE(is_ready);
    }
    ~Neighbour() { end(); }
    Neighbour(const Neighbour&) = delete;
    Neighbour& operator=(const Neighbour&) = delete;
    std::string endpoint() const { return "fi_shm://" + std::to_string(pid_) + ":0:0"; }
    void end() {
        if (!ended_) {
            kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
        ended_ = true;
    }

  private:
    test::TempFolder folder_;
    pid_t pid_ = 0;
    bool ended_ = false;
};

TEST_CASE("presence: shm's endpoint of a process says when that has ended") {
    Neighbour neighbour(true);
    const std::string endpoint = neighbour.endpoint() + std::string(1, '\0');
    const Fd watch = process_watch("shm", endpoint);
    REQUIRE(watch);
    CHECK_FALSE(process_ended(watch));
    neighbour.end();
    CHECK(process_ended(watch));
    CHECK_FALSE(process_watch("shm", endpoint));
}

TEST_CASE("presence: a process that does not have the endpoint is another one") {
    const Neighbour neighbour(false);
    CHECK_FALSE(process_watch("shm", neighbour.endpoint()));
    const Neighbour other(true);
    CHECK_FALSE(process_watch("tcp;ofi_rxm", other.endpoint()));
    CHECK_FALSE(process_watch("shm", "fi_shm://"));
    CHECK_FALSE(process_watch("shm", "fi_shm://-1:0:0"));
    CHECK_FALSE(process_watch("shm", "a name of the user's"));
}

// A port of the loopback interface that is bound, and listens or not.
class Port {
  public:
    explicit Port(bool listens) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        socklen_t bytes = sizeof address_;
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* const address = reinterpret_cast<sockaddr*>(&address_);
        REQUIRE(bind(socket_.get(), address, bytes) == 0);
        REQUIRE(getsockname(socket_.get(), address, &bytes) == 0);
        REQUIRE((!listens || listen(socket_.get(), 1) == 0));
    }
    std::string endpoint() const {
        return {reinterpret_cast<const char*>(&address_), sizeof address_};
    }

  private:
    Fd socket_;
    sockaddr_in address_{};
};

// On the loopback interface the answer is there when connect() returns, or soon.
bool refused(const Port& port, const char* provider) {
    sockaddr_in from{};
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_port = htons(9);  // the rail's own, which is taken
    std::string name = provider;
    fi_fabric_attr fabric{};
    fabric.prov_name = name.data();
    fi_info rail{};
    rail.fabric_attr = &fabric;
    rail.addr_format = FI_SOCKADDR_IN;
    rail.src_addr = &from;
    rail.src_addrlen = sizeof from;
    Knock knock(rail, port.endpoint());
    for (int i = 0; i < 1000 && !knock.refused(); i++) {
        poll(nullptr, 0, 0);
    }
    return knock.refused();
}

TEST_CASE("presence: where nobody listens, a knock is refused") {
    CHECK(refused(Port(false), "tcp;ofi_rxm"));
    CHECK_FALSE(refused(Port(true), "tcp;ofi_rxm"));
    CHECK_FALSE(refused(Port(false), "efa"));
    CHECK_FALSE(Knock().refused());
}

}  // namespace
}  // namespace weft::fabric
