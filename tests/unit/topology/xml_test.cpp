#include "topology/xml.h"

#include "tests/catch.h"
#include "tests/unit/topology/machines.h"

using namespace weft;
using namespace weft::topology;

namespace {

std::string refusal(std::string_view text, const XmlLimits& limits = {}) {
    const auto document = xml_parse(text, "f.xml", limits);
    return document.ok() ? "accepted" : document.error().what;
}

}  // namespace

TEST_CASE("elements come in order with their parents, lines and attributes") {
    const auto document = xml_parse(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE t SYSTEM \"t.dtd\">\n<!-- a\nb -->\n"
        "<t a='1'\n   b = \"x&amp;&#65;&#x42;&lt;&gt;&quot;&apos;\">\n <u/>\n text <v></v ></t>\n",
        "f.xml");
    REQUIRE(document.ok());
    const auto& elements = document.value().elements;
    REQUIRE(elements.size() == 3);
    CHECK(elements[0].name == "t");
    CHECK(elements[0].line == 5);
    CHECK(elements[0].parent == -1);
    CHECK(elements[0].text);
    CHECK(*elements[0].find("a") == "1");
    CHECK(*elements[0].find("b") == "x&AB<>\"'");
    CHECK(elements[0].find("c") == nullptr);
    CHECK(elements[1].name == "u");
    CHECK(elements[1].parent == 0);
    CHECK_FALSE(elements[1].text);
    CHECK(elements[2].line == 8);
    CHECK(elements[2].parent == 0);
}

TEST_CASE("what is not well formed is refused with its line") {
    CHECK(refusal("") == "f.xml:1: no element in the file");
    CHECK(refusal("<a>\n<b>\n</a>") == "f.xml:3: </a> ends <b> of line 2");
    CHECK(refusal("<a>\n<b>\n") == "f.xml:3: the file ends inside <b> of line 2");
    CHECK(refusal("<a/>\n<b/>") == "f.xml:2: a second element after the end of <a>");
    CHECK(refusal("<a/></a>") == "f.xml:1: </a> ends nothing");
    CHECK(refusal("x<a/>") == "f.xml:1: text outside of the root element");
    CHECK(refusal("<a b></a>") == "f.xml:1: attribute 'b' has no value");
    CHECK(refusal("<a b=c/>") == "f.xml:1: an attribute's value must stand in quotes");
    CHECK(refusal("<a b=\"1\"c=\"2\"/>") ==
          "f.xml:1: white space is missing before an attribute of <a>");
    CHECK(refusal("<a b=\"1\"\nb=\"2\"/>") == "f.xml:2: attribute 'b' stands twice in <a>");
    CHECK(refusal("<a b=\"<\"/>") == "f.xml:1: '<' inside an attribute's value (a missing quote?)");
    CHECK(refusal("\n<a b=\"1\n\n") == "f.xml:2: an attribute's value never ends");
    CHECK(refusal("<a b='&what;'/>") == "f.xml:1: entity '&what;' is unknown");
    CHECK(refusal("<a b='&#0;'/>") == "f.xml:1: '&#0;' is no character");
    CHECK(refusal("<a b='&#x1b;'/>") == "f.xml:1: '&#x1b;' is no character");
    CHECK(refusal("<a b='a & b'/>") == "f.xml:1: '&' does not start an entity (write &amp;)");
    CHECK(refusal("<a") == "f.xml:1: <a never ends");
    CHECK(refusal("<a / >") == "f.xml:1: '>' is expected after '/' in <a>");
    CHECK(refusal("<1a/>") == "f.xml:1: a name is expected here");
    CHECK(refusal("<a><!-- x -- y --></a>") == "f.xml:1: '--' inside the comment of line 1");
    CHECK(refusal("<a><!-- x </a>") == "f.xml:1: a comment never ends");
    CHECK(refusal("<a><![CDATA[x]]></a>") ==
          "f.xml:1: '<!' starts neither a comment nor a DOCTYPE");
    CHECK(refusal("<a><?php ?></a>") ==
          "f.xml:1: '<?' is only read as the XML declaration that starts a file");
    CHECK(refusal("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>") ==
          "f.xml:1: a DOCTYPE with declarations of its own is not read");
    CHECK(refusal(std::string_view("<a>\n\0</a>", 9)) ==
          "f.xml:2: character 0x00 is not allowed in XML");
}

TEST_CASE("size, depth, elements, attributes and values are bounded") {
    XmlLimits limits;
    limits.depth = 2;
    CHECK(refusal("<a><b/></a>", limits) == "accepted");
    CHECK(refusal("<a><b><c></c></b></a>", limits) == "f.xml:1: elements are nested deeper than 2");
    limits.elements = 2;
    CHECK(refusal("<a><b/><b/></a>", limits) == "f.xml:1: more than 2 elements");
    limits.attributes = 1;
    CHECK(refusal("<a b='' c=''/>", limits) == "f.xml:1: <a> has more than 1 attributes");
    limits.value_bytes = 3;
    CHECK(refusal("<a b='123'/>", limits) == "accepted");
    CHECK(refusal("<a b='1234'/>", limits) ==
          "f.xml:1: an attribute's value is longer than 3 bytes");
    limits.bytes = 3;
    CHECK(refusal("<a/>", limits) == "f.xml:1: the file has 4 bytes, at most 3 are read");
}

TEST_CASE("a file that is missing or too large is refused before it is looked at") {
    CHECK(xml_read("/nowhere/f.xml").error().what.find("/nowhere/f.xml") != std::string::npos);
    const TextFile file("<a></a>");
    CHECK(xml_read(file.path()).ok());
    XmlLimits limits;
    limits.bytes = 4;
    const auto refused = xml_read(file.path(), limits);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().what.find(file.path()) != std::string::npos);
}

TEST_CASE("quoted text cannot steer a terminal") {
    CHECK(printable("a\x1b[2J\xff") == "a?[2J?");
    CHECK(printable(std::string(100, 'x')) == std::string(60, 'x') + "...");
}
