// What tools write: standard output, files, and the quoting that JSON and SVG need.
// Thread rule: reentrant but for the streams. Failure rule: one line that names the file.
#pragma once

#include <string>

#include "src/base/result.h"

namespace weft::tools {

Result<void> print(const std::string& text);
Result<void> file_write(const std::string& path, const std::string& text);

// Names may come from files: what is no plain character is escaped or, beyond ASCII, replaced.
std::string json_quoted(const std::string& text);
std::string xml_escaped(const std::string& text);

}  // namespace weft::tools
