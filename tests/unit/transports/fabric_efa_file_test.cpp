// What libfabric's efa leaves in /dev/shm, and that it goes.
#include "transports/fabric/efa_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/log.h"
#include "tests/catch.h"

using namespace weft;
using namespace weft::fabric;

namespace {

// fe80::1:efa0:1, queue pair 0x100, and a queue key that no other test has.
std::string address_raw() {
    std::string raw("\xfe\x80\0\0\0\0\0\0\0\0\0\x01\xef\xa0\0\x01\0\x01\0\0", 20);
    const auto key = static_cast<uint32_t>(::getpid());
    raw.append(reinterpret_cast<const char*>(&key), sizeof key);
    return raw + std::string(8, '\0');
}

}  // namespace

TEST_CASE("the file of an EFA endpoint is named by its address and its user") {
    const std::string raw = address_raw();
    CHECK(efa_file_name(raw, 1000) == format("fe80::1:efa0:1_0100_%08x_03e8", ::getpid()));
    CHECK(efa_file_name(raw + "x", 1000).empty());
    CHECK(efa_file_name("", 1000).empty());
}

TEST_CASE("it is removed, and only it") {
    const std::string raw = address_raw();
    const std::string mine = "/" + efa_file_name(raw, ::getuid());
    const std::string other = "/" + efa_file_name(raw, ::getuid() + 1);
    for (const std::string& name : {mine, other}) {
        const int fd = ::shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
        REQUIRE(fd >= 0);
        ::close(fd);
    }
    efa_file_remove(raw);
    efa_file_remove(raw);  // gone already
    CHECK(::shm_open(mine.c_str(), O_RDWR, 0) < 0);
    CHECK(::shm_unlink(other.c_str()) == 0);
    CHECK(::shm_unlink(mine.c_str()) < 0);
}
