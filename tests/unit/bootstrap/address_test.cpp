#include "src/bootstrap/address.h"

#include "tests/catch.h"

using namespace weft;

namespace {

NetInterface interface(const char* name, const char* ip, bool up = true) {
    NetInterface one;
    one.name = name;
    one.address = address_parse(ip, 0).value();
    one.up = up;
    one.loopback = std::string_view(name) == "lo";
    return one;
}

const std::vector<NetInterface> host = {
    interface("lo", "127.0.0.1"),
    interface("lo", "::1"),
    interface("pod-id-link0", "169.254.170.23"),
    interface("docker0", "172.17.0.1"),
    interface("eth0", "fd00::5"),
    interface("eth0", "10.0.0.5"),
    interface("eth0", "fe80::1"),
    interface("eth1", "10.1.0.5", false),
    interface("ens32", "10.2.0.5"),
};

std::string chosen(const char* names, const char* family = "", size_t most = 8) {
    const auto addresses = interfaces_choose(host, names, family, most);
    if (!addresses.ok()) {
        return "error: " + addresses.error().what;
    }
    std::string text;
    for (const NetAddress& address : addresses.value()) {
        text += to_string(address) + " ";
    }
    return text;
}

}  // namespace

TEST_CASE("interfaces are chosen by reachability, loopback last", "[bootstrap][address]") {
    CHECK(chosen("") == "10.0.0.5:0 10.2.0.5:0 [fd00::5]:0 127.0.0.1:0 [::1]:0 ");
    CHECK(chosen("", "AF_INET") == "10.0.0.5:0 10.2.0.5:0 127.0.0.1:0 ");
    CHECK(chosen("", "AF_INET6") == "[fd00::5]:0 [::1]:0 ");
    CHECK(chosen("", "", 2) == "10.0.0.5:0 [::1]:0 ");
}

TEST_CASE("NCCL_SOCKET_IFNAME is prefixes, = exact, ^ all but", "[bootstrap][address]") {
    CHECK(chosen("eth") == "10.0.0.5:0 [fd00::5]:0 ");
    CHECK(chosen("lo,ens") == "10.2.0.5:0 127.0.0.1:0 [::1]:0 ");
    CHECK(chosen("=ens32") == "10.2.0.5:0 ");
    CHECK(chosen("=ens").find("error") == 0);
    CHECK(chosen("^eth,lo", "AF_INET") == "10.2.0.5:0 ");
    CHECK(chosen("^=eth0", "AF_INET") == "10.2.0.5:0 127.0.0.1:0 ");
    CHECK(chosen("docker0") == "172.17.0.1:0 ");  // asked for by name
    CHECK(chosen("pod-id") == "169.254.170.23:0 ");
    const std::string none = chosen("ib0");
    CHECK(none.find("NCCL_SOCKET_IFNAME=ib0") != std::string::npos);
    CHECK(none.find("eth0 (10.0.0.5)") != std::string::npos);
    CHECK(none.find("eth1 (10.1.0.5, down)") != std::string::npos);
}

TEST_CASE("addresses of NCCL_COMM_ID have three forms", "[bootstrap][address]") {
    const auto parsed = [](const char* text) {
        const auto at = host_port_parse(text);
        return at.ok() ? at.value().host + "|" + std::to_string(at.value().port) : "error";
    };
    CHECK(parsed("10.0.0.1:4000") == "10.0.0.1|4000");
    CHECK(parsed("[fd00::1]:65535") == "fd00::1|65535");
    CHECK(parsed("node-1.cluster:1") == "node-1.cluster|1");
    for (const char* bad : {"", ":", "host", "host:", ":80", "host:0", "host:65536", "host:-1",
                            "host:8x", "fd00::1:80", "[]:80", "[fd00::1]"}) {
        INFO(bad);
        CHECK(parsed(bad) == "error");
    }
    CHECK(host_port_parse("host").error().what.find("host:port") != std::string::npos);
}

TEST_CASE("addresses travel", "[bootstrap][address]") {
    for (const char* ip : {"10.0.0.1", "fd00::1"}) {
        const NetAddress address = address_parse(ip, 4711).value();
        ByteWriter out;
        address_write(out, address);
        ByteReader in(out.view());
        CHECK(address_read(in).value() == address);
        CHECK(in.end().ok());
    }
    CHECK(!address_parse("host", 1).ok());
    ByteReader bad(std::string_view("\x05\x00\x00\x00\x00\x00\x00", 7));
    CHECK(!address_read(bad).ok());
}
