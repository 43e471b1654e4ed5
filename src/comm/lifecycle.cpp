#include "src/comm/lifecycle.h"

#include "src/base/log.h"
#include "src/comm/build.h"
#include "src/comm/group.h"
#include "src/comm/loaded.h"
#include "src/comm/process.h"
#include "src/comm/split.h"
#include "src/comm/window_job.h"

namespace weft {

namespace {

Error destroyed(const char* function, ncclComm* handle) {
    return make_error(
        Code::invalid_argument, Scope::call,
        format("%s : comm %p has already been destroyed", function, static_cast<void*>(handle)));
}

// The handle is closed and nothing is under way.
void dispose(std::shared_ptr<Communicator> comm) {
    Process& process = Process::get();
    comm->buffers_end();
    comm->device_end(true);
    if (settings().stats) {
        process.stats().keep(comm->stats());
    }
    if (comm->state() == CommState::finalized && !comm->farewell_over()) {
        process.bury(std::move(comm));
    } else {
        comm->leave();
    }
}

Result<void> destroy_start(ncclComm* handle) {
    const CommRef comm = TRY(CommRef::enter(handle, "ncclCommDestroy"));
    TRY(comm->settled());
    if (comm->state() == CommState::ready) {
        return comm->finalize_begin();
    }
    return {};
}

Result<void> destroy_finish(ncclComm* handle) {
    {
        const CommRef comm = TRY(CommRef::enter(handle, "ncclCommDestroy"));
        // A failure on the way changes nothing: what is left is to free it.
        (void)comm->finalize_wait();
    }
    if (handle_close(*handle) == nullptr) {
        return destroyed("ncclCommDestroy", handle);
    }
    dispose(handle_drain(*handle));
    return {};
}

// The parent of a new child, after the checks that splits and shrinks share.
Result<CommRef> parent_enter(ncclComm* handle, const char* function, ncclComm** newcomm) {
    if (newcomm == nullptr) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("%s : newcomm argument is NULL", function));
    }
    *newcomm = nullptr;
    return CommRef::enter(handle, function);
}

// What all ranks do together; `begin` runs when the group does.
template <class Begin>
Job together(ncclComm* handle, bool blocking, const char* function, Begin begin) {
    // Shared: between the two halves of the job.
    auto begun = std::make_shared<std::shared_ptr<CommJob>>();
    Job job;
    job.blocking = blocking;
    job.start = [handle, function, begun, begin = std::move(begin)]() -> Result<void> {
        const CommRef parent = TRY(CommRef::enter(handle, function));
        *begun = TRY(begin(*parent));
        return {};
    };
    // Held while waiting: an abort of the parent wakes the wait before it frees anything.
    job.finish = [handle, function, begun]() -> Result<void> {
        const CommRef parent = TRY(CommRef::enter(handle, function));
        return (*begun)->wait();
    };
    return job;
}

}  // namespace

Result<void> comm_init(ncclComm** newcomm, InitRequest request) {
    libraries_check();
    Process& process = Process::get();
    CommIdentity identity;
    identity.rank = request.rank;
    identity.rank_count = request.rank_count;
    identity.device = request.device;
    identity.kind = gpu::kind_find(settings().device, settings().libcuda);
    if (identity.kind.kind == gpu::Kind::device && identity.device < 0) {
        identity.device = identity.kind.device;
    }
    identity.config = std::move(request.config);
    Job job;
    job.blocking = identity.config.blocking;
    ncclComm* handle = process.handle_make(Communicator::create(std::move(identity)));
    // Atomic: another thread may read it while this call is blocked, in order to abort.
    __atomic_store_n(newcomm, handle, __ATOMIC_RELEASE);
    job.start = [handle, id = request.id]() -> Result<void> {
        // Aborted since: then there is nothing left to do.
        if (const CommRef comm = CommRef::enter_quietly(handle)) {
            build_by_id(comm->shared_from_this(), id);
        }
        return {};
    };
    job.finish = [handle, newcomm]() -> Result<void> {
        Result<void> built = make_error(Code::aborted, Scope::communicator,
                                        "the communicator was aborted during its init");
        if (const CommRef comm = CommRef::enter_quietly(handle)) {
            built = comm->built_wait();
        }
        if (!built.ok()) {
            __atomic_store_n(newcomm, nullptr, __ATOMIC_RELEASE);
            comm_discard(*handle);
        }
        return built;
    };
    job.drop = [handle, newcomm] {
        *newcomm = nullptr;
        comm_discard(*handle);
    };
    return group_job(std::move(job));
}

