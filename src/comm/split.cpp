#include "src/comm/split.h"

#include <algorithm>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/comm/build.h"
#include "src/comm/lifecycle.h"
#include "src/comm/process.h"

namespace weft {

namespace {

std::string key_encode(SplitKey key) {
    return ByteWriter().i32(key.color).i32(key.key).take();
}

Result<SplitKey> key_decode(std::string_view bytes) {
    ByteReader in(bytes);
    SplitKey key;
    key.color = TRY(in.i32());
    key.key = TRY(in.i32());
    TRY(in.end());
    return key;
}

// Tags of one parent: the top bit tells shrinks from splits.
constexpr uint64_t shrink_tag = uint64_t{1} << 63;

uint64_t members_hash(const std::vector<int32_t>& members) {
    uint64_t hash = 0xcbf29ce484222325;
    for (const int32_t rank : members) {
        hash = (hash ^ static_cast<uint32_t>(rank)) * 0x100000001b3;
    }
    return hash ^ hash >> 32;
}

}  // namespace

std::vector<int32_t> split_members(const std::vector<SplitKey>& keys, int32_t color) {
    std::vector<int32_t> members;
    for (size_t rank = 0; rank < keys.size(); rank++) {
        if (keys[rank].color == color) {
            members.push_back(static_cast<int32_t>(rank));
        }
    }
    std::stable_sort(members.begin(), members.end(), [&](int32_t a, int32_t b) {
        return keys[static_cast<size_t>(a)].key < keys[static_cast<size_t>(b)].key;
    });
    return members;
}

Result<std::vector<int32_t>> shrink_members(int32_t rank_count, int32_t self,
                                            const std::vector<int32_t>& excluded) {
    const auto wrong = [](std::string what) {
        return make_error(Code::invalid_argument, Scope::call,
                          "ncclCommShrink : " + std::move(what));
    };
    if (excluded.empty()) {
        return wrong("excludeRanksCount must be at least 1");
    }
    std::vector<bool> out(static_cast<size_t>(rank_count));
    for (const int32_t rank : excluded) {
        if (rank < 0 || rank >= rank_count) {
            return wrong(
                format("excludeRanksList holds %d, ranks are 0 to %d", rank, rank_count - 1));
        }
        if (rank == self) {
            return wrong(
                format("excludeRanksList holds the calling rank %d; only survivors call", rank));
        }
        if (out[static_cast<size_t>(rank)]) {
            return wrong(format("excludeRanksList holds rank %d twice", rank));
        }
        out[static_cast<size_t>(rank)] = true;
    }
    std::vector<int32_t> members;
    for (int32_t rank = 0; rank < rank_count; rank++) {
        if (!out[static_cast<size_t>(rank)]) {
            members.push_back(rank);
        }
    }
    return members;
}

ChildJob::ChildJob(Communicator& parent, CommConfig config, ncclComm** newcomm,
                   bool outlives_failure)
    : parent_(parent.weak_from_this()),
      config_(std::move(config)),
      newcomm_(newcomm),
      outlives_failure_(outlives_failure) {
}

Result<std::shared_ptr<ChildJob>> ChildJob::split(Communicator& parent, SplitKey key,
                                                  CommConfig config, ncclComm** newcomm) {
    // Shared: by the parent, the callbacks and the waiting caller.
    std::shared_ptr<ChildJob> job(new ChildJob(parent, std::move(config), newcomm, false));
    TRY(parent.child_begin(job));
    job->deadline_set();
    job->split_count_ = parent.split_count_next();
    parent.group()->all_gather(key_encode(key), [job, key](Result<std::vector<std::string>> blobs) {
        job->keys_gathered(std::move(blobs), key);
    });
    return job;
}

Result<std::shared_ptr<ChildJob>> ChildJob::shrink(Communicator& parent,
                                                   std::vector<int32_t> members, CommConfig config,
                                                   ncclComm** newcomm) {
    std::shared_ptr<ChildJob> job(new ChildJob(parent, std::move(config), newcomm, true));
    TRY(parent.child_begin(job));
    job->deadline_set();
    // The excluded ranks do not count this shrink, so it is counted per set of survivors.
    const uint64_t hash = members_hash(members);
    const uint64_t count = parent.shrink_count_next(hash);
    job->derive(members, shrink_tag | (hash & 0x7fffffff) << 32 | count);
    return job;
}

// Like an init: members that never call must not be waited for without limit.
void ChildJob::deadline_set() {
    Reactor& reactor = Process::get().reactor();
    const int64_t limit_s = settings().init_timeout_s;
    reactor.at(reactor.now() + limit_s * nanos_per_s, [weak = weak_from_this(), limit_s] {
        if (const auto job = weak.lock()) {
            job->finish(make_error(Code::timeout, Scope::call,
                                   format("not all members called ncclCommSplit or ncclCommShrink "
                                          "within WEFT_INIT_TIMEOUT=%lld s",
                                          static_cast<long long>(limit_s))));
        }
    });
}

void ChildJob::keys_gathered(Result<std::vector<std::string>> blobs, SplitKey own) {
    if (!blobs.ok()) {
        finish(std::move(blobs).error());
        return;
    }
    std::vector<SplitKey> keys;
    for (const std::string& blob : blobs.value()) {
        const Result<SplitKey> key = key_decode(blob);
        if (!key.ok()) {
            finish(key.error());
            return;
        }
        keys.push_back(key.value());
    }
    if (own.color == color_none) {
        finish({});
        return;
    }
    const uint64_t tag =
        uint64_t{split_count_ & 0x7fffffff} << 32 | static_cast<uint32_t>(own.color);
    derive(split_members(keys, own.color), tag);
}

void ChildJob::derive(const std::vector<int32_t>& members, uint64_t tag) {
    const auto parent = parent_.lock();
    if (!parent) {
        return;
    }
    CommIdentity identity;
    identity.rank = static_cast<int32_t>(std::find(members.begin(), members.end(), parent->rank()) -
                                         members.begin());
    identity.rank_count = static_cast<int32_t>(members.size());
    identity.config = config_;
    identity.kind = parent->kind();
    identity.device = parent->on_device() ? parent->device() : -1;
    parent->group()->derive(
        members, tag, build_info(identity.kind, identity.device),
        [job = shared_from_this(), identity](Result<std::unique_ptr<ControlGroup>> group) {
            job->derived(std::move(group), identity);
        });
}

void ChildJob::derived(Result<std::unique_ptr<ControlGroup>> group, CommIdentity identity) {
    if (!group.ok()) {
        finish(std::move(group).error());
        return;
    }
    const std::shared_ptr<Communicator> child = Communicator::create(std::move(identity));
    {
        const std::lock_guard lock(mutex_);
        if (result_) {
            return;  // ended meanwhile: the group leaves as it is destroyed
        }
        child_ = Process::get().handle_make(child);
    }
    child->on_built([job = shared_from_this()](Result<void> built) { job->finish(built); });
    build_by_group(child, std::move(group).value());
}

void ChildJob::end(const Error& cause) {
    ncclComm* child = nullptr;
    {
        const std::lock_guard lock(mutex_);
        if (!result_) {
            result_ = cause;
            child = child_;
        }
    }
    changed_.notify_all();
    if (child != nullptr) {
        comm_discard(*child);
    }
}

void ChildJob::finish(Result<void> result) {
    ncclComm* child = nullptr;
    {
        const std::lock_guard lock(mutex_);
        if (result_) {
            return;
        }
        child = child_;
        if (result.ok()) {
            *newcomm_ = child;
        }
        result_ = result;
    }
    changed_.notify_all();
    if (!result.ok() && child != nullptr) {
        comm_discard(*child);
    }
    if (const auto parent = parent_.lock()) {
        parent->child_end(this, result);
    }
}

Result<void> ChildJob::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return result_.has_value(); });
    return *result_;
}

}  // namespace weft
