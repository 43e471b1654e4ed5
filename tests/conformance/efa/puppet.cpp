// A program of libfabric calls that does what it reads: one command a line on standard input, one
// line of answer each; what completes is a line of its own. So a test drives several processes over
// the efa provider, fault by fault. `puppet FABRIC` ("efa", "efa-direct", "-" for the first there
// is). Thread rule: one thread. Failure rule: "error CODE text" answers a command; what no command
// asked for ends the program.
//
//   nics                              nics N NAME...
//   open NIC                          opened HEX       endpoint's address
//   memory NIC BYTES                  memory ADDRESS KEY
//   more-memory NIC BYTES             memory ADDRESS KEY   nothing is written there
//   peer NIC HEX                      peer NUMBER
//   receive NIC COUNT                 receives COUNT
//   send NIC PEER BYTES               posted           then "done" or "failed ERROR VENDOR text"
//   write NIC PEER BYTES ADDRESS KEY IMMEDIATE         the same
//   read NIC PEER BYTES ADDRESS KEY                    the same
//   stream NIC PEER BYTES PIECE ADDRESS KEY            posted, then "streamed SECONDS"
//   fill NIC SEED BYTES               filled
//   check NIC SEED BYTES              same, or differs AT
//   close NIC                         closed
// Without a command: "message BYTES", "written IMMEDIATE BYTES" at the target.
#include <poll.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr size_t receive_bytes = 8192;
constexpr uint32_t stream_window = 16;

double seconds() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct Failed {
    long code;
    std::string what;
};

void need(long rc, const char* what) {
    if (rc < 0) {
        throw Failed{-rc, what};
    }
}

struct Stream {
    size_t bytes = 0;
    size_t piece = 0;
    size_t posted = 0;
    size_t done = 0;
    fi_addr_t peer = 0;
    uint64_t address = 0;
    uint64_t key = 0;
    double begin = 0;
};

// What a completion's context leads to: libfabric's own words come first.
struct Context {
    fi_context2 own{};
    char* received = nullptr;  // of a receive
};

struct Nic {
    fi_info* info = nullptr;
    fid_fabric* fabric = nullptr;
    fid_domain* domain = nullptr;
    fid_cq* cq = nullptr;
    fid_av* av = nullptr;
    fid_ep* ep = nullptr;
    fid_mr* mr = nullptr;
    fid_mr* receive_mr = nullptr;
    char* memory = nullptr;
    size_t bytes = 0;
    std::unique_ptr<char[]> receive_memory;
    std::deque<Context> contexts;
    Stream stream;
};

std::vector<std::unique_ptr<Nic>> nics;

fi_info* hints_make(const char* fabric) {
    fi_info* hints = fi_allocinfo();
    hints->caps = FI_MSG | FI_RMA;
    hints->mode = FI_CONTEXT | FI_CONTEXT2 | FI_RX_CQ_DATA;
    hints->ep_attr->type = FI_EP_RDM;
    hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
    hints->domain_attr->cq_data_size = 4;
    hints->fabric_attr->prov_name = strdup("efa");
    if (std::strcmp(fabric, "-") != 0) {
        hints->fabric_attr->name = strdup(fabric);
    }
    return hints;
}

// The first form of every NIC; the list is libfabric's and stays.
void nics_find(const char* fabric) {
    const uint32_t version = std::min<uint32_t>(fi_version(), FI_VERSION(1, 18));
    fi_info* list = nullptr;
    need(fi_getinfo(version, nullptr, nullptr, 0, hints_make(fabric), &list), "fi_getinfo");
    std::map<std::string, bool> seen;
    for (; list != nullptr; list = list->next) {
        if (!seen[list->domain_attr->name]) {
            seen[list->domain_attr->name] = true;
            nics.push_back(std::make_unique<Nic>());
            nics.back()->info = list;
        }
    }
}

std::string to_hex(const char* bytes, size_t count) {
    std::string text;
    for (size_t i = 0; i < count; i++) {
        char two[3];
        std::snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(bytes[i]));
        text += two;
    }
    return text;
}

std::string of_hex(const std::string& text) {
    std::string bytes;
    for (size_t i = 0; i + 1 < text.size(); i += 2) {
        bytes += static_cast<char>(std::strtoul(text.substr(i, 2).c_str(), nullptr, 16));
    }
    return bytes;
}

