#include "tools/efa_device/core/shm_wire.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "src/base/futex.h"
#include "src/base/log.h"

namespace weft::efa {

namespace {

constexpr uint64_t ring_magic = 0x3130656669746677;  // changes with the layout
constexpr uint64_t slots = 256;
constexpr int lock_tries = 64;
constexpr Nanos absent_again = 2 * nanos_per_ms;  // until a missing peer is looked for again

struct Slot {
    alignas(64) PacketHeader header;
    std::byte payload[packet_payload_max];
};

}  // namespace

// Producers take turns by a robust mutex: one that dies with it leaves a slot that is not counted
// yet. `tail` moves only after the packet is whole.
struct Ring {
    std::atomic<uint64_t> magic;
    pthread_mutex_t producers;
    alignas(64) std::atomic<uint64_t> tail;
    alignas(64) std::atomic<uint64_t> head;
    alignas(64) std::atomic<uint32_t> bell;
    std::atomic<uint32_t> sleeping;
    Slot slot[slots];
};

namespace {

struct Peer {
    Ring* ring = nullptr;
    int fd = -1;
    uint64_t pushed = 0;  // the ring's tail after our last packet
    Nanos absent_until = 0;
    Nanos asked_again = 0;  // whether it lives
};

using PeerName = std::pair<uint32_t, uint32_t>;

constexpr std::string_view ring_ending = ".ring";

void folder_remove(const std::string& path) {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
}

Error failed(const std::string& what, const std::string& path) {
    const int error = errno;
    return make_error(Code::system, Scope::process,
                      "cannot " + what + " " + path + ": " + std::strerror(error) +
                          "; WEFT_EFA_DEVICE_DIR names another folder",
                      error);
}

bool lock_set(int fd) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return ::fcntl(fd, F_SETLK, &lock) == 0;
}

bool lock_held(int fd) {
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    return ::fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

Ring* ring_map(int fd) {
    void* memory = ::mmap(nullptr, sizeof(Ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<Ring*>(memory);
}

void ring_init(Ring& ring) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&ring.producers, &attributes);
    pthread_mutexattr_destroy(&attributes);
    ring.magic.store(ring_magic, std::memory_order_release);
}

// Never waits for long: the owner may be stopped by a debugger.
bool producers_lock(Ring& ring) {
    for (int i = 0; i < lock_tries; ++i) {
        const int error = pthread_mutex_trylock(&ring.producers);
        if (error == EOWNERDEAD) {
            pthread_mutex_consistent(&ring.producers);
            return true;
        }
        if (error == 0) {
            return true;
        }
    }
    return false;
}

void wake(Ring& ring) {
    ring.bell.fetch_add(1, std::memory_order_seq_cst);
    if (ring.sleeping.load(std::memory_order_seq_cst) != 0) {
        futex_wake_all(ring.bell, true);
    }
}

// Rings of this folder that nobody holds.
void dead_remove(const std::string& folder) {
    DIR* list = ::opendir(folder.c_str());
    while (const dirent* entry = list != nullptr ? ::readdir(list) : nullptr) {
        const std::string name = entry->d_name;
        if (!name.ends_with(ring_ending)) {
            continue;
        }
        const std::string path = folder + "/" + name;
        const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            if (!lock_held(fd)) {
                folder_remove(path.substr(0, path.size() - ring_ending.size()) + ".sys");
                ::unlink(path.c_str());
            }
            ::close(fd);
        }
    }
    if (list != nullptr) {
        ::closedir(list);
    }
}

// A file of our own, locked before it has its name's meaning. -1 with EEXIST: somebody has it.
int ring_create(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    if (!lock_set(fd) || ::ftruncate(fd, sizeof(Ring)) != 0) {
        ::unlink(path.c_str());
        ::close(fd);
        return -1;
    }
    return fd;
}

}  // namespace

struct ShmWire::State {
    std::string folder;
    uint32_t host = 0;
    uint32_t process = 0;
    int fd = -1;
    Ring* ring = nullptr;
    std::map<PeerName, Peer> peers;

    std::string name(uint32_t of_host, uint32_t of_process) const {
        return folder + "/" + format("%08x-%02x", of_host, of_process);
    }
    std::string path(uint32_t of_host, uint32_t of_process) const {
        return name(of_host, of_process).append(ring_ending);
    }

    // Our own file must not be opened again: closing it would drop the lock.
    Peer* peer(uint32_t of_host, uint32_t of_process) {
        Peer& peer = peers[{of_host, of_process}];
        if (peer.ring != nullptr) {
            return &peer;
        }
        if (of_host == host && of_process == process) {
            peer.ring = ring;
            return &peer;
        }
        const Nanos now = clock_now();
        if (now < peer.absent_until) {
            return nullptr;
        }
        peer.absent_until = now + absent_again;
        const int file = ::open(path(of_host, of_process).c_str(), O_RDWR | O_CLOEXEC);
        struct stat facts {};
        if (file < 0 || ::fstat(file, &facts) != 0 ||
            facts.st_size != static_cast<off_t>(sizeof(Ring))) {
            ::close(file);
            return nullptr;
        }
        Ring* mapped = ring_map(file);
        if (mapped == nullptr || mapped->magic.load(std::memory_order_acquire) != ring_magic) {
            unmap(mapped, file);
            return nullptr;
        }
        peer.ring = mapped;
        peer.fd = file;
        return &peer;
    }

