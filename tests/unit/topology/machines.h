// Small machines for tests: a text of one word a place or device, indented by what it is in.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "topology/graph.h"
#include "topology/rails.h"

namespace weft::topology {

inline void grow(Machine& machine, int32_t parent, std::istream& words);

// "numa 0 ( bridge 01:00.0 ( gpu 02:00.0 efa 03:00.0 ) ) eth 04:00.0"
inline Machine machine_sketch(const std::string& text) {
    Machine machine;
    machine.places.push_back(Place{});
    std::string spaced;
    for (const char c : text) {
        spaced += c == '(' || c == ')' ? std::string{' ', c, ' '} : std::string(1, c);
    }
    std::istringstream words(spaced);
    grow(machine, 0, words);
    machine_sort(machine);
    return machine;
}

inline void grow(Machine& machine, int32_t parent, std::istream& words) {
    std::string kind;
    std::string name;
    while (words >> kind && kind != ")") {
        words >> name;
        const auto address = pci_address_parse(name);
        if (kind == "gpu") {
            machine.gpus.push_back(
                Gpu{*address, vendor_nvidia, 0x2330, parent, place_numa(machine, parent), 0, 0});
        } else if (kind == "numa" || kind == "package" || kind == "bridge" || kind == "host") {
            Place place{kind == "numa"      ? PlaceKind::numa
                        : kind == "package" ? PlaceKind::package
                        : kind == "bridge"  ? PlaceKind::bridge
                                            : PlaceKind::host_bridge,
                        parent, address ? -1 : std::atoi(name.c_str()), address};
            machine.places.push_back(place);
            std::string bracket;
            words >> bracket;
            grow(machine, static_cast<int32_t>(machine.places.size()) - 1, words);
        } else {
            Nic nic;
            nic.kind = kind == "efa"     ? NicKind::efa
                       : kind == "verbs" ? NicKind::verbs
                       : kind == "eth"   ? NicKind::ethernet
                                         : NicKind::unknown;
            nic.address = address;
            nic.name = address ? "" : name;
            nic.vendor = nic.kind == NicKind::efa ? vendor_amazon : 0;
            nic.device = nic.kind == NicKind::efa ? 0xefa1 : 0;
            nic.place = parent;
            nic.numa = place_numa(machine, parent);
            machine.nics.push_back(nic);
        }
    }
}

// "0 1 / 2 3": the rails of every rank.
inline std::string rails_sketch(const RailMap& map) {
    std::string text;
    for (const auto& rails : map.by_rank) {
        text += &rails == &map.by_rank.front() ? "" : "/";
        for (const int32_t rail : rails) {
            text += " " + std::to_string(rail);
        }
        text += " ";
    }
    return text;
}

// A file with this text, gone at the end of the test.
class TextFile {
  public:
    explicit TextFile(const std::string& text) {
        char name[] = "/tmp/weft-topology-XXXXXX";
        const int fd = mkstemp(name);
        path_ = name;
        std::ofstream(path_) << text;
        ::close(fd);
    }
    ~TextFile() { std::remove(path_.c_str()); }
    TextFile(const TextFile&) = delete;
    TextFile& operator=(const TextFile&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace weft::topology
