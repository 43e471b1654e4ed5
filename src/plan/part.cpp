// Writing one lane: raw steps, and steps in the words of a stage.
#include <algorithm>

#include "src/plan/exchange.h"
#include "src/plan/gen.h"

namespace weft::plan {

Step& Writer::add(StepKind kind, int32_t rank, uint32_t chunk) {
    Step& step = made_.steps.emplace_back();
    step.kind = kind;
    step.peer = rank;
    step.chunk = chunk;
    if (!held_.empty()) {
        std::erase_if(held_, [&](const auto& held) {
            if (held.second == chunk) {
                step.after.push_back(held.first);
            }
            return held.second == chunk;
        });
    }
    return step;
}

// What a slot holds was written there, so every slot in use is the target of some step.
void Writer::use_scratch(const Operand& operand) {
    if (operand.space != Space::scratch) {
        return;
    }
    if (operand.chunk >= made_.scratch_slots) {
        made_.scratch_slots = operand.chunk + 1;
        used_.resize(made_.scratch_slots, false);
    }
    used_[operand.chunk] = true;
}

Step& Writer::grant(int32_t rank, Operand dst, uint32_t chunk) {
    use_scratch(dst);
    Step& step = add(StepKind::grant, rank, chunk);
    step.dst = dst;
    return step;
}

Step& Writer::put(int32_t rank, Operand src, uint32_t chunk) {
    Step& step = add(StepKind::put, rank, chunk);
    step.src.push_back(src);
    return step;
}

Step& Writer::signal(int32_t rank, uint32_t chunk) {
    return add(StepKind::put, rank, chunk);
}

Step& Writer::wait(int32_t rank, Operand dst, uint32_t chunk) {
    Step& step = add(StepKind::wait, rank, chunk);
    step.dst = dst;
    return step;
}

Step& Writer::expose(int32_t rank, Operand dst, uint32_t chunk) {
    Step& step = add(StepKind::expose, rank, chunk);
    step.dst = dst;
    return step;
}

Step& Writer::copy(Operand dst, Operand src, uint32_t chunk) {
    use_scratch(dst);
    Step& step = add(StepKind::copy, -1, chunk);
    step.dst = dst;
    step.src.push_back(src);
    return step;
}

Step& Writer::reduce(Operand dst, uint32_t chunk, bool finish) {
    use_scratch(dst);
    Step& step = add(StepKind::reduce, -1, chunk);
    step.dst = dst;
    step.finish = finish;
    return step;
}

Step& Writer::release(Operand dst, uint32_t chunk) {
    Step& step = add(StepKind::release, -1, chunk);
    step.dst = dst;
    return step;
}

void Writer::hold(const After& after, uint32_t chunk) {
    held_.emplace_back(after, chunk);
}

// Slots that were set aside and never needed do not count: the others close up.
Lane Writer::take() {
    if (std::find(used_.begin(), used_.end(), false) != used_.end()) {
        std::vector<uint32_t> number(used_.size());
        uint32_t used = 0;
        for (size_t slot = 0; slot < number.size(); slot++) {
            number[slot] = used;
            used += used_[slot] ? 1 : 0;
        }
        made_.scratch_slots = used;
        for (Step& step : made_.steps) {
            if (step.dst.space == Space::scratch) {
                step.dst.chunk = number[step.dst.chunk];
            }
            for (Operand& src : step.src) {
                src.chunk = src.space == Space::scratch ? number[src.chunk] : src.chunk;
            }
        }
    }
    return std::move(made_);
}

After Writer::mark() const {
    return {static_cast<uint16_t>(lane_), static_cast<uint16_t>(made_.steps.size() - 1), 0};
}

int32_t Part::key(int32_t pos) const {
    return stage_->by_rank && stage_->cluster != nullptr
               ? stage_->cluster->rank_at(pos, stage_->rail(port_))
               : pos;
}

bool Part::absent(int32_t pos) const {
    const Cluster* cluster = stage_->cluster;
    return cluster != nullptr && (stage_->rail(port_) >= cluster->rails() || key(pos) < 0);
}

int32_t Part::rank(int32_t member) const {
    const Cluster* cluster = stage_->cluster;
    return cluster == nullptr ? member : cluster->rail_rank(member, stage_->rail(port_));
}

uint32_t Part::chunk(int32_t pos) const {
    return stage_->input.at(key(pos), stage_->rail(port_)).chunk % to_->chunks();
}

Operand Part::operand(const Place& place) const {
    Operand operand;
    switch (place.kind) {
        case Place::Kind::slot:
            operand = {
                Space::scratch,
                stage_->slot_base + static_cast<uint32_t>(place.number * stage_->ports + port_),
                -1};
            break;
        case Place::Kind::output:
            if (stage_->output.space == Space::scratch) {
                return {Space::scratch, stage_->output.base + static_cast<uint32_t>(port_), -1};
            }
            operand = stage_->output.at(key(place.number), stage_->rail(port_));
            break;
        case Place::Kind::input:
        case Place::Kind::own:
            operand = stage_->input.at(key(place.number), stage_->rail(port_));
            break;
    }
    operand.peer = place.peer < 0 ? -1 : rank(place.peer);
    return operand;
}

void Part::note_written(const Place& place) {
    if (stage_->written != nullptr && place.kind == Place::Kind::output) {
        stage_->written->set(port_, place.number, to_->mark());
    }
}

void Part::fetch(int32_t pos) {
    if (stage_->exchange != nullptr) {
        stage_->exchange->fetch();
    }
    if (stage_->ready != nullptr && !absent(pos)) {
        stage_->ready->hold(*to_, port_, pos, chunk(pos));
    }
}

void Part::used() {
    if (stage_->exchange != nullptr) {
        stage_->exchange->used();
    }
}

void Part::passed(int32_t pos) {
    if (stage_->passed != nullptr && !absent(pos)) {
        stage_->passed->set(port_, pos, to_->mark());
    }
}

Part::Place Part::first(int32_t pos, Place slot) {
    if (stage_->exchange == nullptr) {
        return input(pos);
    }
    release(slot, pos);
    return summed(pos, slot);
}

Part::Place Part::summed(int32_t pos, Place slot) {
    if (stage_->exchange == nullptr) {
        return input(pos);
    }
    reduce(slot, {own(pos)}, pos, false);
    return slot;
}

void Part::grant(int32_t member, Place dst, int32_t pos) {
    if (!absent(pos)) {
        to_->grant(rank(member), operand(dst), chunk(pos));
    }
}

void Part::put(int32_t member, Place src, int32_t pos) {
    if (!absent(pos)) {
        to_->put(rank(member), operand(src), chunk(pos));
    }
}

void Part::signal(int32_t member, int32_t pos) {
    if (!absent(pos)) {
        to_->signal(rank(member), chunk(pos));
    }
}

void Part::wait(int32_t member, Place dst, int32_t pos) {
    if (!absent(pos)) {
        to_->wait(rank(member), operand(dst), chunk(pos));
        note_written(dst);
    }
}

void Part::wait_signal(int32_t member, int32_t pos) {
    if (!absent(pos)) {
        to_->wait(rank(member), Operand{}, chunk(pos));
    }
}

void Part::expose(int32_t member, Place dst, int32_t pos) {
    if (!absent(pos)) {
        to_->expose(rank(member), operand(dst), chunk(pos));
    }
}

void Part::copy(Place dst, Place src, int32_t pos) {
    if (!absent(pos) && !(operand(dst) == operand(src))) {
        to_->copy(operand(dst), operand(src), chunk(pos));
    }
}

void Part::add_sources(Step& step, const Place* begin, const Place* end) const {
    for (const Place* place = begin; place != end; ++place) {
        if (place->kind == Place::Kind::own && stage_->exchange != nullptr) {
            stage_->exchange->append(step, operand(*place));
        } else {
            step.src.push_back(operand(*place));
        }
    }
}

void Part::reduce(Place dst, std::initializer_list<Place> src, int32_t pos, bool finish) {
    if (!absent(pos)) {
        add_sources(to_->reduce(operand(dst), chunk(pos), finish), src.begin(), src.end());
        note_written(dst);
    }
}

void Part::reduce(Place dst, const std::vector<Place>& src, int32_t pos, bool finish) {
    if (!absent(pos)) {
        Step& step = to_->reduce(operand(dst), chunk(pos), finish);
        step.src.reserve(src.size());
        add_sources(step, src.data(), src.data() + src.size());
        note_written(dst);
    }
}

void Part::release(Place dst, int32_t pos) {
    if (!absent(pos)) {
        to_->release(operand(dst), chunk(pos));
    }
}

}  // namespace weft::plan
