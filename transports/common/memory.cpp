#include "transports/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "src/base/handle.h"
#include "src/base/log.h"

namespace weft {

namespace {

// Populating costs about 0.25 ms per MiB; a page fault in the data path costs more, but a program
// that allocates gigabytes should not wait a second for pages it may never use.
constexpr size_t populate_bytes_max = 16u << 20;
constexpr size_t page_bytes = 4096;
constexpr size_t huge_bytes = 2u << 20;
constexpr int advice_populate_write = 23;  // MADV_POPULATE_WRITE, Linux 5.14

struct Range {
    size_t bytes = 0;
    Fd memfd;
    uint64_t id = 0;
};

struct Named {  // by ncclCommRegister
    size_t bytes = 0;
    uint64_t id = 0;
    uint32_t count = 0;
    MemoryKind kind = MemoryKind::host;
    int device = 0;
};

// The ranges of this process. Shared memory is a property of the process, not of a communicator:
// ncclMemAlloc has none.
struct Ranges {
    std::shared_mutex mutex;
    std::map<uintptr_t, Range> by_base;
    std::unordered_map<uint64_t, uintptr_t> by_id;
    uint64_t next_id = 1;
    size_t bytes = 0;
    std::multimap<uintptr_t, Named> named;  // by base; they may overlap
    size_t named_bytes_max = 0;             // of any there ever was: bounds a search
    std::mutex watch_mutex;                 // held while watches are called
    std::vector<KnownWatch*> watches;
};

// Never destroyed: user code may free memory while the process exits.
Ranges& ranges() {
    static auto* const all = new Ranges;
    return *all;
}

Error refused(const char* what, size_t bytes) {
    const int sys = errno;
    return make_error(Code::system, Scope::call,
                      format("cannot allocate %zu bytes of shared memory: %s: %s (raise the memory "
                             "limit of the container or ask for less)",
                             bytes, what, std::strerror(sys)),
                      sys);
}

SharedRange describe(uintptr_t base, const Range& range) {
    return SharedRange{reinterpret_cast<void*>(base), range.bytes, range.memfd.get(), range.id};
}

const std::pair<const uintptr_t, Range>* range_at(const Ranges& all, uintptr_t at) {
    auto next = all.by_base.upper_bound(at);
    if (next == all.by_base.begin()) {
        return nullptr;
    }
    --next;
    return at - next->first < next->second.bytes ? &*next : nullptr;
}

// MAP_FAILED where it is refused. A range that holds huge pages is mapped where they fit and asks
// for them: fewer entries in the NIC's tables and in the processor's. The kernel gives them where
// /sys/kernel/mm/transparent_hugepage/shmem_enabled says so. Populated after it was asked, or its
// pages would be small ones already.
void* range_map(int memfd, size_t bytes) {
    const bool populate = bytes <= populate_bytes_max;
    constexpr int both = PROT_READ | PROT_WRITE;
    if (bytes < huge_bytes) {
        return ::mmap(nullptr, bytes, both, MAP_SHARED | (populate ? MAP_POPULATE : 0), memfd, 0);
    }
    const size_t room = bytes + huge_bytes;
    void* const reserved =
        ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) {
        return MAP_FAILED;
    }
    auto* const from = static_cast<std::byte*>(reserved);
    const size_t before =
        (huge_bytes - reinterpret_cast<uintptr_t>(from) % huge_bytes) % huge_bytes;
    std::byte* const at = from + before;
    if (::mmap(at, bytes, both, MAP_SHARED | MAP_FIXED, memfd, 0) == MAP_FAILED) {
        ::munmap(reserved, room);
        return MAP_FAILED;
    }
    if (before > 0) {
        ::munmap(from, before);
    }
    ::munmap(at + bytes, huge_bytes - before);
    ::madvise(at, bytes, MADV_HUGEPAGE);
    if (populate && ::madvise(at, bytes, advice_populate_write) != 0) {
        for (size_t i = 0; i < bytes; i += page_bytes) {
            static_cast<volatile std::byte*>(at)[i] = std::byte{};
        }
    }
    return at;
}

}  // namespace

void known_ended(uint64_t id) {
    Ranges& all = ranges();
    const std::lock_guard lock(all.watch_mutex);
    for (const KnownWatch* watch : all.watches) {
        watch->ended_(id);
    }
}

