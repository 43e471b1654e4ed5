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

ChildJob::ChildJob(Communicator& parent, SplitKey key, std::vector<int32_t> members,
                   CommConfig config, ncclComm** newcomm)
    : CommJob(parent),
      key_(key),
      members_(std::move(members)),
      config_(std::move(config)),
      newcomm_(newcomm) {
}

Result<std::shared_ptr<ChildJob>> ChildJob::split(Communicator& parent, SplitKey key,
                                                  CommConfig config, ncclComm** newcomm) {
    // Shared: by the parent, the callbacks and the waiting caller.
    std::shared_ptr<ChildJob> job(new ChildJob(parent, key, {}, std::move(config), newcomm));
    TRY(parent.job_begin(job));
    return job;
}

Result<std::shared_ptr<ChildJob>> ChildJob::shrink(Communicator& parent,
                                                   std::vector<int32_t> members, CommConfig config,
                                                   ncclComm** newcomm) {
    std::shared_ptr<ChildJob> job(
        new ChildJob(parent, {}, std::move(members), std::move(config), newcomm));
    TRY(parent.job_begin(job));
    return job;
}

void ChildJob::start() {
    const auto held = parent();
    if (!held) {
        return;
    }
    deadline_set("ncclCommSplit or ncclCommShrink");
    if (!members_.empty()) {
        // The excluded ranks do not count this shrink, so it is counted per set of survivors.
        const uint64_t hash = members_hash(members_);
        const uint64_t count = held->shrink_count_next(hash);
        derive(members_, shrink_tag | (hash & 0x7fffffff) << 32 | count);
        return;
    }
    split_count_ = held->split_count_next();
    held->group()->all_gather(key_encode(key_),
                              [job = self()](Result<std::vector<std::string>> blobs) {
                                  job->keys_gathered(std::move(blobs));
                              });
}

void ChildJob::keys_gathered(Result<std::vector<std::string>> blobs) {
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
    if (key_.color == color_none) {
        finish({});
        return;
    }
    const uint64_t tag =
        uint64_t{split_count_ & 0x7fffffff} << 32 | static_cast<uint32_t>(key_.color);
    derive(split_members(keys, key_.color), tag);
}

void ChildJob::derive(const std::vector<int32_t>& members, uint64_t tag) {
    const auto held = parent();
    if (!held) {
        return;
    }
    CommIdentity identity;
    identity.rank = static_cast<int32_t>(std::find(members.begin(), members.end(), held->rank()) -
                                         members.begin());
    identity.rank_count = static_cast<int32_t>(members.size());
    identity.config = config_;
    identity.kind = held->kind();
    identity.device = held->on_device() ? held->device() : -1;
    held->group()->derive(members, tag, build_info(identity.kind, identity.device),
                          [job = self(), identity](Result<std::unique_ptr<ControlGroup>> group) {
                              job->derived(std::move(group), identity);
                          });
}

void ChildJob::derived(Result<std::unique_ptr<ControlGroup>> group, CommIdentity identity) {
    if (!group.ok()) {
        finish(std::move(group).error());
        return;
    }
    const std::shared_ptr<Communicator> child = Communicator::create(std::move(identity));
    ncclComm* const handle = Process::get().handle_make(child);
    {
        const std::lock_guard lock(mutex_);
        child_ = handle;
    }
    if (over()) {  // meanwhile, perhaps without having seen the child
        comm_discard(*handle);
        return;
    }
    child->on_built([job = self()](Result<void> built) { job->finish(built); });
    build_by_group(child, std::move(group).value());
}

void ChildJob::deliver() {
    *newcomm_ = child_;
}

void ChildJob::drop() {
    ncclComm* child = nullptr;
    {
        const std::lock_guard lock(mutex_);
        child = child_;
    }
    if (child != nullptr) {
        comm_discard(*child);
    }
}

}  // namespace weft
