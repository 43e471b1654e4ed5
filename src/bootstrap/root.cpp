#include "src/bootstrap/root.h"

#include <algorithm>

#include "src/base/log.h"

namespace weft {

namespace {

constexpr Nanos report_every = 10 * nanos_per_s;
constexpr size_t table_piece_bytes = 128 << 10;

}  // namespace

Root::~Root() {
    net_.cancel(timer_);
}

std::string Root::name_of(int32_t rank) const {
    return rank_name(rank, processes_.at(entries_.at(rank).process_nonce));
}

std::optional<std::string> Root::wrong_with(const ProcessInfo& from,
                                            const JoinMessage& message) const {
    const std::string name = rank_name(message.rank, from);
    if (message.rank_count < 1 || message.rank_count > rank_count_max) {
        return format("%s joins with %d ranks; 1 to %d are possible", name.c_str(),
                      message.rank_count, rank_count_max);
    }
    if (!entries_.empty() && message.rank_count != rank_count_) {
        return format("the number of ranks differs: %s says %d, %s says %d",
                      name_of(first_rank_).c_str(), rank_count_, name.c_str(), message.rank_count);
    }
    if (message.rank < 0 || message.rank >= message.rank_count) {
        return format("%s is out of range: there are %d ranks", name.c_str(), message.rank_count);
    }
    if (entries_.count(message.rank) != 0) {
        return format("rank %d joined twice: as %s and as %s", message.rank,
                      name_of(message.rank).c_str(), name.c_str());
    }
    return {};
}

void Root::join(const ProcessInfo& from, const JoinMessage& message) {
    if (failed_ && reusable_ && message.rank == 0) {
        failed_.reset();
    }
    if (failed_) {
        client_.root_send(from.nonce, *failed_);
        return;
    }
    if (processes_.emplace(from.nonce, from).second) {
        client_.root_hold(from.nonce);
    }
    if (const auto wrong = wrong_with(from, message)) {
        fail(Code::invalid_argument, *wrong);
        return;
    }
    if (entries_.empty()) {
        rank_count_ = message.rank_count;
        first_rank_ = message.rank;
        started_ = net_.now();
        timer_ = net_.at(started_ + report_every, [this] { report(); });
    }
    entries_[message.rank] = {from.nonce, message.info};
    if (entries_.size() == static_cast<size_t>(rank_count_)) {
        complete();
    } else if (message.rank == 0) {
        missing_tell();
    } else if (entries_.count(0) != 0) {
        client_.root_send(from.nonce, WaitingMessage{missing_text()});
    }
}

// From the moment rank 0 has joined, its process is the root whose loss is everybody's.
void Root::missing_tell() {
    const std::string missing = missing_text();
    for (const auto& [nonce, process] : processes_) {
        client_.root_send(nonce, WaitingMessage{missing});
    }
}

void Root::cancel(uint64_t process_nonce, const CancelMessage& message) {
    const auto at = entries_.find(message.rank);
    if (at != entries_.end() && at->second.process_nonce == process_nonce) {
        fail(message.code, name_of(message.rank) + " gave up joining: " + message.text);
    }
}

void Root::process_lost(uint64_t process_nonce, const std::string& why) {
    if (processes_.count(process_nonce) == 0) {
        return;
    }
    for (const auto& [rank, entry] : entries_) {
        if (entry.process_nonce == process_nonce) {
            fail(Code::remote,
                 name_of(rank) + " died while joining: its control connection ended: " + why);
            return;
        }
    }
}

std::string Root::missing_text() const {
    std::vector<int32_t> missing;
    for (int32_t rank = 0; rank < rank_count_; ++rank) {
        if (entries_.count(rank) == 0) {
            missing.push_back(rank);
        }
    }
    return "ranks " + ranks_text(missing) + format(" of %d", rank_count_);
}

void Root::report() {
    const std::string missing = missing_text();
    log_warn(format("waiting for %s to join (%lld s so far)", missing.c_str(),
                    static_cast<long long>((net_.now() - started_) / nanos_per_s)));
    missing_tell();
    timer_ = net_.at(net_.now() + report_every, [this] { report(); });
}

void Root::complete() {
    Roster roster;
    std::array<uint8_t, 8> random;
    net_.random(random);
    std::copy(random.begin(), random.end(), reinterpret_cast<uint8_t*>(&roster.group));
    std::map<uint64_t, int32_t> index_of;
    for (auto& [rank, entry] : entries_) {
        const auto index = static_cast<int32_t>(index_of.size());
        const auto [at, is_new] = index_of.emplace(entry.process_nonce, index);
        if (is_new) {
            roster.processes.push_back(processes_.at(entry.process_nonce));
        }
        roster.process_of.push_back(at->second);
        roster.infos.push_back(std::move(entry.info));
    }
    const std::string bytes = roster_encode(roster);
    for (const auto& [nonce, process] : processes_) {
        for (size_t offset = 0; offset < bytes.size(); offset += table_piece_bytes) {
            client_.root_send(
                nonce, TableMessage{bytes.size(), offset, bytes.substr(offset, table_piece_bytes)});
        }
    }
    reset();
}

void Root::fail(Code code, const std::string& text) {
    failed_ = FailMessage{code, text};
    for (const auto& [nonce, process] : processes_) {
        client_.root_send(nonce, *failed_);
    }
    reset();
}

void Root::reset() {
    net_.cancel(timer_);
    timer_ = 0;
    for (const auto& [nonce, process] : processes_) {
        client_.root_release(nonce);
    }
    processes_.clear();
    entries_.clear();
    rank_count_ = 0;
}

}  // namespace weft
