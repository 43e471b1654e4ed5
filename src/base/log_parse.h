// The pure half of logging: what the NCCL_DEBUG* texts mean. Thread rule: reentrant. Failure rule:
// an unknown word is skipped and named in `complaints`.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/log.h"

namespace weft {

inline constexpr uint32_t subsys_default = static_cast<uint32_t>(Subsys::init) |
                                           static_cast<uint32_t>(Subsys::bootstrap) |
                                           static_cast<uint32_t>(Subsys::env);

// Words are matched without case, as NCCL does.
std::optional<LogLevel> log_level_parse(std::string_view word);

// "INIT,NET" sets bits, "^NET" starts from all and clears them.
uint32_t subsys_parse(std::string_view list, std::vector<std::string>& complaints);
uint32_t log_levels_parse(std::string_view list, std::vector<std::string>& complaints);

// %h is the host name, %p the process id, %% a percent sign.
std::string log_path_expand(std::string_view pattern, std::string_view host, int pid);

// strftime, and %1f to %9f for that many digits of the second's fraction; _ is a blank.
std::string log_timestamp(std::string_view pattern, const timespec& time);

}  // namespace weft
