#include "tools/common/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "src/base/log.h"

namespace weft::tools {

Result<void> print(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() ||
        std::fflush(stdout) != 0) {
        return make_error(Code::system, Scope::call,
                          std::string("cannot write to standard output: ") + std::strerror(errno),
                          errno);
    }
    return {};
}

Result<void> file_write(const std::string& path, const std::string& text) {
    std::FILE* file = std::fopen(path.c_str(), "we");
    const bool written =
        file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
    const int failure = errno;
    // A full disk may show only when the last buffer is written.
    const bool closed = file != nullptr && std::fclose(file) == 0;
    if (!written || !closed) {
        return make_error(Code::system, Scope::call,
                          "cannot write " + path + ": " + std::strerror(written ? errno : failure),
                          written ? errno : failure);
    }
    return {};
}

std::string json_quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += {'\\', c};
        } else if (byte < 0x20 || byte == 0x7f) {
            out += format("\\u%04x", byte);
        } else {
            out += byte < 0x80 ? c : '?';
        }
    }
    return out + "\"";
}

std::string xml_escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        out += c == '<'                      ? "&lt;"
               : c == '>'                    ? "&gt;"
               : c == '&'                    ? "&amp;"
               : c == '"'                    ? "&quot;"
               : byte < 0x20 || byte >= 0x7f ? "?"
                                             : std::string(1, c);
    }
    return out;
}

}  // namespace weft::tools
