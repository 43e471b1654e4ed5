#include "src/gpu/user_memory.h"

#include <fcntl.h>

#include <algorithm>

#include "src/base/log.h"
#include "src/base/machine.h"
#include "src/gpu/seat.h"

namespace weft::gpu {

namespace {

// What the driver says of an address. Every answer has 8 bytes of room, whatever size it has.
struct PointerFacts {
    uint64_t memory = 0, managed = 0, device = 0, buffer = 0, legacy = 0, begin = 0, bytes = 0;
    uint64_t pool = 0;
};

Result<PointerFacts> facts_of(const DevicePlace& at, Address address) {
    PointerFacts facts;
    int attributes[] = {pointer_attribute::memory_type,        pointer_attribute::is_managed,
                        pointer_attribute::device_ordinal,     pointer_attribute::buffer_id,
                        pointer_attribute::legacy_ipc_capable, pointer_attribute::range_start,
                        pointer_attribute::range_size};
    void* values[] = {&facts.memory, &facts.managed, &facts.device, &facts.buffer,
                      &facts.legacy, &facts.begin,   &facts.bytes};
    const Status asked =
        at.driver->cuPointerGetAttributes(std::size(attributes), attributes, values, address);
    // Some drivers refuse what they do not know, others say nothing of it.
    if (asked == status::invalid_value) {
        return PointerFacts();
    }
    TRY(driver_check(*at.driver, asked, format("asking about address %#llx", address)));
    int pool = pointer_attribute::pool_handle;
    void* pool_value[] = {&facts.pool};
    if (at.driver->cuPointerGetAttributes(1, &pool, pool_value, address) != status::success) {
        facts.pool = 0;
    }
    return facts;
}

const char* name_of(UserRefusal why) {
    switch (why) {
        case UserRefusal::not_device:
            return "is no memory of a device";
        case UserRefusal::managed:
            return "is managed memory";
        case UserRefusal::other_device:
            return "is memory of another device";
        case UserRefusal::pool:
            return "is of a memory pool (cudaMallocAsync)";
        case UserRefusal::no_handle:
            return "cannot be given to other processes";
        case UserRefusal::parts:
            return "is not one range of memory";
    }
    return "";
}

bool overlap(Address a, uint64_t a_bytes, Address b, uint64_t b_bytes) {
    return a < b + b_bytes && b < a + a_bytes;
}

}  // namespace

UserChunk::~UserChunk() {
    const RelaxedCapture relaxed(*at_.driver);
    const Result<ContextGuard> guard = ContextGuard::push(*at_.driver, at_.context);
    if (guard.ok()) {
        at_.driver->cuMemRelease(handle_);
    }
}

Result<void> UserChunk::describe(Address address) {
    descriptor_ = TRY(
        memory_export(*at_.driver, handle_, format("a descriptor of memory at %#llx", address)));
    return {};
}

Result<std::vector<Fd>> UserExport::descriptors() const {
    std::vector<Fd> copies;
    for (const std::shared_ptr<UserChunk>& chunk : chunks) {
        copies.emplace_back(::fcntl(chunk->descriptor(), F_DUPFD_CLOEXEC, 0));
        if (!copies.back()) {
            return make_error(Code::system, Scope::call,
                              "no room for descriptors of device memory: raise ulimit -n", errno);
        }
    }
    return copies;
}

// --- UserExports

Result<std::shared_ptr<const UserExport>> UserExports::get(Address address, uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const ContextGuard guard = TRY(ContextGuard::push(*at_.driver, at_.context));
    const auto known = std::ranges::find_if(kept_, [&](const auto& one) {
        return one->note.address == address && one->note.bytes == bytes;
    });
    if (known != kept_.end()) {
        const bool same = TRY(unchanged(**known));
        if (same) {
            counts_.found++;
            kept_.splice(kept_.begin(), kept_, known);
            return kept_.front();
        }
        counts_.changed++;
        kept_.erase(known);
    }
    UserExport made = TRY(make(address, bytes));
    counts_.made++;
    kept_.push_front(std::make_shared<const UserExport>(std::move(made)));
    if (kept_.size() > limit_) {
        kept_.pop_back();
    }
    return kept_.front();
}

void UserExports::forget(Address address, uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    std::erase_if(kept_, [&](const auto& one) {
        return overlap(one->note.address, one->note.bytes, address, bytes);
    });
    std::erase_if(chunks_, [](const auto& one) { return one.second.expired(); });
}

UserExports::Counts UserExports::counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
}

