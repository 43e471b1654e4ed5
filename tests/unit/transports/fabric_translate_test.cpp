#include "transports/fabric/translate.h"

#include <rdma/fi_errno.h>

#include <algorithm>
#include <set>

#include "tests/catch.h"

namespace weft::fabric {
namespace {

TEST_CASE("translate: every code of EFA has one clear meaning, and is found") {
    std::set<std::string> meanings;
    int before = 0;
    for (const EfaError& error : efa_errors()) {
        INFO(error.code);
        CHECK(error.code > before);  // ascending, or the search would miss some
        before = error.code;
        CHECK(efa_error(error.code) == &error);
        CHECK(std::string(error.meaning).size() > 10);
        CHECK(meanings.insert(error.meaning).second);
        CHECK(std::string(error.meaning).find('\n') == std::string::npos);
        const std::string hint = completion_hint("efa", FI_EINVAL, error.code);
        CHECK_THAT(hint, Catch::StartsWith("; " + std::string(error.meaning)) &&
                             Catch::EndsWith(error.action));
    }
    // The device's statuses but success and the two numbers it has not given, and all of the
    // provider's.
    CHECK(efa_errors().size() == 16 + 32);
    for (int code : {0, 16, 17, 19, 4095, 4128, -1}) {
        CHECK(efa_error(code) == nullptr);
    }
}

TEST_CASE("translate: the codes that users meet say what to do") {
    const auto says = [](int code, const char* words) {
        CHECK_THAT(completion_hint("efa", 0, code), Catch::Contains(words));
    };
    says(15, "security group");
    says(15, "both directions");
    says(4126, "security group");
    says(13, "restarted");
    says(9, "process ended");
    says(7, "not granted");
    says(10, "no receive buffer");
    says(4105, "ulimit -l");
    says(1, "closed");
}

TEST_CASE("translate: other providers' numbers are not EFA's") {
    CHECK(completion_hint("tcp;ofi_rxm", FI_ETIMEDOUT, 15) == hint_for(FI_ETIMEDOUT));
    CHECK(completion_hint("efa", FI_ETIMEDOUT, 99999) == hint_for(FI_ETIMEDOUT));
    CHECK(completion_hint("efa-direct", 0, 15) == completion_hint("efa", 0, 15));
}

TEST_CASE("translate: a silent peer is looked for where its network is guarded") {
    CHECK_THAT(silence_hint("efa"), Catch::Contains("security group of the instances") &&
                                        Catch::Contains("both directions"));
    CHECK_THAT(silence_hint("tcp;ofi_rxm"),
               Catch::Contains("firewall") && Catch::Contains("ports"));
}

}  // namespace
}  // namespace weft::fabric
