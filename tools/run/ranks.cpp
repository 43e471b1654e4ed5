#include "tools/run/ranks.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>

#include "tools/run/efa.h"
#include "tools/run/meeting.h"
#include "tools/run/virtual_hosts.h"

namespace weft::run {

namespace {

// A virtual host is empty, so any port below the range of outgoing connections is free.
constexpr const char* virtual_comm_port = "29400";
constexpr const char* virtual_torch_port = "29500";

bool user_set(const Options& options, const char* name) {
    for (const auto& [key, value] : options.env) {
        if (key == name) {
            return true;
        }
    }
    return std::getenv(name) != nullptr;
}

std::map<std::string, std::string> inherited() {
    std::map<std::string, std::string> values;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string text = *entry;
        const size_t at = text.find('=');
        if (at != std::string::npos && text.rfind("WEFT_RUN_", 0) != 0) {
            values[text.substr(0, at)] = text.substr(at + 1);
        }
    }
    return values;
}

void set_numbers(std::map<std::string, std::string>& values, const Options& options,
                 const Place& place, const Meeting& meeting) {
    const std::string rank = std::to_string(place.rank);
    const std::string count = std::to_string(options.rank_count);
    const std::string local = std::to_string(place.local_rank);
    const std::string local_count = std::to_string(place.local_rank_count);
    values["WEFT_RANK"] = values["RANK"] = rank;
    values["WEFT_RANK_COUNT"] = values["WORLD_SIZE"] = count;
    values["WEFT_LOCAL_RANK"] = values["LOCAL_RANK"] = local;
    values["WEFT_LOCAL_RANK_COUNT"] = values["LOCAL_WORLD_SIZE"] = local_count;
    values["WEFT_HOST_INDEX"] = values["GROUP_RANK"] = std::to_string(place.host);
    values["WEFT_HOST_COUNT"] = values["GROUP_WORLD_SIZE"] = std::to_string(meeting.host_count);
}

void set_rails(std::map<std::string, std::string>& values, int host, int rail_count) {
    std::string rails;
    for (int rail = 0; rail < rail_count; ++rail) {
        rails.append(rail == 0 ? "" : ",").append(rail_address(rail, host));
    }
    values["WEFT_RAILS"] = rails;
    // A prefix of no other rail's name: they are numbered without leading zeros.
    values["NCCL_SOCKET_IFNAME"] = "rail0";
}

// One rank may read the user's input; a terminal stays with the launcher, for a process outside
// the terminal's process group that reads it is stopped.
int input_of(const Place& place) {
    return place.rank == 0 && ::isatty(0) == 0 ? 0 : ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void bind_to(const std::vector<int>& cores) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int core : cores) {
        CPU_SET(core, &set);
    }
    if (!cores.empty()) {
        ::sched_setaffinity(0, sizeof set, &set);
    }
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> list;
    list.reserve(texts.size() + 1);
    for (const std::string& text : texts) {
        list.push_back(const_cast<char*>(text.c_str()));
    }
    list.push_back(nullptr);
    return list;
}

// What the child does last. The launcher's signal mask and ignored SIGPIPE are not the program's.
std::string program_exec(const Options& options, const Place& place,
                         const std::vector<std::string>& environment, const std::string& cwd) {
    ::setpgid(0, 0);
    bind_to(place.cores);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    if (::chdir(cwd.c_str()) != 0) {  // joining a mount namespace went to its root
        return sys_text("cannot enter " + cwd, errno);
    }
    ::execvpe(options.program[0].c_str(), pointers(options.program).data(),
              pointers(environment).data());
    return sys_text("cannot run '" + options.program[0] + "'", errno);
}

struct Pipe {
    Fd read;
    Fd write;
};

Result<Pipe> pipe_make() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        return make_error(Code::system, Scope::call, sys_text("pipe", errno));
    }
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

Result<Meeting> meeting_make(const Options& options, int host_count, bool virtual_hosts) {
    Meeting meeting;
    meeting.host_count = host_count;
    meeting.rail_count = virtual_hosts ? options.rail_count : 0;
    meeting.address = virtual_hosts ? rail_address(0, 0) : "127.0.0.1";
    meeting.torch_port = virtual_hosts ? virtual_torch_port : TRY(port_free());
    if (!user_set(options, "NCCL_COMM_ID")) {
        do {
            meeting.comm_port = virtual_hosts ? virtual_comm_port : TRY(port_free());
        } while (meeting.comm_port == meeting.torch_port);
        meeting.secret = TRY(secret_make());
    }
    return meeting;
}

std::vector<std::string> rank_environment(const Options& options, const Place& place,
                                          const Meeting& meeting, const Efa* efa) {
    std::map<std::string, std::string> values = inherited();
    set_numbers(values, options, place, meeting);
    values["MASTER_ADDR"] = meeting.address;
    values["MASTER_PORT"] = meeting.torch_port;
    if (!meeting.comm_port.empty()) {
        values["NCCL_COMM_ID"] = meeting.address + ":" + meeting.comm_port;
        if (values.count("WEFT_SECRET_FILE") == 0) {
            values.try_emplace("WEFT_SECRET", meeting.secret);
        }
    }
    if (meeting.rail_count != 0) {
        set_rails(values, place.host, meeting.rail_count);
    }
    if (efa != nullptr) {
        efa->environment_set(values, place);
    }
    for (const auto& [key, value] : options.env) {
        values[key] = value;
    }
    std::vector<std::string> environment;
    environment.reserve(values.size());
    for (const auto& [key, value] : values) {
        environment.emplace_back(key).append("=").append(value);
    }
    return environment;
}

Result<Rank> rank_start(const Options& options, const Place& place, const Meeting& meeting,
                        const Home& home, const Efa* efa) {
    Pipe out = TRY(pipe_make());
    Pipe err = TRY(pipe_make());
    const std::vector<std::string> environment = rank_environment(options, place, meeting, efa);
    char* here = ::getcwd(nullptr, 0);
    const std::string cwd = here ? here : "/";
    std::free(here);
    Process process = TRY(spawn(home, [&](const Ready&) {
        ::dup2(input_of(place), 0);
        ::dup2(out.write.get(), 1);
        ::dup2(err.write.get(), 2);
        return program_exec(options, place, environment, cwd);
    }));
    return Rank{place, std::move(process), std::move(out.read), std::move(err.read)};
}

}  // namespace weft::run