size_t UserExports::kept() const {
    const std::lock_guard lock(mutex_);
    return kept_.size();
}

Error UserExports::refuse(UserRefusal why, Address address, const std::string& text) {
    const std::string line =
        format("memory at %#llx %s%s: other processes of this host reach it by way of staging",
               address, name_of(why), text.c_str());
    if (counts_.refused[static_cast<size_t>(why)]++ == 0) {
        LOG(info, init, "%s (said once of such memory)", line.c_str());
    }
    return make_error(Code::unsupported, Scope::call, line);
}

Result<UserExport> UserExports::make(Address address, uint64_t bytes) {
    const PointerFacts facts = TRY(facts_of(at_, address));
    if (facts.managed != 0) {
        return refuse(UserRefusal::managed, address, "");
    }
    if (facts.memory != memory_type::device) {
        return refuse(UserRefusal::not_device, address, "");
    }
    if (static_cast<Device>(facts.device) != at_.device) {
        return refuse(UserRefusal::other_device, address,
                      format(" (%d, not %d)", static_cast<Device>(facts.device), at_.device));
    }
    if (facts.pool != 0) {
        return refuse(UserRefusal::pool, address, "");
    }
    if (bytes == 0 || facts.bytes == 0 || address < facts.begin ||
        bytes > facts.bytes - (address - facts.begin)) {
        return refuse(UserRefusal::parts, address,
                      format(" of %llu bytes", static_cast<unsigned long long>(bytes)));
    }
    UserExport made;
    made.note.process = process_identity();
    made.note.address = address;
    made.note.bytes = bytes;
    if (facts.legacy == 0) {
        TRY(mapped_add(made));
        return made;
    }
    UserPart part;
    part.note.kind = ExportKind::legacy;
    part.note.bytes = facts.bytes;
    part.note.device = device_uuid(*at_.driver, at_.device);
    part.buffer = facts.buffer;
    if (at_.driver->cuIpcGetMemHandle == nullptr ||
        at_.driver->cuIpcGetMemHandle(&part.note.handle, facts.begin) != status::success) {
        return refuse(UserRefusal::no_handle, address, " (no legacy handle)");
    }
    made.note.offset = address - facts.begin;
    made.note.parts.push_back(std::move(part));
    return made;
}

// A mapping is what one address range is to the driver here, unlike what RANGE_START says: the
// addresses that were reserved.
Result<void> UserExports::mapped_add(UserExport& made) {
    const Address end = made.note.address + made.note.bytes;
    const std::string device = device_uuid(*at_.driver, at_.device);
    for (Address at = made.note.address; at < end;) {
        Address begin = 0;
        size_t bytes = 0;
        const bool first = made.chunks.empty();
        if (at_.driver->cuMemGetAddressRange(&begin, &bytes, at) != status::success || begin > at ||
            at - begin >= bytes) {
            return refuse(UserRefusal::parts, at, " (nothing is mapped there)");
        }
        if (made.chunks.size() == user_parts_max) {
            return refuse(UserRefusal::parts, made.note.address,
                          format(" (more than %zu mappings)", user_parts_max));
        }
        std::shared_ptr<UserChunk> chunk = TRY(chunk_at(begin));
        UserPart part;
        part.note = {ExportKind::descriptor, bytes, device, {}};
        part.buffer = chunk->number();
        made.chunks.push_back(std::move(chunk));
        made.note.parts.push_back(std::move(part));
        made.note.offset = first ? at - begin : made.note.offset;
        at = begin + bytes;
    }
    return {};
}