void open_nic(Nic& nic) {
    need(fi_fabric(nic.info->fabric_attr, &nic.fabric, nullptr), "fi_fabric");
    need(fi_domain(nic.fabric, nic.info, &nic.domain, nullptr), "fi_domain");
    fi_cq_attr cq{};
    cq.format = FI_CQ_FORMAT_DATA;
    cq.size = 4096;
    need(fi_cq_open(nic.domain, &cq, &nic.cq, nullptr), "fi_cq_open");
    fi_av_attr av{};
    av.type = FI_AV_TABLE;
    need(fi_av_open(nic.domain, &av, &nic.av, nullptr), "fi_av_open");
    need(fi_endpoint(nic.domain, nic.info, &nic.ep, nullptr), "fi_endpoint");
    need(fi_ep_bind(nic.ep, &nic.cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
    need(fi_ep_bind(nic.ep, &nic.av->fid, 0), "fi_ep_bind");
    need(fi_enable(nic.ep), "fi_enable");
    char name[256];
    size_t bytes = sizeof name;
    need(fi_getname(&nic.ep->fid, name, &bytes), "fi_getname");
    std::printf("opened %s\n", to_hex(name, bytes).c_str());
}

fid_mr* memory_register(Nic& nic, void* memory, size_t bytes) {
    constexpr uint64_t access =
        FI_SEND | FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE;
    fid_mr* mr = nullptr;
    need(fi_mr_reg(nic.domain, memory, bytes, access, 0, 0, 0, &mr, nullptr), "fi_mr_reg");
    return mr;
}

char* memory_map(size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

void memory_say(const char* memory, fid_mr* mr) {
    std::printf("memory %llu %llu\n",
                static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(memory)),
                static_cast<unsigned long long>(fi_mr_key(mr)));
}

void receives_post(Nic& nic, uint32_t count) {
    if (!nic.receive_memory) {
        nic.receive_memory = std::make_unique<char[]>(receive_bytes);
        nic.receive_mr = memory_register(nic, nic.receive_memory.get(), receive_bytes);
    }
    for (uint32_t i = 0; i < count; i++) {
        nic.contexts.emplace_back();
        Context& context = nic.contexts.back();
        context.received = nic.receive_memory.get();
        need(fi_recv(nic.ep, context.received, receive_bytes, fi_mr_desc(nic.receive_mr),
                     FI_ADDR_UNSPEC, &context.own),
             "fi_recv");
    }
}

char pattern(unsigned seed, size_t i) {
    return static_cast<char>((i * 2654435761U + seed) >> 7);
}

void said(Nic& nic, const fi_cq_data_entry& entry) {
    Context* context = static_cast<Context*>(entry.op_context);
    if ((entry.flags & FI_REMOTE_CQ_DATA) != 0) {
        std::printf("written %llu %zu\n", static_cast<unsigned long long>(entry.data & 0xffffffff),
                    entry.len);
    } else if (context != nullptr && context->received != nullptr) {
        std::printf("message %zu\n", entry.len);
    } else if (nic.stream.bytes != 0) {
        nic.stream.done += nic.stream.piece;
        if (nic.stream.done >= nic.stream.bytes) {
            std::printf("streamed %.6f\n", seconds() - nic.stream.begin);
            nic.stream = {};
        }
    } else {
        std::printf("done\n");
    }
}

void failure_say(Nic& nic) {
    fi_cq_err_entry entry{};
    if (fi_cq_readerr(nic.cq, &entry, 0) > 0) {
        const char* why = fi_cq_strerror(nic.cq, entry.prov_errno, entry.err_data, nullptr, 0);
        std::printf("failed %d %d %s\n", entry.err, entry.prov_errno, why != nullptr ? why : "-");
        nic.stream = {};
    }
}

void stream_go(Nic& nic) {
    Stream& stream = nic.stream;
    while (stream.posted < stream.bytes &&
           stream.posted < stream.done + stream_window * stream.piece) {
        nic.contexts.emplace_back();
        const size_t at = stream.posted % nic.bytes;
        const ssize_t rc =
            fi_write(nic.ep, nic.memory + at, stream.piece, fi_mr_desc(nic.mr), stream.peer,
                     stream.address + at, stream.key, &nic.contexts.back().own);
        if (rc == -FI_EAGAIN) {
            return;
        }
        need(rc, "fi_write");
        stream.posted += stream.piece;
    }
}

bool progress() {
    bool any = false;
    for (const auto& nic : nics) {
        if (nic->cq == nullptr) {
            continue;
        }
        fi_cq_data_entry entries[16];
        const ssize_t count = fi_cq_read(nic->cq, entries, 16);
        for (ssize_t i = 0; i < count; i++) {
            said(*nic, entries[i]);
        }
        if (count == -FI_EAVAIL) {
            failure_say(*nic);
        }
        stream_go(*nic);
        any = any || count > 0 || nic->stream.bytes != 0;
    }
    return any;
}

// Until there is room for one more, or for as long as it takes to say that there is none.
template <class F>
void post(F call) {
    const double end = seconds() + 5;
    ssize_t rc = call();
    while (rc == -FI_EAGAIN && seconds() < end) {
        progress();
        rc = call();
    }
    need(rc, "post");
    std::printf("posted\n");
}

void close_nic(Nic& nic) {
    for (fid* one :
         {nic.ep != nullptr ? &nic.ep->fid : nullptr, nic.mr != nullptr ? &nic.mr->fid : nullptr,
          nic.receive_mr != nullptr ? &nic.receive_mr->fid : nullptr,
          nic.av != nullptr ? &nic.av->fid : nullptr, nic.cq != nullptr ? &nic.cq->fid : nullptr,
          nic.domain != nullptr ? &nic.domain->fid : nullptr,
          nic.fabric != nullptr ? &nic.fabric->fid : nullptr}) {
        if (one != nullptr) {
            fi_close(one);
        }
    }
    fi_info* info = nic.info;
    nic = {};
    nic.info = info;
    std::printf("closed\n");
}

void transfer(Nic& nic, const std::string& what, std::istringstream& words) {
    fi_addr_t peer = 0;
    size_t bytes = 0;
    uint64_t address = 0;
    uint64_t key = 0;
    uint64_t immediate = 0;
    words >> peer >> bytes >> address >> key >> immediate;
    nic.contexts.emplace_back();
    void* context = &nic.contexts.back().own;
    void* descriptor = fi_mr_desc(nic.mr);
    post([&] {
        return what == "send" ? fi_send(nic.ep, nic.memory, bytes, descriptor, peer, context)
               : what == "write"
                   ? fi_writedata(nic.ep, nic.memory, bytes, descriptor, immediate, peer, address,
                                  key, context)
                   : fi_read(nic.ep, nic.memory, bytes, descriptor, peer, address, key, context);
    });
}

void memory_do(Nic& nic, const std::string& what, std::istringstream& words) {
    size_t first = 0;
    size_t second = 0;
    words >> first >> second;
    if (what == "memory") {
        nic.bytes = first;
        nic.memory = memory_map(first);
        nic.mr = memory_register(nic, nic.memory, first);
        memory_say(nic.memory, nic.mr);
    } else if (what == "more-memory") {
        char* memory = memory_map(first);
        memory_say(memory, memory_register(nic, memory, first));
    } else {
        for (size_t i = 0; i < second; i++) {
            const char expected = pattern(static_cast<unsigned>(first), i);
            if (what == "fill") {
                nic.memory[i] = expected;
            } else if (nic.memory[i] != expected) {
                std::printf("differs %zu\n", i);
                return;
            }
        }
        std::printf("%s\n", what == "fill" ? "filled" : "same");
    }
}

void nic_do(Nic& nic, const std::string& what, std::istringstream& words) {
    if (what == "open") {
        open_nic(nic);
    } else if (what == "close") {
        close_nic(nic);
    } else if (what == "peer") {
        std::string name;
        words >> name;
        fi_addr_t address = FI_ADDR_UNSPEC;
        const int rc = fi_av_insert(nic.av, of_hex(name).data(), 1, &address, 0, nullptr);
        need(rc == 1 ? 0 : rc < 0 ? rc : -FI_EINVAL, "fi_av_insert");
        std::printf("peer %llu\n", static_cast<unsigned long long>(address));
    } else if (what == "receive") {
        uint32_t count = 0;
        words >> count;
        receives_post(nic, count);
        std::printf("receives %u\n", count);
    } else if (what == "stream") {
        Stream& stream = nic.stream;
        words >> stream.peer >> stream.bytes >> stream.piece >> stream.address >> stream.key;
        stream.begin = seconds();
        std::printf("posted\n");
    } else if (what == "send" || what == "write" || what == "read") {
        transfer(nic, what, words);
    } else {
        memory_do(nic, what, words);
    }
}

void obey(const std::string& line) {
    std::istringstream words(line);
    std::string what;
    size_t index = 0;
    words >> what;
    try {
        if (what == "nics") {
            std::printf("nics %zu", nics.size());
            for (const auto& nic : nics) {
                std::printf(" %s", nic->info->domain_attr->name);
            }
            std::printf("\n");
        } else if (words >> index && index < nics.size()) {
            nic_do(*nics[index], what, words);
        } else {
            std::printf("error 22 no such NIC\n");
        }
    } catch (const Failed& failed) {
        std::printf("error %ld %s: %s\n", failed.code, failed.what.c_str(),
                    fi_strerror(static_cast<int>(failed.code)));
    }
}

// False at the end of the input.
bool commands(std::string& rest, int wait_ms) {
    pollfd input{0, POLLIN, 0};
    if (poll(&input, 1, wait_ms) <= 0) {
        return true;
    }
    char text[4096];
    const ssize_t count = read(0, text, sizeof text);
    if (count <= 0) {
        return false;
    }
    rest.append(text, static_cast<size_t>(count));
    for (size_t end = 0; (end = rest.find('\n')) != std::string::npos;) {
        obey(rest.substr(0, end));
        rest.erase(0, end + 1);
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    try {
        nics_find(argc > 1 ? argv[1] : "-");
        std::string rest;
        bool busy = false;
        while (commands(rest, busy ? 0 : 1)) {
            busy = progress();
        }
    } catch (const Failed& failed) {
        std::printf("error %ld %s: %s\n", failed.code, failed.what.c_str(),
                    fi_strerror(static_cast<int>(failed.code)));
        return 1;
    }
    return 0;
}