Result<void> comm_split(ncclComm* parent, int32_t color, int32_t key, const CommConfig* config,
                        ncclComm** newcomm) {
    constexpr const char* function = "ncclCommSplit";
    const CommRef comm = TRY(parent_enter(parent, function, newcomm));
    TRY(comm->usable());
    const CommConfig child = config != nullptr ? *config : comm->config();
    return group_job(together(
        parent, comm->blocking(), function, [=](Communicator & from) -> auto{
            return ChildJob::split(from, SplitKey{color, key}, child, newcomm);
        }));
}

Result<void> comm_shrink(ncclComm* parent, std::vector<int32_t> excluded, const CommConfig* config,
                         bool end_operations, ncclComm** newcomm) {
    constexpr const char* function = "ncclCommShrink";
    const CommRef comm = TRY(parent_enter(parent, function, newcomm));
    std::vector<int32_t> members = TRY(shrink_members(comm->rank_count(), comm->rank(), excluded));
    if (end_operations) {
        comm->operations_end();
    }
    TRY(comm->settled());
    if (comm->state() == CommState::finalized) {
        return comm->usable();
    }
    const CommConfig child = config != nullptr ? *config : comm->config();
    return group_job(together(
        parent, comm->blocking(), function, [=](Communicator & from) -> auto{
            return ChildJob::shrink(from, members, child, newcomm);
        }));
}

Result<void> comm_window_register(ncclComm* handle, const WindowRange& range,
                                  ncclWindow_t* window) {
    constexpr const char* function = "ncclCommWindowRegister";
    const CommRef comm = TRY(CommRef::enter(handle, function));
    return group_job(together(
        handle, comm->blocking(), function, [=](Communicator & on) -> auto{
            return WindowJob::begin_on(on, range, window);
        }));
}

Result<void> comm_finalize(ncclComm* handle) {
    constexpr const char* function = "ncclCommFinalize";
    const CommRef comm = TRY(CommRef::enter(handle, function));
    Job job;
    job.blocking = comm->blocking();
    job.start = [handle]() -> Result<void> {
        return TRY(CommRef::enter(handle, function))->finalize_begin();
    };
    job.finish = [handle]() -> Result<void> {
        return TRY(CommRef::enter(handle, function))->finalize_wait();
    };
    return group_job(std::move(job));
}

Result<void> comm_destroy(ncclComm* handle) {
    {
        const CommRef comm = TRY(CommRef::enter(handle, "ncclCommDestroy"));
        TRY(comm->settled());
    }
    Job job;
    job.always_blocks = true;
    job.start = [handle] { return destroy_start(handle); };
    job.finish = [handle] { return destroy_finish(handle); };
    return group_job(std::move(job));
}

Result<void> comm_abort(ncclComm* handle) {
    {
        // Says what is wrong with a handle that cannot be aborted.
        TRY(CommRef::enter(handle, "ncclCommAbort"));
    }
    if (Communicator* comm = handle_close(*handle)) {
        comm->abort();
        dispose(handle_drain(*handle));
        return {};
    }
    return destroyed("ncclCommAbort", handle);
}

void comm_discard(ncclComm& handle) {
    if (Communicator* comm = handle_close(handle)) {
        comm->abort();
        dispose(handle_drain(handle));
    }
}

}  // namespace weft
