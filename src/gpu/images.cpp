#include "src/gpu/images.h"

#include <string_view>

#include "src/base/log.h"

// In the order of DataType.
// clang-format off
#define WEFT_DEVICE_TYPES(ROW) \
    ROW(int8) ROW(uint8) ROW(int32) ROW(uint32) ROW(int64) ROW(uint64) \
    ROW(float16) ROW(float32) ROW(float64) ROW(bfloat16) ROW(float8e4m3) ROW(float8e5m2)
// clang-format on

#ifdef WEFT_DEVICE_IMAGES
#define WEFT_IMAGE_DECLARE(type)                      \
    extern "C" const std::byte weft_kernels_##type[]; \
    extern "C" const std::byte weft_kernels_##type##_end[];
WEFT_DEVICE_TYPES(WEFT_IMAGE_DECLARE)
WEFT_IMAGE_DECLARE(move)
#endif

namespace weft::gpu {

namespace {

constexpr const char* type_names[] = {
#define WEFT_TYPE_NAME(type) #type,
    WEFT_DEVICE_TYPES(WEFT_TYPE_NAME)};
static_assert(sizeof(type_names) / sizeof(type_names[0]) == data_type_count);

#define WEFT_TYPE_PLACE(type) \
    static_assert(std::string_view(type_names[static_cast<size_t>(DataType::type)]) == #type);
WEFT_DEVICE_TYPES(WEFT_TYPE_PLACE)

}  // namespace

#ifdef WEFT_DEVICE_IMAGES
Result<std::span<const std::byte>> device_image(DataType type) {
    static constexpr struct {
        const std::byte *begin, *end;
    } images[] = {
#define WEFT_IMAGE(type) {weft_kernels_##type, weft_kernels_##type##_end},
        WEFT_DEVICE_TYPES(WEFT_IMAGE)};
    const auto& image = images[static_cast<size_t>(type)];
    return std::span(image.begin, image.end);
}

Result<std::span<const std::byte>> move_image() {
    return std::span(weft_kernels_move, weft_kernels_move_end);
}
#else
Result<std::span<const std::byte>> device_image(DataType) {
    return make_error(Code::unsupported, Scope::process,
                      "this library was built without device code; build it where nvcc is, with "
                      "-Dcuda=enabled, or use host memory with WEFT_DEVICE=host");
}

Result<std::span<const std::byte>> move_image() {
    return device_image({});
}
#endif

std::string kernel_name(Family family, DataType type, RedOp op) {
    return std::string(family == Family::lanes ? "lanes_" : "oneshot_") +
           type_names[static_cast<size_t>(type)] + "_" + to_string(op);
}

}  // namespace weft::gpu
