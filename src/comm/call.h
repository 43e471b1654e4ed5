// From the arguments of an API call to a Call: every rule about arguments that needs only the
// communicator's size and operators. Pure but for the operator table. Thread rule: reentrant.
#pragma once

#include <cstddef>

#include "src/base/result.h"
#include "src/comm/redop.h"
#include "src/exec/engine.h"

namespace weft {

struct CallArgs {
    const char* name = "";  // "AllReduce"
    Coll coll = Coll::all_reduce;
    const void* send = nullptr;
    void* recv = nullptr;
    size_t count = 0;
    int type = 0;  // as given, unchecked
    int op = 0;
    int root = 0;  // send_recv: the peer
    bool is_send = false;
    const void* stream = nullptr;
};

// The buffers a rank's part reads and writes.
struct CallNeeds {
    bool send = true;
    bool recv = true;
};
CallNeeds call_needs(Coll coll, bool is_send, bool at_root);

// Fills `call`. False: a collective of nothing, checked and to be dropped. A send or receive of
// nothing is real: its peer waits for it.
Result<bool> call_check(const CallArgs& args, int32_t rank, int32_t rank_count,
                        const RedOpTable& operators, Call& call);

}  // namespace weft
