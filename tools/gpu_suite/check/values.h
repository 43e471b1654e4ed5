// Inputs as elements of a type, and back: whole numbers that the type and every sum of theirs hold
// exactly. Thread rule: reentrant. Failure rule: none.
#pragma once

#include <cstdint>

#include "src/base/types.h"

namespace weft::suite {

// The bits of one element that is `number` / `divisor`.
uint64_t bits_of(DataType type, int64_t number, int64_t divisor = 1);

// Input element i of a rank. Where nothing is reduced, any bits.
int64_t input_number(DataType type, RedOp op, int rank, uint64_t i, uint64_t salt);
uint64_t input_raw(DataType type, int rank, uint64_t i, uint64_t salt);

int64_t fold(RedOp op, int64_t a, int64_t b);

void element_put(char* at, DataType type, uint64_t bits);
uint64_t element_get(const char* at, DataType type);

}  // namespace weft::suite
