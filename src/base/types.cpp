#include "src/base/types.h"

namespace weft {

const char* to_string(DataType type) {
    switch (type) {
        case DataType::int8:
            return "int8";
        case DataType::uint8:
            return "uint8";
        case DataType::int32:
            return "int32";
        case DataType::uint32:
            return "uint32";
        case DataType::int64:
            return "int64";
        case DataType::uint64:
            return "uint64";
        case DataType::float16:
            return "half";
        case DataType::float32:
            return "float";
        case DataType::float64:
            return "double";
        case DataType::bfloat16:
            return "bfloat16";
        case DataType::float8e4m3:
            return "f8e4m3";
        case DataType::float8e5m2:
            return "f8e5m2";
    }
    return "?";
}

const char* to_string(RedOp op) {
    switch (op) {
        case RedOp::sum:
            return "sum";
        case RedOp::prod:
            return "prod";
        case RedOp::max:
            return "max";
        case RedOp::min:
            return "min";
        case RedOp::avg:
            return "avg";
        case RedOp::pre_mul_sum:
            return "mulsum";
    }
    return "?";
}

const char* to_string(Coll coll) {
    switch (coll) {
        case Coll::all_reduce:
            return "all_reduce";
        case Coll::reduce_scatter:
            return "reduce_scatter";
        case Coll::all_gather:
            return "all_gather";
        case Coll::broadcast:
            return "broadcast";
        case Coll::reduce:
            return "reduce";
        case Coll::all_to_all:
            return "alltoall";
        case Coll::gather:
            return "gather";
        case Coll::scatter:
            return "scatter";
        case Coll::send_recv:
            return "sendrecv";
    }
    return "?";
}

}  // namespace weft
