// What a stranger sends never opens a channel; what is sent into an open one is never taken for a
// message.
#include "src/bootstrap/channel.h"

#include <cstdlib>

using namespace weft;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const Realm realm = realm_of_secret(std::string(32, 's'));
    const auto find = [](const RealmId& id) { return id == realm.id ? &realm : nullptr; };
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);

    Channel acceptor(find, {2});
    Channel connector(realm, {1});
    for (Channel* channel : {&acceptor, &connector}) {
        (void)channel->feed(bytes.substr(0, size / 2)).ok();
        if (channel->open()) {
            std::abort();
        }
    }

    Channel near(realm, {3});
    Channel far(find, {4});
    const bool opened = far.feed(near.out()).ok() && near.feed(far.out()).ok() &&
                        far.feed(near.out()).ok() && far.open() && near.open();
    if (!opened) {
        std::abort();
    }
    near.send("true");
    const bool taken = far.feed(near.out()).ok() && far.take_messages().size() == 1;
    if (!taken) {
        std::abort();
    }
    (void)far.feed(bytes).ok();
    if (!far.take_messages().empty()) {
        std::abort();
    }
    return 0;
}
