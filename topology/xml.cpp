#include "topology/xml.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "src/base/log.h"
#include "src/base/machine.h"

namespace weft::topology {

namespace {

bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_name(char c) {
    return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == ':';
}

Error error_at(std::string_view file, uint32_t line, std::string_view reason) {
    return make_error(Code::invalid_argument, Scope::call,
                      format("%.*s:%u: %.*s", static_cast<int>(file.size()), file.data(), line,
                             static_cast<int>(reason.size()), reason.data()));
}

void utf8_append(std::string& out, uint32_t code) {
    if (code < 0x80) {
        out.push_back(static_cast<char>(code));
    } else if (code < 0x800) {
        out.push_back(static_cast<char>(0xc0 | code >> 6));
        out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
    } else if (code < 0x10000) {
        out.push_back(static_cast<char>(0xe0 | code >> 12));
        out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
        out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
    } else {
        out.push_back(static_cast<char>(0xf0 | code >> 18));
        out.push_back(static_cast<char>(0x80 | (code >> 12 & 0x3f)));
        out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
        out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
    }
}

// "#38" or "#x26"; nothing if it is no character that XML allows.
std::optional<uint32_t> reference_number(std::string_view text) {
    text.remove_prefix(1);
    const bool hex = !text.empty() && text.front() == 'x';
    text.remove_prefix(hex ? 1 : 0);
    if (text.empty() || text.size() > 7) {
        return {};
    }
    uint32_t code = 0;
    for (const char c : text) {
        const int digit = c >= '0' && c <= '9'          ? c - '0'
                          : hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                        : -1;
        if (digit < 0) {
            return {};
        }
        code = code * (hex ? 16 : 10) + static_cast<uint32_t>(digit);
    }
    const bool control = code < 0x20 && code != '\t' && code != '\n' && code != '\r';
    const bool surrogate = code >= 0xd800 && code < 0xe000;
    if (control || surrogate || code > 0x10ffff || code == 0x7f) {
        return {};
    }
    return code;
}

class Scanner {
  public:
    Scanner(std::string_view text, std::string_view file, const XmlLimits& limits)
        : text_(text), limits_(limits) {
        document_.file = file;
    }
    Result<XmlDocument> run();

  private:
    bool done() const { return at_ == text_.size(); }
    char look() const { return done() ? '\0' : text_[at_]; }
    bool sees(std::string_view word) const { return text_.substr(at_, word.size()) == word; }
    void step(size_t bytes = 1);
    bool spaces();  // skipped any?
    Error fault(std::string_view reason) const { return error_at(document_.file, line_, reason); }

    Result<void> characters_check() const;
    Result<void> declaration();
    Result<void> doctype();
    Result<void> comment();
    Result<void> markup();
    Result<void> start_tag();
    Result<void> end_tag();
    Result<void> content();
    Result<void> attribute(XmlElement& element);
    Result<std::string> name();
    Result<std::string> value();
    Result<void> reference(std::string& out);

    std::string_view text_;
    const XmlLimits& limits_;
    XmlDocument document_;
    size_t at_ = 0;
    uint32_t line_ = 1;
    std::vector<int32_t> open_;
};

void Scanner::step(size_t bytes) {
    for (; bytes > 0; --bytes, ++at_) {
        line_ += text_[at_] == '\n' ? 1 : 0;
    }
}

bool Scanner::spaces() {
    const size_t from = at_;
    while (!done() && is_space(look())) {
        step();
    }
    return at_ != from;
}

// No control characters anywhere: none is legal, and names and values go to terminals.
Result<void> Scanner::characters_check() const {
    uint32_t line = 1;
    for (const char c : text_) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && !is_space(c)) || byte == 0x7f) {
            return error_at(document_.file, line,
                            format("character 0x%02x is not allowed in XML", byte));
        }
        line += c == '\n' ? 1 : 0;
    }
    return {};
}

Result<std::string> Scanner::name() {
    constexpr size_t name_bytes_max = 128;
    const size_t from = at_;
    while (!done() && is_name(look())) {
        step();
    }
    const std::string_view found = text_.substr(from, at_ - from);
    if (found.empty() || !is_name_start(found.front())) {
        return fault("a name is expected here");
    }
    if (found.size() > name_bytes_max) {
        return fault(
            format("a name of %zu bytes, at most %zu are read", found.size(), name_bytes_max));
    }
    return std::string(found);
}

