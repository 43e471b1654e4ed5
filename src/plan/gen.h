// Inside src/plan: what the generators share. A Part writes one lane of one rank; it knows the
// numbering of operands (ir.h), so that the generators speak of blocks and peers only.
// Thread rule: reentrant.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "src/plan/ir.h"

namespace weft::plan {

class Part {
  public:
    Part(const Shape& shape, uint32_t lanes, uint32_t lane, int32_t rank)
        : shape_(shape), lanes_(lanes), lane_(lane), rank_(rank) {}

    const Shape& shape() const { return shape_; }
    int32_t rank() const { return rank_; }
    int32_t ranks() const { return shape_.rank_count; }
    bool is_root() const { return rank_ == shape_.root; }
    int32_t at(int32_t offset) const;  // the rank `offset` places after this one, around the ring

    // The chunk of position `pos` that this lane moves. all_reduce by ring or loads cuts its one
    // block into rank_count positions; elsewhere a position is a block.
    Operand input(int32_t pos = 0) const { return {Space::input, id(pos), -1}; }
    Operand output(int32_t pos = 0) const { return {Space::output, id(pos), -1}; }
    Operand input_of(int32_t peer, int32_t pos = 0) const { return {Space::input, id(pos), peer}; }
    Operand output_of(int32_t peer, int32_t pos = 0) const {
        return {Space::output, id(pos), peer};
    }
    static Operand scratch(uint32_t slot) { return {Space::scratch, slot, -1}; }
    uint32_t chunk(int32_t pos = 0) const { return id(pos) % shape_.chunks; }
    uint32_t chunk(const Operand& operand) const { return operand.chunk % shape_.chunks; }

    void grant(int32_t peer, Operand dst, uint32_t chunk);
    void put(int32_t peer, Operand src, uint32_t chunk);
    void signal(int32_t peer, uint32_t chunk);
    void wait(int32_t peer, Operand dst, uint32_t chunk);
    void wait_signal(int32_t peer, uint32_t chunk);
    void expose(int32_t peer, Operand dst, uint32_t chunk);
    void copy(Operand dst, Operand src, uint32_t chunk);
    void reduce(Operand dst, std::vector<Operand> src, uint32_t chunk, bool finish);
    void release(Operand dst, uint32_t chunk);

    Lane take() { return std::move(lane_steps_); }

  private:
    uint32_t id(int32_t pos) const { return static_cast<uint32_t>(pos) * lanes_ + lane_; }
    Step& add(StepKind kind, int32_t peer, uint32_t chunk);
    void use_scratch(const Operand& operand);

    Shape shape_;
    uint32_t lanes_, lane_;
    int32_t rank_;
    Lane lane_steps_;
};

// Who contributes to whose result: the collectives differ in this and in the blocks they name.
bool sends(const Shape& shape, int32_t from, int32_t to);
bool is_reducing(Coll coll);

void gen_direct(Part& part);
void gen_loads(Part& part);
void gen_ring(Part& part);

}  // namespace weft::plan
