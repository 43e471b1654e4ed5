#include "tools/efa_device/core/spec.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "src/base/log.h"
#include "src/base/names.h"
#include "tools/efa_device/core/words.h"
#include "topology/discover.h"
#include "topology/profiles.h"
#include "topology/xml.h"

namespace weft::efa {

using topology::printable;

namespace {

struct CapRow {
    const char* name;
    uint32_t bit;
};

constexpr CapRow cap_rows[] = {
    {"read", caps_read},   {"rnr-retry", caps_rnr_retry},     {"cq-sgid", caps_cq_sgid},
    {"write", caps_write}, {"unsolicited", caps_unsolicited}, {"none", 0},
};

constexpr std::string_view key_names[] = {
    "nics",  "profile",     "xml",          "rate",  "part",      "caps",
    "pages", "total-pages", "seed",         "delay", "reorder",   "torn",
    "gone",  "retransmit",  "unresponsive", "twice", "duplicate",
};

// The way rdma-core's rdma_rename names them: PCI domain where there is one, bus and slot in
// decimal.
std::string nic_name(const topology::PciAddress& address) {
    const std::string domain = address.domain == 0 ? "" : format("P%u", address.domain);
    return format("rdma%sp%us%u", domain.c_str(), address.bus, address.device) +
           (address.function == 0 ? "" : format("f%u", address.function));
}

// Buses far enough apart that each NIC seems to have a bridge of its own.
std::vector<NicSpec> nics_plain(uint32_t nics) {
    std::vector<NicSpec> list;
    const uint32_t step = std::max(1U, std::min(16U, 224 / nics));
    for (uint32_t i = 0; i < nics; ++i) {
        NicSpec nic;
        nic.address.bus = static_cast<uint8_t>(16 + i * step);
        nic.address.device = 27;
        nic.name = nic_name(nic.address);
        list.push_back(nic);
    }
    return list;
}

// What each generation of the device can do (docs/EFA-DEVICE.md has the sources).
uint32_t caps_of_part(uint16_t part) {
    const uint32_t old = caps_rnr_retry | caps_cq_sgid;
    return part == 0xefa0 ? old | caps_read : caps_all;
}

Result<std::vector<NicSpec>> nics_of_profile(std::string_view name) {
    const topology::Profile* profile = TRY(topology::profile_find(name));
    if (!profile->rails) {
        return wrong(
            format("how many EFA devices a %s has is not known; say nics=N", profile->name));
    }
    std::vector<NicSpec> nics = nics_plain(static_cast<uint32_t>(*profile->rails));
    for (NicSpec& nic : nics) {
        nic.rate = profile->rail_rate.value_or(0);
        nic.part = profile->efa_device.value_or(0xefa2);
    }
    return nics;
}

Result<std::vector<NicSpec>> nics_of_file(std::string_view path) {
    const topology::Machine machine = TRY(topology::machine_read(std::string(path)));
    std::vector<NicSpec> nics;
    for (const topology::Nic& from : machine.nics) {
        if (from.kind != topology::NicKind::efa || !from.address) {
            continue;
        }
        NicSpec nic;
        nic.address = *from.address;
        nic.name = nic_name(nic.address);
        nic.rate = from.line_rate;
        nic.part = from.device != 0 ? from.device : nic.part;
        nics.push_back(nic);
    }
    if (nics.empty() || nics.size() > nic_max) {
        return wrong(format("%s: has %zu EFA devices; 1 to %u are possible",
                            printable(path).c_str(), nics.size(), nic_max));
    }
    return nics;
}

Result<uint32_t> caps_parse(std::string_view value) {
    uint32_t caps = 0;
    while (!value.empty()) {
        const size_t end = std::min(value.find('+'), value.size());
        const std::string_view name = value.substr(0, end);
        value.remove_prefix(std::min(end + 1, value.size()));
        std::vector<std::string_view> names;
        const CapRow* found = nullptr;
        for (const CapRow& row : cap_rows) {
            names.emplace_back(row.name);
            found = name == row.name ? &row : found;
        }
        if (found == nullptr) {
            return wrong("capability '" + printable(name) + "' is unknown; the nearest one is " +
                         std::string(nearest_name(name, names)));
        }
        caps |= found->bit;
    }
    return caps;
}

Result<uint16_t> part_parse(std::string_view value) {
    if (value.size() == 4 && value.substr(0, 3) == "efa" && value[3] >= '0' && value[3] <= '4') {
        return static_cast<uint16_t>(0xefa0 + (value[3] - '0'));
    }
    return wrong("'" + printable(value) + "': expected efa0 to efa4");
}

// The first pass: what the machine has.
Result<bool> machine_set(Spec& spec, std::string_view key, std::string_view value) {
    if (key == "nics") {
        spec.nics = nics_plain(static_cast<uint32_t>(TRY(number_word(value, 1, nic_max))));
    } else if (key == "profile") {
        spec.nics = TRY(nics_of_profile(value));
    } else if (key == "xml") {
        spec.nics = TRY(nics_of_file(value));
    } else {
        return false;
    }
    spec.caps = caps_of_part(key == "nics" ? 0xefa2 : spec.nics[0].part);
    return true;
}

Result<bool> part_set(Spec& spec, std::string_view key, std::string_view value) {
    if (key != "part") {
        return false;
    }
    const uint16_t part = TRY(part_parse(value));
    for (NicSpec& nic : spec.nics) {
        nic.part = part;
    }
    spec.caps = caps_of_part(part);
    return true;
}

Result<bool> nic_set(Spec& spec, std::string_view key, std::string_view value) {
    if (key == "rate") {
        const int64_t rate = TRY(rate_word(value));
        for (NicSpec& nic : spec.nics) {
            nic.rate = rate;
        }
    } else if (key == "caps") {
        spec.caps = TRY(caps_parse(value));
    } else if (key == "pages") {
        spec.limits.pages = static_cast<uint64_t>(TRY(number_word(value, 1, INT64_MAX)));
    } else if (key == "total-pages") {
        spec.limits.total_pages = static_cast<uint64_t>(TRY(number_word(value, 1, INT64_MAX)));
    } else {
        return false;
    }
    return true;
}

Result<bool> network_set(Spec& spec, std::string_view key, std::string_view value) {
    if (key == "seed") {
        spec.seed = static_cast<uint64_t>(TRY(number_word(value, 0, INT64_MAX)));
    } else if (key == "delay") {
        spec.delay = TRY(time_word(value));
    } else if (key == "reorder") {
        spec.reorder = TRY(time_word(value));
    } else if (key == "duplicate") {
        spec.duplicate_ppm = TRY(chance_word(value));
    } else if (key == "twice") {
        spec.twice_ppm = TRY(chance_word(value));
    } else if (key == "torn") {
        spec.torn = value.empty() || TRY(number_word(value, 0, 1)) == 1;
    } else if (key == "retransmit") {
        spec.retransmit = TRY(time_word(value));
    } else if (key == "unresponsive") {
        spec.unresponsive = TRY(time_word(value));
    } else if (key == "gone") {
        spec.gone = TRY(time_word(value));
    } else {
        return false;
    }
    return true;
}

using Setter = Result<bool> (*)(Spec&, std::string_view, std::string_view);

// `rest`: keys that this pass does not know are for another one.
Result<void> pass(Spec& spec, std::string_view text, Setter setter) {
    while (!text.empty()) {
        const size_t end = std::min(text.find(','), text.size());
        const std::string_view word = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const auto [key, value] = key_value(word);
        const bool known =
            std::find(std::begin(key_names), std::end(key_names), key) != std::end(key_names);
        if (!known) {
            return wrong("WEFT_EFA_DEVICE: word '" + printable(word) +
                         "' is unknown; the nearest key is " +
                         std::string(nearest_name(key, key_names)));
        }
        const Result<bool> set = setter(spec, key, value);
        if (!set.ok()) {
            return wrong("WEFT_EFA_DEVICE: word '" + printable(word) + "': " + set.error().what);
        }
    }
    return {};
}

// Order in the text has no meaning but within a pass: a rate changes what the profile said, and
// capabilities what the generation has.
Result<void> passes(Spec& spec, std::string_view text) {
    for (const Setter setter : {machine_set, part_set, nic_set, network_set}) {
        TRY(pass(spec, text, setter));
    }
    return {};
}

Result<std::string> faults_text(const std::string& text) {
    if (text.empty() || text[0] != '@') {
        return text;
    }
    std::ifstream file(text.substr(1));
    std::stringstream content;
    content << file.rdbuf();
    if (!file) {
        return wrong("WEFT_EFA_DEVICE_FAULTS: cannot read " + printable(text.substr(1)) + ": " +
                     std::strerror(errno != 0 ? errno : ENOENT));
    }
    return content.str();
}

}  // namespace

Result<Spec> spec_parse(std::string_view text) {
    Spec spec;
    spec.nics = nics_plain(1);
    TRY(passes(spec, text));
    return spec;
}

Result<Spec> spec_read(const SpecTexts& texts) {
    Spec spec = TRY(spec_parse(texts.device));
    if (!texts.host.empty()) {
        const Result<int64_t> host = number_word(texts.host, 0, UINT32_MAX);
        if (!host.ok()) {
            return wrong("WEFT_EFA_DEVICE_HOST: " + host.error().what);
        }
        spec.host = static_cast<uint32_t>(host.value());
    }
    const std::string script = TRY(faults_text(texts.faults));
    spec.faults = TRY(faults_parse(script));
    for (const Fault& fault : spec.faults) {
        if (fault.nic && *fault.nic >= spec.nics.size()) {
            return wrong(
                format("WEFT_EFA_DEVICE_FAULTS: a fault names nic=%u; there are %zu, from 0",
                       *fault.nic, spec.nics.size()));
        }
    }
    return spec;
}

}  // namespace weft::efa
