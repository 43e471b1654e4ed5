// Ranks on several hosts that go through the stages of their calls in memory of this process:
// words, boards, far memory, and an engine between hosts that runs what each rank asks for in
// order. Who goes next is drawn by lot, so that what is read too early or stored twice shows.
// Thread rule: thread-bound.
#pragma once

#include <deque>
#include <map>
#include <random>

#include "src/comm/hosts_order.h"
#include "tests/unit/comm/cut_ranks.h"

namespace weft::test {

class HostsWorld {
  public:
    // `ranks`: by host, then by place.
    HostsWorld(int32_t hosts, int32_t locals, std::vector<int32_t> ranks, HostsSizes sizes,
               uint32_t seed)
        : hosts_(hosts), locals_(locals), ranks_(std::move(ranks)), sizes_(sizes), lots_(seed) {}

    HostsShape shape_of(int32_t rank) const {
        const auto at = static_cast<int32_t>(std::ranges::find(ranks_, rank) - ranks_.begin());
        return {at / locals_, at % locals_, hosts_, locals_, ranks_};
    }

    // Of every rank, by rank. All calls come to their ends, or the test fails.
    void run(const std::vector<std::vector<Call>>& calls) {
        begin(calls);
        size_t idle = 0;
        while (idle < 40 * calls.size()) {
            const size_t rank = lots_() % calls.size();
            const bool moved = lots_() % 3 == 0 ? messages_move(rank) : rank_moves(rank);
            idle = moved ? 0 : idle + 1;
        }
        for (const One& one : all_) {
            REQUIRE(!one.step.has_value());
            REQUIRE(one.asked.empty());
        }
    }

    uint64_t bytes_between_hosts = 0, bytes_between_devices = 0;
    size_t parts_together = 0;  // the most under way on one rank

  private:
    struct Bundle {
        uint64_t part = 0;
        uint32_t slot = 0;
        std::vector<HostsMessage> open;
    };
    using Slot = std::vector<char>;
    using Words = std::vector<std::vector<bool>>;  // by slot and peer
    struct One {
        HostsShape shape;
        std::vector<Slot> board, far, device_far;
        Words left, arrived, reduced;
        std::optional<HostsOrder> order;
        std::optional<HostsOrder::Step> step;
        std::map<uint64_t, bool> exchanged;  // by part: what it asked for last has come
        std::deque<Bundle> asked;
        std::map<int32_t, std::deque<Slot>> mail;  // of ranks of this host, by place
        size_t under_way = 0;
    };

    void begin(const std::vector<std::vector<Call>>& calls) {
        const std::vector<Slot> board(sizes_.slots, Slot(sizes_.slot_bytes, 'x')),
            far(sizes_.slots, Slot(2 * sizes_.slot_bytes, 'y'));
        const auto words = [&](bool set) {
            return Words(sizes_.slots, std::vector<bool>(static_cast<size_t>(locals_), set));
        };
        all_.clear();
        all_.reserve(calls.size());  // steps point into what is in it
        for (size_t rank = 0; rank < calls.size(); rank++) {
            One& one = all_.emplace_back();
            one.shape = shape_of(static_cast<int32_t>(rank));
            one.board = board;
            one.far = one.device_far = far;
            one.left = words(true);
            one.arrived = one.reduced = words(false);
            one.order.emplace(HostsCut(one.shape, sizes_, calls[rank]));
            one.step = one.order->next();
        }
    }

    static std::vector<Slot>& far(One& one, bool on_device) {
        return on_device ? one.device_far : one.far;
    }
    One& near(const One& one, int32_t local) {
        return all_[static_cast<size_t>(one.shape.rank_at(one.shape.host, local))];
    }

    char* at(One& one, const HostsPart& part, const HostsPlace& place, uint64_t bytes) {
        if (place.where == HostsWhere::user) {
            return reinterpret_cast<char*>(place.at);
        }
        const bool on_board = place.where == HostsWhere::slot;
        Slot& slot = on_board ? near(one, place.local).board[part.slot]
                              : far(one, place.where == HostsWhere::device_far)[part.slot];
        const bool goes_out = !on_board && place.at < sizes_.slot_bytes;
        REQUIRE(place.at + bytes <= (goes_out ? sizes_.slot_bytes : slot.size()));
        return slot.data() + place.at;
    }

    // Whether all peers on the host have told, if that is waited for.
    bool told(const One& one, bool wanted, const Words& words, uint32_t slot) const {
        for (int32_t peer = 0; wanted && peer < locals_; peer++) {
            if (peer != one.shape.local && !words[slot][static_cast<size_t>(peer)]) {
                return false;
            }
        }
        return true;
    }
    void tell(One& one, Words One::*words, uint32_t slot) {
        for (int32_t peer = 0; peer < locals_; peer++) {
            if (peer != one.shape.local) {
                auto word = (near(one, peer).*words)[slot][static_cast<size_t>(one.shape.local)];
                REQUIRE(!word);  // nobody stores a word that is not cleared
                word = true;
            }
        }
    }

    bool waits(One& one) {
        const HostsStage& stage = *one.step->stage;
        const uint32_t slot = one.step->part->slot;
        const bool mail = std::ranges::all_of(stage.receives, [&](const BoardMessage& message) {
            return !one.mail[message.peer].empty();
        });
        const auto exchanged = one.exchanged.find(one.step->number);
        const bool far = !stage.exchanged || exchanged == one.exchanged.end() || exchanged->second;
        return !(mail && far && told(one, stage.left, one.left, slot) &&
                 told(one, stage.arrived, one.arrived, slot) &&
                 told(one, stage.reduced, one.reduced, slot));
    }

