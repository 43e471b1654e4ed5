// The device code in the library, or the line that says there is none.
#include "src/gpu/images.h"

#include <cstring>

#include "tests/catch.h"

using namespace weft;

TEST_CASE("an image for every type, or one line that says how to get one") {
    for (int index = 0; index < data_type_count; ++index) {
        const auto image = gpu::device_image(static_cast<DataType>(index));
        REQUIRE(image.ok() == (DEVICE_CODE == 1));
        if (!image.ok()) {
            CHECK(image.error().what.find("-Dcuda=enabled") != std::string::npos);
            continue;
        }
        // A fatbin begins with this number (fatbinary_section.h), then its version and header size.
        constexpr uint32_t magic = 0xba55ed50;
        uint32_t first = 0;
        REQUIRE(image.value().size() > 1000);
        std::memcpy(&first, image.value().data(), sizeof(first));
        CHECK(first == magic);
    }
}

TEST_CASE("kernels are named after type and operation") {
    CHECK(gpu::kernel_name(gpu::Family::lanes, DataType::float32, RedOp::sum) ==
          "lanes_float32_sum");
    CHECK(gpu::kernel_name(gpu::Family::oneshot, DataType::float8e5m2, RedOp::min) ==
          "oneshot_float8e5m2_min");
}
