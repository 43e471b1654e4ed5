#include "src/plan/exchange.h"

#include <algorithm>

namespace weft::plan {

Exchange::Exchange(Writer& to, const Home& home, Config config)
    : to_(&to), home_(home), config_(std::move(config)) {
    config_.ahead = std::min(config_.ahead, units());
    config_.sets = std::min(config_.sets, units());
}

int32_t Exchange::units() const {
    return static_cast<int32_t>(config_.order.size()) * home_.ports;
}

uint32_t Exchange::slots() const {
    return static_cast<uint32_t>((home_.ranks - 1) * config_.sets);
}

int32_t Exchange::key(int32_t unit, int32_t local) const {
    const int32_t of_rail = rail(unit, local);
    if (of_rail >= home_.cluster.rails()) {
        return -1;
    }
    return config_.by_rank ? home_.cluster.rank_at(pos(unit), of_rail) : pos(unit);
}

Operand Exchange::slot_of(int32_t unit, int32_t from) const {
    const int32_t place = from < home_.local ? from : from - 1;
    return {Space::scratch, static_cast<uint32_t>(unit % config_.sets * (home_.ranks - 1) + place),
            -1};
}

uint32_t Exchange::chunk(int32_t unit, int32_t local) const {
    return config_.input.at(key(unit, local), rail(unit, local)).chunk % to_->chunks();
}

void Exchange::grant(int32_t unit) {
    if (unit >= units() || key(unit, home_.local) < 0) {
        return;
    }
    for (int32_t i = 1; i < home_.ranks; i++) {
        const int32_t from = home_.at(-i);
        to_->grant(home_.rank(from), slot_of(unit, from), chunk(unit, home_.local));
    }
}

void Exchange::put(int32_t unit) {
    for (int32_t i = 1; i < home_.ranks && unit < units(); i++) {
        const int32_t to = home_.at(i);
        if (key(unit, to) >= 0) {
            to_->put(home_.rank(to), config_.input.at(key(unit, to), rail(unit, to)),
                     chunk(unit, to));
        }
    }
}

void Exchange::release_puts(int32_t unit) {
    for (int32_t i = 1; i < home_.ranks && unit >= 0 && config_.release_puts; i++) {
        const int32_t to = home_.at(i);
        if (key(unit, to) >= 0) {
            to_->release(config_.input.at(key(unit, to), rail(unit, to)), chunk(unit, to));
            if (config_.released != nullptr) {
                config_.released->set(rail(unit, to), pos(unit), to_->mark());
            }
        }
    }
}

void Exchange::start() {
    for (int32_t unit = 0; unit < config_.sets; unit++) {
        grant(unit);
    }
    for (int32_t unit = 0; unit < config_.ahead; unit++) {
        put(unit);
    }
}

void Exchange::fetch() {
    unit_++;
    put(unit_ + config_.ahead);
    release_puts(unit_ - 1);
    if (key(unit_, home_.local) < 0) {
        return;
    }
    for (int32_t i = 1; i < home_.ranks; i++) {
        const int32_t from = home_.at(-i);
        to_->wait(home_.rank(from), slot_of(unit_, from), chunk(unit_, home_.local));
    }
}

void Exchange::append(Step& step, Operand own) const {
    step.src.reserve(step.src.size() + static_cast<size_t>(home_.ranks));
    for (int32_t from = 0; from < home_.ranks; from++) {
        step.src.push_back(from == home_.local ? own : slot_of(unit_, from));
    }
}

void Exchange::used() {
    const int32_t unit = used_++;
    if (key(unit, home_.local) >= 0) {
        for (int32_t i = 1; i < home_.ranks; i++) {
            const int32_t from = home_.at(-i);
            to_->release(slot_of(unit, from), chunk(unit, home_.local));
        }
    }
    grant(unit + config_.sets);
}

void Exchange::end() {
    release_puts(unit_);
}

}  // namespace weft::plan