Result<void> Scanner::reference(std::string& out) {
    constexpr std::pair<std::string_view, char> known[] = {
        {"lt", '<'}, {"gt", '>'}, {"amp", '&'}, {"quot", '"'}, {"apos", '\''}};
    const size_t end = text_.substr(at_, 12).find(';');
    if (end == std::string_view::npos) {
        return fault("'&' does not start an entity (write &amp;)");
    }
    const std::string_view word = text_.substr(at_ + 1, end - 1);
    if (!word.empty() && word.front() == '#') {
        const auto code = reference_number(word);
        if (!code) {
            return fault("'" + printable(text_.substr(at_, end + 1)) + "' is no character");
        }
        utf8_append(out, *code);
    } else {
        const auto* found = std::find_if(std::begin(known), std::end(known),
                                         [&](const auto& entity) { return entity.first == word; });
        if (found == std::end(known)) {
            return fault("entity '" + printable(text_.substr(at_, end + 1)) + "' is unknown");
        }
        out.push_back(found->second);
    }
    step(end + 1);
    return {};
}

Result<std::string> Scanner::value() {
    const char quote = look();
    if (quote != '"' && quote != '\'') {
        return fault("an attribute's value must stand in quotes");
    }
    const uint32_t first_line = line_;
    step();
    std::string out;
    while (!done() && look() != quote) {
        if (look() == '<') {
            return fault("'<' inside an attribute's value (a missing quote?)");
        }
        if (out.size() >= limits_.value_bytes) {
            return fault(
                format("an attribute's value is longer than %zu bytes", limits_.value_bytes));
        }
        if (look() == '&') {
            TRY(reference(out));
        } else {
            out.push_back(is_space(look()) ? ' ' : look());
            step();
        }
    }
    if (done()) {
        return error_at(document_.file, first_line, "an attribute's value never ends");
    }
    step();
    return out;
}

Result<void> Scanner::attribute(XmlElement& element) {
    XmlAttribute attribute;
    attribute.name = TRY(name());
    spaces();
    if (look() != '=') {
        return fault("attribute '" + attribute.name + "' has no value");
    }
    step();
    spaces();
    attribute.value = TRY(value());
    if (element.find(attribute.name) != nullptr) {
        return fault("attribute '" + attribute.name + "' stands twice in <" + element.name + ">");
    }
    if (element.attributes.size() == limits_.attributes) {
        return fault(
            format("<%s> has more than %zu attributes", element.name.c_str(), limits_.attributes));
    }
    element.attributes.push_back(std::move(attribute));
    return {};
}

Result<void> Scanner::start_tag() {
    XmlElement element;
    element.line = line_;
    element.parent = open_.empty() ? -1 : open_.back();
    if (open_.empty() && !document_.elements.empty()) {
        return fault("a second element after the end of <" + document_.elements[0].name + ">");
    }
    step();
    element.name = TRY(name());
    bool spaced = spaces();
    while (!done() && look() != '>' && look() != '/') {
        if (!spaced) {
            return fault("white space is missing before an attribute of <" + element.name + ">");
        }
        TRY(attribute(element));
        spaced = spaces();
    }
    if (done()) {
        return error_at(document_.file, element.line, "<" + element.name + " never ends");
    }
    if (document_.elements.size() == limits_.elements) {
        return fault(format("more than %zu elements", limits_.elements));
    }
    const bool closed = look() == '/';
    step();
    if (closed && look() != '>') {
        return fault("'>' is expected after '/' in <" + element.name + ">");
    }
    if (closed) {
        step();
    } else {
        open_.push_back(static_cast<int32_t>(document_.elements.size()));
    }
    if (open_.size() > limits_.depth) {
        return fault(format("elements are nested deeper than %zu", limits_.depth));
    }
    document_.elements.push_back(std::move(element));
    return {};
}

Result<void> Scanner::end_tag() {
    step(2);
    const std::string closing = TRY(name());
    spaces();
    if (look() != '>') {
        return fault("'>' is expected after '</" + closing + "'");
    }
    if (open_.empty()) {
        return fault("</" + closing + "> ends nothing");
    }
    const XmlElement& element = document_.elements[static_cast<size_t>(open_.back())];
    if (element.name != closing) {
        return fault(format("</%s> ends <%s> of line %u", closing.c_str(), element.name.c_str(),
                            element.line));
    }
    step();
    open_.pop_back();
    return {};
}

