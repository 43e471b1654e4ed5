#include "src/comm/call.h"

#include "src/base/log.h"

namespace weft {

namespace {

template <class... Values>
Error wrong(const CallArgs& args, const char* rule, Values... values) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
    return make_error(Code::invalid_argument, Scope::call,
                      format("%s : ", args.name) + format(rule, values...));
#pragma GCC diagnostic pop
}

bool reduces(Coll coll) {
    return coll == Coll::all_reduce || coll == Coll::reduce_scatter || coll == Coll::reduce;
}

bool many_blocks(Coll coll) {
    return coll != Coll::all_reduce && coll != Coll::broadcast && coll != Coll::reduce &&
           coll != Coll::send_recv;
}

}  // namespace

CallNeeds call_needs(Coll coll, bool is_send, bool at_root) {
    switch (coll) {
        case Coll::all_reduce:
        case Coll::reduce_scatter:
        case Coll::all_gather:
        case Coll::all_to_all:
            return {true, true};
        case Coll::broadcast:
        case Coll::scatter:
            return {at_root, true};
        case Coll::reduce:
        case Coll::gather:
            return {true, at_root};
        case Coll::send_recv:
            return {is_send, !is_send};
    }
    return {};
}

Result<bool> call_check(const CallArgs& args, int32_t rank, int32_t rank_count,
                        const RedOpTable& operators, Call& call) {
    if (args.root < 0 || args.root >= rank_count) {
        return wrong(args, "invalid %s %d (ranks are 0 to %d)",
                     args.coll == Coll::send_recv ? "peer" : "root", args.root, rank_count - 1);
    }
    if (args.type < 0 || args.type >= data_type_count) {
        return wrong(args, "invalid type %d (types are 0 to %d)", args.type, data_type_count - 1);
    }
    call.coll = args.coll;
    call.send = args.send;
    call.recv = args.recv;
    call.count = args.count;
    call.type = static_cast<DataType>(args.type);
    call.root = args.root;
    call.is_send = args.is_send;
    if (reduces(args.coll)) {
        if (args.op < 0) {
            return wrong(args, "invalid reduction operation %d", args.op);
        }
        const ReduceChoice choice = TRY(operators.look_up(args.op, call.type));
        call.op = choice.op;
        call.scalar = choice.scalar;
        call.scalar_at = choice.scalar_at;
    }
    // Blocks fit 32 bits, so the product of the small ones cannot overflow.
    const uint64_t blocks = many_blocks(args.coll) ? static_cast<uint64_t>(rank_count) : 1;
    int64_t bytes = 0;
    if (__builtin_mul_overflow(args.count, blocks * size_of(call.type), &bytes)) {
        return wrong(args, "count %zu is more than memory can hold", args.count);
    }
    if (args.count == 0) {
        return args.coll == Coll::send_recv;
    }
    const CallNeeds needs = call_needs(args.coll, args.is_send, args.root == rank);
    if (needs.send && args.send == nullptr) {
        return wrong(args, "sendbuff argument is NULL, count is %zu", args.count);
    }
    if (needs.recv && args.recv == nullptr) {
        return wrong(args, "recvbuff argument is NULL, count is %zu", args.count);
    }
    return true;
}

}  // namespace weft
