// What a wire does with memory of its own side over its own NICs, for memory that the CPU must not
// touch: puts to it, and reads that make a GPU see what has arrived. Both end like puts to the
// peer: a failure is the peer's, and its fence waits for them.
#include "transports/fabric/fabric_wire.h"

namespace weft::fabric {

TxOwner FabricWire::owner_of_own(uint32_t peer, LocalRegion& region, size_t rail) {
    TxOwner owner;
    owner.inbox = inbox_.get();
    owner.flow = &inbox_->flow(peer);
    owner.use = region.use.get();
    owner.peer = peer;
    owner.at = static_cast<uint8_t>(rail);
    owner.own = true;
    return owner;
}

Result<Post> FabricWire::put_own(const Put& put) {
    ASSERT(put.from_region.id != 0 && put.from_region.id <= regions_.size() &&
           remote_in_bounds(put));
    LocalRegion& region = regions_[put.from_region.id - 1];
    const size_t index = counters_.puts % rails_.size();
    RemoteWrite write = write_of(put, index);
    const TxOwner owner = owner_of_own(put.peer, region, index);
    Rail& rail = *rails_[index];
    const std::lock_guard guard(rail.lock());
    write.to = TRY(rail.own_endpoint());
    // Before it is posted: the completion may come first.
    region.use->fetch_add(1);
    owner.flow->in_flight.fetch_add(1);
    auto posted = rail.write(write, owner);
    if (!posted.ok() || posted.value() == Post::again) {
        region.use->fetch_sub(1);
        owner.flow->in_flight.fetch_sub(1);
    } else {
        ++counters_.puts;
    }
    return posted;
}

Result<Post> FabricWire::flush_on(uint32_t peer, Region id, size_t rail, size_t bytes) {
    LocalRegion& region = regions_[id.id - 1];
    TxOwner owner = owner_of_own(peer, region, rail);
    owner.notify = true;
    owner.cookie = uint64_t{region.life} << 32 | id.id;
    const MemoryCache::Window& window = region.windows.at(region.base);
    const OwnRead read{window.on_rails[rail].get(), window.span.base, region.base, bytes};
    const std::lock_guard guard(rails_[rail]->lock());
    region.use->fetch_add(1);
    owner.flow->in_flight.fetch_add(1);
    auto posted = rails_[rail]->flush(read, owner);
    if (!posted.ok() || posted.value() == Post::again) {
        region.use->fetch_sub(1);
        owner.flow->in_flight.fetch_sub(1);
    } else {
        ++region.reads;
    }
    return posted;
}

// Which rail a piece came by is not known, so every one is read over.
Result<Post> FabricWire::flush(uint32_t peer, Region id, size_t bytes) {
    LocalRegion& region = regions_[id.id - 1];
    ASSERT(region.base != nullptr && bytes <= region.bytes);
    for (; region.flushed < rails_.size(); ++region.flushed) {
        const Post posted = TRY(flush_on(peer, id, region.flushed, bytes));
        if (posted == Post::again) {
            return Post::again;
        }
    }
    return Post::accepted;
}

// One that ended late is of a region before.
void FabricWire::on_flushed(uint64_t cookie) {
    LocalRegion& region = regions_[static_cast<uint32_t>(cookie) - 1];
    region.reads -= region.life == cookie >> 32 ? 1 : 0;
}

}  // namespace weft::fabric
