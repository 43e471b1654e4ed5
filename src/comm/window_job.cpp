#include "src/comm/window_job.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "src/base/log.h"
#include "src/base/thread.h"
#include "src/comm/communicator.h"
#include "src/comm/process.h"

namespace weft {

namespace {

// What a rank answers in a round: that it is well, with what the next step needs, or why not.
std::string answer_encode(const std::string& why, const std::string& note) {
    ByteWriter writer;
    writer.u8(why.empty() ? 1 : 0).raw(why.empty() ? note : why);
    return writer.take();
}

}  // namespace

WindowJob::WindowJob(Communicator& parent, const WindowRange& range, ncclWindow_t* window)
    : CommJob(parent), range_(range), window_(window), side_(parent.device_streamed()) {
}

// What it still has may wait for the device when it goes.
WindowJob::~WindowJob() {
    if (side_ != nullptr) {
        thread_aside([side = std::move(side_), offer = std::move(offer_), made = std::move(made_),
                      agreed = agreed_]() mutable {
            made.reset();
            if (offer.exported != nullptr && !agreed) {
                side->windows()->withdraw(std::move(offer));
            }
            offer = {};
            device_release(std::move(side), true);
        });
    }
}

Result<std::shared_ptr<WindowJob>> WindowJob::begin_on(Communicator& parent,
                                                       const WindowRange& range,
                                                       ncclWindow_t* window) {
    // Shared: by the communicator, the steps and the waiting caller.
    std::shared_ptr<WindowJob> job(new WindowJob(parent, range, window));
    TRY(parent.job_begin(job));
    return job;
}

void WindowJob::start() {
    deadline_set("ncclCommWindowRegister");
    on_thread(&WindowJob::offer);
}

Result<void> WindowJob::offer() {
    if (!settings().win_enable) {
        return make_error(Code::unsupported, Scope::call, "NCCL_WIN_ENABLE=0");
    }
    offer_ = TRY(side_->windows()->offer(range_));
    return {};
}

Result<void> WindowJob::map() {
    const Nanos deadline = clock_now() + settings().init_timeout_s * nanos_per_s;
    made_ = TRY(side_->windows()->map(offer_, notes_, deadline));
    return {};
}

void WindowJob::on_thread(Result<void> (WindowJob::*step)()) {
    thread_aside([job = self(), step] {
        const Result<void> done = ((*job).*step)();
        job->why_ = done.ok() ? "" : done.error().what;
        Process::get().reactor().post([job] { job->tell(); });
    });
}

void WindowJob::tell() {
    const auto held = parent();
    if (held == nullptr || over()) {
        return;
    }
    held->group()->all_gather(answer_encode(why_, offer_.note),
                              [job = self()](Result<std::vector<std::string>> answers) {
                                  job->told(std::move(answers));
                              });
}

void WindowJob::told(Result<std::vector<std::string>> answers) {
    const auto held = parent();
    if (held == nullptr || over()) {
        return;
    }
    if (!answers.ok()) {
        finish(std::move(answers).error());
        return;
    }
    const auto wrong = std::ranges::find_if(answers.value(), [](const std::string& answer) {
        return answer.empty() || answer[0] != 1;
    });
    if (wrong != answers.value().end()) {
        if (held->rank() == 0) {
            LOG(info, reg, "comm %p has no window of %llu bytes: rank %zd: %s",
                static_cast<void*>(held->handle()), static_cast<unsigned long long>(range_.bytes),
                wrong - answers.value().begin(),
                wrong->substr(std::min<size_t>(1, wrong->size())).c_str());
        }
        finish({});
    } else if (made_ != nullptr) {
        agreed_ = true;
        finish({});
    } else {
        for (const std::string& answer : answers.value()) {
            notes_.push_back(answer.substr(1));
        }
        on_thread(&WindowJob::map);
    }
}

void WindowJob::deliver() {
    if (agreed_) {
        Process::get().windows().add(made_);
        *window_ = reinterpret_cast<ncclWindow_t>(made_.get());
        side_->windows()->add(std::move(made_));
    }
}

// Its own kernels may still read what it has mapped.
Result<void> Communicator::window_deregister(const void* window) {
    std::shared_ptr<DeviceStreamed> side = device_streamed();
    const bool windows = side != nullptr && side->windows() != nullptr;
    std::shared_ptr<BoardWindow> taken = windows ? side->windows()->take(window) : nullptr;
    if (taken == nullptr) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("ncclCommWindowDeregister : window %p was not made by this "
                                 "communicator, or was deregistered",
                                 window));
    }
    if (!side->idle()) {
        thread_aside([side = std::move(side), taken = std::move(taken)]() mutable {
            while (!side->idle()) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            }
            taken.reset();
            device_release(std::move(side), true);
        });
    }
    return {};
}

}  // namespace weft