    // A ring that stays full may be a dead process's, whose place another one has taken since. The
    // kernel is asked now and then.
    bool dead(Peer& peer) {
        const Nanos now = clock_now();
        if (peer.ring == ring || now < peer.asked_again) {
            return false;
        }
        peer.asked_again = now + absent_again;
        return !lock_held(peer.fd);
    }

    static void forget(Peer& peer) {
        unmap(peer.ring, peer.fd);
        peer = {};
    }

    static void unmap(Ring* mapped, int file) {
        if (mapped != nullptr) {
            ::munmap(mapped, sizeof(Ring));
        }
        ::close(file);
    }
};

ShmWire::ShmWire(std::unique_ptr<State> state) : state_(std::move(state)) {
}

Result<std::unique_ptr<ShmWire>> ShmWire::open(const WirePlace& place) {
    const std::string& folder = place.folder;
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
        return failed("make the folder", folder);
    }
    // One at a time, so that nobody removes the file of one that just begins.
    const std::string gate = folder + "/lock";
    const int gate_fd = ::open(gate.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (gate_fd < 0 || ::flock(gate_fd, LOCK_EX) != 0) {
        const Error error = failed("lock", gate);
        ::close(gate_fd);
        return error;
    }
    dead_remove(folder);
    auto state = std::make_unique<State>();
    state->folder = folder;
    state->host = place.host;
    if (place.wanted >= 0) {
        state->process = static_cast<uint32_t>(place.wanted);
        state->fd = ring_create(state->path(state->host, state->process));
    }
    for (uint32_t i = 0; state->fd < 0 && i < process_max; ++i) {
        state->process = i;
        state->fd = ring_create(state->path(state->host, i));
        if (state->fd < 0 && errno != EEXIST) {
            break;
        }
    }
    state->ring = state->fd >= 0 ? ring_map(state->fd) : nullptr;
    if (state->ring == nullptr) {
        const Error error = failed("make", state->path(state->host, state->process));
        ::close(gate_fd);
        return error;
    }
    ring_init(*state->ring);
    ::close(gate_fd);
    return std::unique_ptr<ShmWire>(new ShmWire(std::move(state)));
}

ShmWire::~ShmWire() {
    name_remove();
    for (auto& [name, peer] : state_->peers) {
        if (peer.fd >= 0) {
            State::unmap(peer.ring, peer.fd);
        }
    }
    State::unmap(state_->ring, state_->fd);
}

std::string ShmWire::name() const {
    return state_->name(state_->host, state_->process);
}

void ShmWire::name_remove() {
    folder_remove(name() + ".sys");
    ::unlink(state_->path(state_->host, state_->process).c_str());
}

uint32_t ShmWire::process() const {
    return state_->process;
}

Pushed ShmWire::push(const PacketHeader& packet, std::span<const Bytes> payload) {
    Peer* peer = state_->peer(gid_host(packet.target), qpn_process(packet.target_qpn));
    if (peer == nullptr) {
        return Pushed::absent;
    }
    Ring& ring = *peer->ring;
    if (!producers_lock(ring)) {
        return Pushed::full;
    }
    const uint64_t tail = ring.tail.load(std::memory_order_relaxed);
    const bool full = tail - ring.head.load(std::memory_order_acquire) >= slots;
    if (!full) {
        Slot& slot = ring.slot[tail % slots];
        slot.header = packet;
        std::byte* to = slot.payload;
        for (const Bytes& bytes : payload) {
            std::memcpy(to, bytes.data, bytes.length);
            to += bytes.length;
        }
        ring.tail.store(tail + 1, std::memory_order_release);
        peer->pushed = tail + 1;
    }
    pthread_mutex_unlock(&ring.producers);
    wake(ring);
    if (full && state_->dead(*peer)) {
        State::forget(*peer);
        return Pushed::absent;
    }
    return full ? Pushed::full : Pushed::yes;
}

bool ShmWire::alive(uint32_t host, uint32_t process) {
    if (host == state_->host && process == state_->process) {
        return true;
    }
    Peer* peer = state_->peer(host, process);
    if (peer == nullptr) {
        return false;
    }
    if (lock_held(peer->fd)) {
        return true;
    }
    State::forget(*peer);
    return false;
}

bool ShmWire::drained() {
    for (auto& [name, peer] : state_->peers) {
        const bool taken =
            peer.ring == nullptr || peer.ring->head.load(std::memory_order_acquire) >= peer.pushed;
        if (!taken && alive(name.first, name.second)) {
            return false;
        }
    }
    return true;
}

Arrived ShmWire::front() {
    Ring& ring = *state_->ring;
    const uint64_t head = ring.head.load(std::memory_order_relaxed);
    if (ring.tail.load(std::memory_order_acquire) == head) {
        return {};
    }
    const Slot& slot = ring.slot[head % slots];
    return {&slot.header, slot.payload};
}

void ShmWire::pop() {
    state_->ring->head.fetch_add(1, std::memory_order_release);
}

uint32_t ShmWire::bell() const {
    return state_->ring->bell.load(std::memory_order_seq_cst);
}

// The bell moves before the flag is read: either the futex sees the bell, or the ringer the flag.
void ShmWire::wait(uint32_t heard, Nanos timeout) {
    Ring& ring = *state_->ring;
    ring.sleeping.store(1, std::memory_order_seq_cst);
    if (timeout > 0) {
        futex_wait(ring.bell, heard, timeout, true);
    }
    ring.sleeping.store(0, std::memory_order_relaxed);
}

void ShmWire::ring_bell() {
    wake(*state_->ring);
}

}  // namespace weft::efa