Result<void*> shared_alloc(size_t bytes) {
    if (bytes == 0 || bytes > SIZE_MAX / 2) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("shared memory of %zu bytes makes no sense", bytes));
    }
    const size_t rounded = (bytes + page_bytes - 1) / page_bytes * page_bytes;
    Fd memfd(::memfd_create("weft-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    // Sealed, so that no peer can shrink it under a reader.
    if (!memfd || ::ftruncate(memfd.get(), static_cast<off_t>(rounded)) != 0 ||
        ::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return refused("memfd", bytes);
    }
    void* base = range_map(memfd.get(), rounded);
    if (base == MAP_FAILED) {
        return refused("mmap", bytes);
    }
    Ranges& all = ranges();
    const std::unique_lock lock(all.mutex);
    const uint64_t id = all.next_id++;
    all.bytes += rounded;
    all.by_id.emplace(id, reinterpret_cast<uintptr_t>(base));
    all.by_base.emplace(reinterpret_cast<uintptr_t>(base), Range{rounded, std::move(memfd), id});
    return base;
}

Result<void> shared_free(void* memory) {
    Ranges& all = ranges();
    std::map<uintptr_t, Range>::node_type node;
    {
        const std::unique_lock lock(all.mutex);
        node = all.by_base.extract(reinterpret_cast<uintptr_t>(memory));
        if (!node.empty()) {
            all.by_id.erase(node.mapped().id);
            all.bytes -= node.mapped().bytes;
        }
    }
    if (node.empty()) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%p is not the start of memory from ncclMemAlloc", memory));
    }
    known_ended(node.mapped().id);
    const Range& range = node.mapped();
    // A peer may still map the file. The pages go back now, for everyone; the file itself is never
    // used again, so a late write of such a peer reaches nobody.
    ::fallocate(range.memfd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                static_cast<off_t>(range.bytes));
    ::munmap(memory, range.bytes);
    return {};
}

std::optional<SharedRange> shared_find(const void* memory) {
    const Ranges& all = ranges();
    const std::shared_lock lock(ranges().mutex);
    const auto* found = range_at(all, reinterpret_cast<uintptr_t>(memory));
    if (found == nullptr) {
        return std::nullopt;
    }
    return describe(found->first, found->second);
}

std::optional<SharedRange> shared_get(uint64_t id) {
    Ranges& all = ranges();
    const std::shared_lock lock(all.mutex);
    const auto found = all.by_id.find(id);
    if (found == all.by_id.end()) {
        return std::nullopt;
    }
    return describe(found->second, all.by_base.at(found->second));
}

Fd shared_dup(uint64_t id) {
    Ranges& all = ranges();
    const std::shared_lock lock(all.mutex);
    const auto found = all.by_id.find(id);
    return found == all.by_id.end()
               ? Fd()
               : Fd(::fcntl(all.by_base.at(found->second).memfd.get(), F_DUPFD_CLOEXEC, 0));
}

size_t shared_bytes_in_use() {
    Ranges& all = ranges();
    const std::shared_lock lock(all.mutex);
    return all.bytes;
}

std::optional<KnownRange> known_find(const void* memory, size_t bytes) {
    const auto at = reinterpret_cast<uintptr_t>(memory);
    const Ranges& all = ranges();
    const std::shared_lock lock(ranges().mutex);
    const auto* own = range_at(all, at);
    if (own != nullptr && bytes <= own->second.bytes - (at - own->first)) {
        return KnownRange{reinterpret_cast<void*>(own->first), own->second.bytes, own->second.id};
    }
    for (auto next = all.named.upper_bound(at); next != all.named.begin();) {
        --next;
        const size_t before = at - next->first;
        if (before >= all.named_bytes_max) {
            break;
        }
        if (before < next->second.bytes && bytes <= next->second.bytes - before) {
            return KnownRange{reinterpret_cast<void*>(next->first), next->second.bytes,
                              next->second.id, next->second.kind, next->second.device};
        }
    }
    return std::nullopt;
}

bool known_exists(uint64_t id) {
    Ranges& all = ranges();
    const std::shared_lock lock(all.mutex);
    return all.by_id.contains(id) ||
           std::ranges::any_of(all.named, [&](const auto& each) { return each.second.id == id; });
}

uint64_t known_add(void* base, size_t bytes, MemoryKind kind, int device) {
    const auto at = reinterpret_cast<uintptr_t>(base);
    Ranges& all = ranges();
    const std::unique_lock lock(all.mutex);
    for (auto [next, end] = all.named.equal_range(at); next != end; ++next) {
        if (next->second.bytes == bytes && next->second.kind == kind) {
            next->second.count++;
            return next->second.id;
        }
    }
    all.named_bytes_max = std::max(all.named_bytes_max, bytes);
    return all.named.emplace(at, Named{bytes, all.next_id++, 1, kind, device})->second.id;
}

void known_remove(uint64_t id) {
    Ranges& all = ranges();
    {
        const std::unique_lock lock(all.mutex);
        const auto found =
            std::ranges::find_if(all.named, [&](const auto& each) { return each.second.id == id; });
        if (found == all.named.end() || --found->second.count > 0) {
            return;
        }
        all.named.erase(found);
    }
    known_ended(id);
}

KnownWatch::KnownWatch(std::function<void(uint64_t id)> ended) : ended_(std::move(ended)) {
    Ranges& all = ranges();
    const std::lock_guard lock(all.watch_mutex);
    all.watches.push_back(this);
}

KnownWatch::~KnownWatch() {
    Ranges& all = ranges();
    const std::lock_guard lock(all.watch_mutex);
    std::erase(all.watches, this);
}

}  // namespace weft