Result<std::shared_ptr<UserChunk>> UserExports::chunk_at(Address address) {
    const Driver& driver = *at_.driver;
    MemoryHandle handle = 0;
    if (!descriptors_supported(driver, at_.device) ||
        driver.cuMemRetainAllocationHandle == nullptr ||
        driver.cuMemGetAllocationPropertiesFromHandle == nullptr ||
        driver.cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(address)) !=
            status::success) {
        return refuse(UserRefusal::no_handle, address, " (it has no handle)");
    }
    // Held from here on by the chunk; one that is known holds it already.
    auto chunk = std::make_shared<UserChunk>(at_, handle, next_chunk_);
    if (std::shared_ptr<UserChunk> known = chunks_[handle].lock()) {
        return known;
    }
    MemoryProperties properties{};
    TRY(driver_check(driver, driver.cuMemGetAllocationPropertiesFromHandle(&properties, handle),
                     format("asking about memory at %#llx", address)));
    if ((properties.handle_types & handle_type::posix_descriptor) == 0 ||
        properties.location.type != location_type::device) {
        return refuse(UserRefusal::no_handle, address,
                      " (cuMemCreate was not asked for POSIX file descriptors)");
    }
    TRY(chunk->describe(address));
    next_chunk_++;
    chunks_[handle] = chunk;
    return chunk;
}

Result<bool> UserExports::unchanged(const UserExport& known) const {
    Address at = known.note.address - known.note.offset;
    for (size_t i = 0; i < known.note.parts.size(); i++) {
        const UserPart& part = known.note.parts[i];
        if (known.chunks.empty()) {
            const PointerFacts facts = TRY(facts_of(at_, at));
            return facts.buffer == part.buffer && facts.begin == at &&
                   facts.bytes == part.note.bytes;
        }
        MemoryHandle handle = 0;
        if (at_.driver->cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(at)) !=
            status::success) {
            return false;
        }
        at_.driver->cuMemRelease(handle);
        if (handle != known.chunks[i]->handle()) {
            return false;
        }
        at += part.note.bytes;
    }
    return true;
}

// --- UserImports

namespace {

// Whether some address of the owner's belongs to one part here and to another there: of two ranges
// of one process, the one that was described first is gone.
bool parts_differ(const UserNote& a, const UserNote& b) {
    Address a_at = a.address - a.offset;
    if (!overlap(a_at, a.parts_bytes(), b.address - b.offset, b.parts_bytes())) {
        return false;
    }
    for (const UserPart& a_part : a.parts) {
        Address b_at = b.address - b.offset;
        for (const UserPart& b_part : b.parts) {
            const bool same = a_at == b_at && a_part.buffer == b_part.buffer &&
                              a_part.note.encode() == b_part.note.encode();
            if (!same && overlap(a_at, a_part.note.bytes, b_at, b_part.note.bytes)) {
                return true;
            }
            b_at += b_part.note.bytes;
        }
        a_at += a_part.note.bytes;
    }
    return false;
}

bool handles_equal(const UserNote& a, const UserNote& b) {
    const ExportNote& first = a.parts.front().note;
    const ExportNote& second = b.parts.front().note;
    return first.kind == ExportKind::legacy && second.kind == ExportKind::legacy &&
           std::ranges::equal(first.handle.bytes, second.handle.bytes);
}

}  // namespace

UserImports::UserImports(const DevicePlace& at, size_t limit)
    : at_(at), limit_(limit), self_(process_identity()) {
}

std::list<UserImports::Kept>::iterator UserImports::find(const std::string& key) const {
    return std::ranges::find_if(kept_, [&](const Kept& one) { return one.key == key; });
}

bool UserImports::needs_descriptors(const UserNote& note) const {
    const std::lock_guard lock(mutex_);
    return note.process != self_ && note.descriptor_count() != 0 &&
           find(note.parts_key()) == kept_.end();
}

