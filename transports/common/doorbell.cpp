#include "transports/doorbell.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "src/base/futex.h"
#include "src/base/log.h"

namespace weft {

namespace {

constexpr size_t page_bytes = 4096;

Error refused(const char* what) {
    const int sys = errno;
    return make_error(Code::system, Scope::process,
                      format("cannot make a doorbell: %s: %s", what, std::strerror(sys)), sys);
}

void event_write(int event_fd) {
    const uint64_t one = 1;
    // The only failure is a counter at its maximum, and then the sleeper is woken anyway.
    [[maybe_unused]] const ssize_t written = ::write(event_fd, &one, sizeof one);
}

}  // namespace

DoorbellPage::~DoorbellPage() {
    if (word != nullptr) {
        ::munmap(word, page_bytes);
    }
}

Result<std::shared_ptr<DoorbellPage>> DoorbellPage::open(Fd memfd, Fd event) {
    struct stat info {};
    if (::fstat(memfd.get(), &info) != 0) {
        return refused("fstat");
    }
    if (info.st_size < static_cast<off_t>(page_bytes)) {
        return make_error(Code::remote, Scope::peer, "a peer's doorbell is shorter than a page");
    }
    void* at = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      memfd.get(), 0);
    if (at == MAP_FAILED) {
        return refused("mmap");
    }
    auto page = std::make_shared<DoorbellPage>();
    page->memfd = std::move(memfd);
    page->event = std::move(event);
    page->word = static_cast<DoorbellWord*>(at);
    return page;
}

Result<Doorbell> Doorbell::create() {
    Fd memfd(::memfd_create("weft-doorbell", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memfd) {
        return refused("memfd_create");
    }
    if (::ftruncate(memfd.get(), page_bytes) != 0 ||
        ::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return refused("ftruncate");
    }
    Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) {
        return refused("eventfd");
    }
    Doorbell bell;
    bell.page_ = TRY(DoorbellPage::open(std::move(memfd), std::move(event)));
    return bell;
}

Doorbell::~Doorbell() = default;
Doorbell::Doorbell(Doorbell&&) noexcept = default;
Doorbell& Doorbell::operator=(Doorbell&&) noexcept = default;

void Doorbell::arm(SleepMode mode) {
    armed_ = mode;
    // Before the mode is visible: a ring that answers this arming changes the word, so that sleep()
    // returns at once. Acquire, because a ring carries what was published before it.
    seen_ = page_->word->rings.load(std::memory_order_acquire);
    page_->word->mode.store(static_cast<uint32_t>(mode), std::memory_order_relaxed);
    // Store the mode, then look for work; the publisher does it the other way round. Either it sees
    // the mode or this side sees the work.
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

void Doorbell::sleep(Nanos timeout) {
    ASSERT(armed_ == SleepMode::on_futex);
    futex_wait(page_->word->rings, seen_, timeout, true);
}

void Doorbell::disarm() {
    page_->word->mode.store(static_cast<uint32_t>(SleepMode::awake), std::memory_order_relaxed);
    if (armed_ == SleepMode::on_eventfd) {
        uint64_t count = 0;
        // Nothing to read is the usual case: the sleeper woke by itself.
        [[maybe_unused]] const ssize_t got = ::read(page_->event.get(), &count, sizeof count);
    }
    armed_ = SleepMode::awake;
}

void Doorbell::ring(DoorbellWord& word, int event_fd) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    uint32_t mode = word.mode.load(std::memory_order_relaxed);
    while (mode != static_cast<uint32_t>(SleepMode::awake))
        [[unlikely]] {
            // The one who takes the mode makes the system call. If it dies before, its death wakes
            // the sleeper by another way.
            if (!word.mode.compare_exchange_weak(mode, static_cast<uint32_t>(SleepMode::awake),
                                                 std::memory_order_acq_rel,
                                                 std::memory_order_relaxed)) {
                continue;
            }
            word.rings.fetch_add(1, std::memory_order_release);
            if (mode == static_cast<uint32_t>(SleepMode::on_futex)) {
                futex_wake_all(word.rings, true);
            } else {
                event_write(event_fd);
            }
            return;
        }
}

void Doorbell::ring_always(DoorbellPage& page) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    page.word->rings.fetch_add(1, std::memory_order_acq_rel);
    futex_wake_all(page.word->rings, true);
    event_write(page.event.get());
}

}  // namespace weft
