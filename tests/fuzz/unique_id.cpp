// 128 bytes of any content are refused by name or decoded. The checksum is put right half of the
// time, so that the decoder behind it is reached.
#include "src/bootstrap/unique_id.h"

#include <algorithm>
#include <cstdlib>

#include "src/base/sha256.h"

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    UniqueIdBytes id{};
    std::copy_n(data, std::min(size, id.size()), id.begin());
    if (size % 2 == 0) {
        const std::string_view body(reinterpret_cast<const char*>(id.data()), id.size() - 8);
        const Digest sum = Sha256().update("weft unique id").update(body).finish();
        std::copy_n(sum.begin(), 8, id.end() - 8);
    }
    const auto decoded = unique_id_decode(id);
    if (!unique_id_foreign(id).empty() && decoded.ok()) {
        std::abort();
    }
    if (decoded.ok() && decoded.value().secret.size() != 32) {
        std::abort();
    }
    return 0;
}