size_t UserImports::kept() const {
    const std::lock_guard lock(mutex_);
    return kept_.size();
}

void UserImports::forget(const UserNote& note) {
    const std::lock_guard lock(mutex_);
    const auto found = find(note.parts_key());
    if (found != kept_.end() && found->memory.use_count() == 1) {
        kept_.erase(found);
    }
}

// A driver that is asked to open a handle it has open answers with what it has, so that must be
// closed first.
Result<void> UserImports::changed_drop(const UserNote& note) {
    for (auto one = kept_.begin(); one != kept_.end();) {
        if (one->note.process != note.process || !parts_differ(one->note, note)) {
            ++one;
            continue;
        }
        if (one->memory.use_count() > 1 && handles_equal(one->note, note)) {
            return make_error(
                Code::invalid_usage, Scope::call,
                format("a peer freed memory at %#llx that is still used here, and has other memory "
                       "there: deregister memory before it is freed",
                       note.address));
        }
        one = kept_.erase(one);
    }
    return {};
}

Result<void> UserImports::make_room(const UserNote& note) {
    if (kept_.size() < limit_) {
        return {};
    }
    for (auto one = kept_.end(); one != kept_.begin();) {
        --one;
        if (one->memory.use_count() == 1) {
            kept_.erase(one);
            return {};
        }
    }
    return make_error(Code::unsupported, Scope::call,
                      format("memory of a peer at %#llx is not mapped, for %zu such ranges are in "
                             "use: it is reached by way of staging; deregister what is not needed",
                             note.address, limit_));
}

// Memory of this process: plain memory is reached as contexts reach each other, mapped memory as
// the program has allowed it.
Result<void> UserImports::own_reaches(const UserNote& note) const {
    TRY(device_reaches(at_, note.parts.front().note.device));
    const MemoryLocation here{location_type::device, at_.device};
    Address at = note.address - note.offset;
    for (const UserPart& part : note.parts) {
        unsigned long long flags = access_flag::read_write;
        if (part.note.kind == ExportKind::descriptor && at_.driver->cuMemGetAccess != nullptr) {
            TRY(driver_check(*at_.driver, at_.driver->cuMemGetAccess(&flags, &here, at),
                             format("asking who may access memory at %#llx", at)));
        }
        if (flags != access_flag::read_write) {
            return make_error(Code::unsupported, Scope::call,
                              format("memory at %#llx was mapped without access for CUDA device "
                                     "%d: it is reached by way of staging, unless cuMemSetAccess "
                                     "allows it",
                                     at, at_.device));
        }
        at += part.note.bytes;
    }
    return {};
}

Result<UserImport> UserImports::get(const UserNote& note, std::vector<Fd> descriptors) {
    if (note.process == self_) {
        TRY(own_reaches(note));
        return UserImport{note.address, note.bytes, nullptr};
    }
    const std::lock_guard lock(mutex_);
    const std::string key = note.parts_key();
    const auto known = find(key);
    if (known != kept_.end()) {
        kept_.splice(kept_.begin(), kept_, known);
        return UserImport{known->memory->address() + note.offset, note.bytes, known->memory};
    }
    if (descriptors.size() != note.descriptor_count()) {
        return make_error(Code::remote, Scope::peer,
                          format("a peer gave %zu descriptors for %zu parts of its memory",
                                 descriptors.size(), note.descriptor_count()));
    }
    TRY(changed_drop(note));
    TRY(make_room(note));
    std::vector<ExportedPart> parts(note.parts.size());
    for (size_t i = 0; i < parts.size(); i++) {
        parts[i].note = note.parts[i].note;
        parts[i].descriptor = descriptors.empty() ? Fd() : std::move(descriptors[i]);
    }
    std::shared_ptr<const ImportedMemory> memory = TRY(ImportedMemory::open(at_, std::move(parts)));
    kept_.push_front({note, key, memory});
    const Address address = memory->address() + note.offset;
    return UserImport{address, note.bytes, std::move(memory)};
}

}  // namespace weft::gpu
