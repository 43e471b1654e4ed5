#include "transports/fabric/environment.h"

#include <dlfcn.h>
#include <rdma/fabric.h>
#include <strings.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "src/base/log.h"

namespace weft::fabric {

namespace {

constexpr uint32_t first = FI_VERSION(1, 0);
constexpr uint32_t last = FI_VERSION(255, 0);

// The provider calls abort() where it finds one of these set (prov/efa/src/efa_env.c and its
// ancestors by version).
struct Fatal {
    const char* name;
    uint32_t from, before;
};
constexpr Fatal fatals[] = {
    {"FI_EFA_SHM_MAX_MEDIUM_SIZE", first, FI_VERSION(1, 20)},
    {"FI_EFA_MTU_SIZE", FI_VERSION(1, 18), last},
    {"FI_EFA_TX_IOV_LIMIT", FI_VERSION(1, 19), last},
    {"FI_EFA_RX_IOV_LIMIT", FI_VERSION(1, 19), last},
};

constexpr const char* rdma_name = "FI_EFA_USE_DEVICE_RDMA";

Error fatal(const char* name, const char* value, uint32_t version, const std::string& why) {
    return make_error(Code::invalid_usage, Scope::process,
                      format("%s=%s would end the process: %s (libfabric %u.%u); unset it", name,
                             value, why.c_str(), FI_MAJOR(version), FI_MINOR(version)));
}

bool is_one_of(const char* value, std::initializer_list<const char*> words) {
    return std::any_of(words.begin(), words.end(),
                       [&](const char* word) { return strcasecmp(value, word) == 0; });
}

Result<void> values_check(const Environment& environment, uint32_t version) {
    const char* credits = environment("FI_EFA_TX_MIN_CREDITS");
    if (credits != nullptr && std::strtol(credits, nullptr, 0) <= 0) {
        return fatal("FI_EFA_TX_MIN_CREDITS", credits, version,
                     "the provider wants a positive number");
    }
    const char* interface = environment("FI_EFA_IFACE");
    if (interface != nullptr && *interface == '\0' && version >= FI_VERSION(2, 0)) {
        return fatal("FI_EFA_IFACE", interface, version, "the provider wants names, or `all`");
    }
    return {};
}

std::vector<std::string> words_of(std::string_view list) {
    std::vector<std::string> words;
    std::istringstream in{std::string(list)};
    for (std::string word; std::getline(in, word, ',');) {
        words.push_back(word);
    }
    return words;
}

}  // namespace

Environment environment_own() {
    return [](const char* name) { return static_cast<const char*>(std::getenv(name)); };
}

Result<void> environment_check(const Environment& environment, uint32_t library_version,
                               const std::function<NicReads()>& nic_reads) {
    for (const Fatal& one : fatals) {
        const char* value = environment(one.name);
        if (value != nullptr && library_version >= one.from && library_version < one.before) {
            return fatal(one.name, value, library_version, "the provider has given it up");
        }
    }
    TRY(values_check(environment, library_version));
    const char* rdma = environment(rdma_name);
    if (rdma == nullptr) {
        return {};
    }
    const bool on = is_one_of(rdma, {"1", "true", "yes", "on"});
    if (!on && !is_one_of(rdma, {"0", "false", "no", "off"})) {
        return fatal(rdma_name, rdma, library_version, "the provider takes 0 or 1");
    }
    if (on && nic_reads() == NicReads::no) {
        return fatal(rdma_name, rdma, library_version,
                     "the NIC cannot read, and what it can do is used by itself");
    }
    return {};
}

std::string efa_excluded(const Environment& environment) {
    const char* providers = environment("FI_PROVIDER");
    if (providers != nullptr && *providers != '\0') {
        const bool negated = *providers == '^';
        bool named = false;
        for (const std::string& word : words_of(providers + (negated ? 1 : 0))) {
            named = named || strcasecmp(word.c_str(), "efa") == 0;
        }
        if (named == negated) {
            return format("FI_PROVIDER=%s leaves efa out: unset it", providers);
        }
    }
    const char* interfaces = environment("FI_EFA_IFACE");
    if (interfaces != nullptr && strcasecmp(interfaces, "all") != 0) {
        return format("FI_EFA_IFACE=%s may name none of the devices: unset it", interfaces);
    }
    return "";
}

Fork fork_policy(const Environment& environment, ForkStatus status, std::string_view kernel) {
    if (status == ForkStatus::unneeded) {
        return Fork::safe;
    }
    int major = 0, minor = 0;
    const bool read = std::sscanf(std::string(kernel).c_str(), "%d.%d", &major, &minor) == 2;
    if (status == ForkStatus::unknown && read && (major > 5 || (major == 5 && minor >= 13))) {
        return Fork::safe;
    }
    for (const char* name : {"FI_EFA_FORK_SAFE", "RDMAV_FORK_SAFE", "IBV_FORK_SAFE"}) {
        if (environment(name) != nullptr) {
            return Fork::asked;
        }
    }
    return Fork::must_ask;
}

namespace {

// ibv_is_fork_initialized() came with rdma-core 35; a library that lacks it knows nothing of
// kernels that make it unneeded. A preloaded stand-in goes before the library.
ForkStatus fork_status() {
    using Ask = int (*)();
    void* found = dlsym(RTLD_DEFAULT, "ibv_is_fork_initialized");
    if (found == nullptr) {
        void* verbs = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        found = verbs != nullptr ? dlsym(verbs, "ibv_is_fork_initialized") : nullptr;
    }
    if (found == nullptr) {
        return ForkStatus::unknown;
    }
    const int answer = reinterpret_cast<Ask>(found)();
    return answer >= 0 && answer <= 2 ? static_cast<ForkStatus>(answer) : ForkStatus::unknown;
}

}  // namespace

void fork_prepare(const Environment& environment) {
    utsname kernel{};
    uname(&kernel);
    if (fork_policy(environment, fork_status(), kernel.release) == Fork::must_ask) {
        setenv("FI_EFA_FORK_SAFE", "1", 0);
        LOG(info, net,
            "kernel %s does not copy pinned memory on fork: FI_EFA_FORK_SAFE=1 is set, without "
            "huge pages",
            kernel.release);
    }
}

}  // namespace weft::fabric