    void sums(One& one) {
        const HostsPart& part = *one.step->part;
        for (const HostsSum& sum : one.step->stage->sums) {
            REQUIRE(sum.from.size() > 1);
            std::vector<uint32_t> total(sum.bytes / 4);
            for (const HostsPlace& from : sum.from) {
                const char* const theirs = at(one, part, from, sum.bytes);
                for (size_t i = 0; i < total.size(); i++) {
                    uint32_t next = 0;
                    std::memcpy(&next, theirs + 4 * i, 4);
                    total[i] += next;
                }
            }
            std::memcpy(at(one, part, sum.to, sum.bytes), total.data(), sum.bytes);
        }
    }

    void moves(One& one) {
        const HostsPart& part = *one.step->part;
        for (const HostsMove& move : one.step->stage->moves) {
            for (uint64_t row = 0; row < move.rows; row++) {
                HostsPlace to = move.to, from = move.from;
                to.at += row * move.to_pitch;
                from.at += row * move.from_pitch;
                std::memcpy(at(one, part, to, move.width), at(one, part, from, move.width),
                            move.width);
            }
        }
    }

    void mail(One& one) {
        const HostsStage& stage = *one.step->stage;
        for (const BoardMessage& message : stage.sends) {
            const char* const from = reinterpret_cast<const char*>(message.rows.user);
            near(one, message.peer)
                .mail[one.shape.local]
                .emplace_back(from, from + message.rows.width);
        }
        for (const BoardMessage& message : stage.receives) {
            const Slot bytes = std::move(one.mail[message.peer].front());
            one.mail[message.peer].pop_front();
            REQUIRE(bytes.size() == message.rows.width);
            std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(message.rows.user));
        }
    }

    bool rank_moves(size_t rank) {
        One& one = all_[rank];
        if (!one.step || waits(one)) {
            return false;
        }
        const HostsStage& stage = *one.step->stage;
        const HostsPart& part = *one.step->part;
        clear(one, stage, part.slot);
        sums(one);
        moves(one);
        mail(one);
        if (stage.tell != HostsStage::Tell::none) {
            tell(one,
                 stage.tell == HostsStage::Tell::arrived   ? &One::arrived
                 : stage.tell == HostsStage::Tell::reduced ? &One::reduced
                                                           : &One::left,
                 part.slot);
        }
        if (!stage.ask.empty()) {
            one.exchanged[one.step->number] = false;
            one.asked.push_back({one.step->number, part.slot, stage.ask});
        }
        one.under_way += &stage == &part.stages.front() ? 1 : 0;
        parts_together = std::max(parts_together, one.under_way);
        one.under_way -= &stage == &part.stages.back() ? 1 : 0;
        one.step = one.order->next();
        return true;
    }

    static void clear(One& one, const HostsStage& stage, uint32_t slot) {
        const auto zero = [&](bool wanted, Words& words) {
            if (wanted) {
                words[slot].assign(words[slot].size(), false);
            }
        };
        zero(stage.left, one.left);
        zero(stage.arrived, one.arrived);
        zero(stage.reduced, one.reduced);
    }

    // One message of the bundle that the rank's engine runs, if its other side is there.
    bool messages_move(size_t rank) {
        One& one = all_[rank];
        if (one.asked.empty()) {
            return false;
        }
        Bundle& ours = one.asked.front();
        const auto is_ready = [&](const HostsMessage& message) {
            const One& peer = all_[static_cast<size_t>(message.peer)];
            return message.is_send && !peer.asked.empty() &&
                   std::ranges::any_of(peer.asked.front().open, [&](const HostsMessage& theirs) {
                       return !theirs.is_send && theirs.peer == static_cast<int32_t>(rank);
                   });
        };
        const auto found = std::ranges::find_if(ours.open, is_ready);
        if (found == ours.open.end()) {
            return false;
        }
        const HostsMessage sent = *found;
        One& peer = all_[static_cast<size_t>(sent.peer)];
        Bundle& theirs = peer.asked.front();
        const auto taken = std::ranges::find_if(theirs.open, [&](const HostsMessage& message) {
            return !message.is_send && message.peer == static_cast<int32_t>(rank);
        });
        REQUIRE(taken->bytes == sent.bytes);
        REQUIRE(sent.at + sent.bytes <= sizes_.slot_bytes);
        REQUIRE(taken->at + taken->bytes <= 2 * sizes_.slot_bytes);
        REQUIRE(taken->on_device == sent.on_device);
        std::memcpy(far(peer, sent.on_device)[theirs.slot].data() + taken->at,
                    far(one, sent.on_device)[ours.slot].data() + sent.at, sent.bytes);
        bytes_between_hosts += sent.bytes;
        bytes_between_devices += sent.on_device ? sent.bytes : 0;
        ours.open.erase(found);
        theirs.open.erase(taken);
        bundle_ends(one);
        bundle_ends(peer);
        return true;
    }
    static void bundle_ends(One& one) {
        if (one.asked.front().open.empty()) {
            one.exchanged[one.asked.front().part] = true;
            one.asked.pop_front();
        }
    }

    const int32_t hosts_, locals_;
    const std::vector<int32_t> ranks_;
    const HostsSizes sizes_;
    std::mt19937 lots_;
    std::vector<One> all_;
};

}  // namespace weft::test
