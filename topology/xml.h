// A strict, bounded scanner for the XML that topology files are made of: elements, attributes,
// comments, an XML declaration, a DOCTYPE without internal subset, text. No entities but the five
// of XML and numbers, no CDATA, no processing instructions. Thread rule: reentrant. Failure rule:
// the first fault as "FILE:LINE: reason".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"

namespace weft::topology {

struct XmlLimits {
    size_t bytes = size_t{16} << 20;  // a p5 written by hwloc has 0.1 MiB; core lists grow it to 2
    size_t depth = 64;
    size_t elements = 100'000;
    size_t attributes = 64;  // of one element
    size_t value_bytes = 16'384;
};

struct XmlAttribute {
    std::string name;
    std::string value;  // entities resolved
};

struct XmlElement {
    std::string name;
    uint32_t line = 0;    // of its '<'
    int32_t parent = -1;  // index; a parent stands before its children
    bool text = false;    // something else than white space between its tags
    std::vector<XmlAttribute> attributes;

    const std::string* find(std::string_view attribute) const;  // nullptr if absent
};

// In the order of their start tags; the first is the root.
struct XmlDocument {
    std::string file;  // for messages
    std::vector<XmlElement> elements;
};

Result<XmlDocument> xml_parse(std::string_view text, std::string_view file,
                              const XmlLimits& limits = {});

// Reads the file first, and refuses one that is larger than `limits.bytes` unread.
Result<XmlDocument> xml_read(const std::string& path, const XmlLimits& limits = {});

// "FILE:LINE: reason", for those who look at what the elements mean.
Error xml_error(const XmlDocument& document, uint32_t line, std::string_view reason);

// At most 60 bytes of `text`, nothing that a terminal would obey: for quoting it in a message.
std::string printable(std::string_view text);

}  // namespace weft::topology