Result<void> Scanner::comment() {
    const size_t end = text_.find("--", at_ + 4);
    if (end == std::string_view::npos) {
        return fault("a comment never ends");
    }
    const uint32_t first_line = line_;
    step(end - at_);
    if (!sees("-->")) {
        return fault(format("'--' inside the comment of line %u", first_line));
    }
    step(3);
    return {};
}

Result<void> Scanner::doctype() {
    if (!document_.elements.empty()) {
        return fault("DOCTYPE must stand before the first element");
    }
    const size_t end = text_.find('>', at_);
    if (end == std::string_view::npos) {
        return fault("DOCTYPE never ends");
    }
    if (text_.substr(at_, end - at_).find('[') != std::string_view::npos) {
        return fault("a DOCTYPE with declarations of its own is not read");
    }
    step(end + 1 - at_);
    return {};
}

Result<void> Scanner::declaration() {
    const bool starts = at_ == 0 && sees("<?xml") && text_.size() > 5 && is_space(text_[5]);
    if (!starts) {
        return fault("'<?' is only read as the XML declaration that starts a file");
    }
    const size_t end = text_.find("?>");
    if (end == std::string_view::npos) {
        return fault("the XML declaration never ends");
    }
    step(end + 2);
    return {};
}

Result<void> Scanner::markup() {
    if (sees("<!--")) {
        return comment();
    }
    if (sees("<!DOCTYPE")) {
        return doctype();
    }
    if (sees("<!")) {
        return fault("'<!' starts neither a comment nor a DOCTYPE");
    }
    if (sees("<?")) {
        return declaration();
    }
    return sees("</") ? end_tag() : start_tag();
}

Result<void> Scanner::content() {
    if (look() == '<') {
        return markup();
    }
    const bool blank = is_space(look());
    if (!blank && open_.empty()) {
        return fault("text outside of the root element");
    }
    if (!blank) {
        document_.elements[static_cast<size_t>(open_.back())].text = true;
    }
    if (look() == '&') {
        std::string unused;
        return reference(unused);
    }
    step();
    return {};
}

Result<XmlDocument> Scanner::run() {
    if (text_.size() > limits_.bytes) {
        return fault(
            format("the file has %zu bytes, at most %zu are read", text_.size(), limits_.bytes));
    }
    if (sees("\xef\xbb\xbf")) {
        text_.remove_prefix(3);
    }
    TRY(characters_check());
    while (!done()) {
        TRY(content());
    }
    if (!open_.empty()) {
        const XmlElement& element = document_.elements[static_cast<size_t>(open_.back())];
        return fault(
            format("the file ends inside <%s> of line %u", element.name.c_str(), element.line));
    }
    if (document_.elements.empty()) {
        return fault("no element in the file");
    }
    return std::move(document_);
}

}  // namespace

const std::string* XmlElement::find(std::string_view attribute) const {
    const auto found =
        std::find_if(attributes.begin(), attributes.end(),
                     [&](const XmlAttribute& candidate) { return candidate.name == attribute; });
    return found == attributes.end() ? nullptr : &found->value;
}

Result<XmlDocument> xml_parse(std::string_view text, std::string_view file,
                              const XmlLimits& limits) {
    return Scanner(text, file, limits).run();
}

Result<XmlDocument> xml_read(const std::string& path, const XmlLimits& limits) {
    const std::string text = TRY(file_read(path, limits.bytes));
    return xml_parse(text, path, limits);
}

Error xml_error(const XmlDocument& document, uint32_t line, std::string_view reason) {
    return error_at(document.file, line, reason);
}

std::string printable(std::string_view text) {
    constexpr size_t quoted_max = 60;
    std::string out(text.substr(0, quoted_max));
    for (char& c : out) {
        const auto byte = static_cast<unsigned char>(c);
        c = byte < 0x20 || byte >= 0x7f ? '?' : c;
    }
    return out + (text.size() > quoted_max ? "..." : "");
}

}  // namespace weft::topology
