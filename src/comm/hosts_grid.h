// Hosts in a grid: those of a line exchange with each other directly. So many hosts as may, are one
// line; of more, each is in a row and in a column, and what goes between all takes two exchanges,
// one in each, with far fewer and larger messages. A host's number is its place, row by row, so
// what is for a row's hosts lies together. Pure. Thread rule: values. Failure rule: none.
#pragma once

#include <cstdint>
#include <vector>

namespace weft {

// Hosts of a line, by direction; none: they make no grid whose lines have at most `line_max`.
inline std::vector<uint64_t> hosts_grid(uint64_t hosts, uint64_t line_max) {
    if (hosts <= line_max) {
        return {hosts};
    }
    std::vector<uint64_t> found;
    for (uint64_t rows = 2; rows * rows <= hosts; rows++) {
        if (hosts % rows == 0 && hosts / rows <= line_max) {
            found = {hosts / rows, rows};  // the nearest to a square comes last
        }
    }
    return found;
}

// One line of a host's.
struct HostsLine {
    uint64_t count = 1;   // hosts of it
    uint64_t own = 0;     // this one's place
    uint64_t stride = 1;  // from one host's number to the next one's
    uint64_t base = 0;    // the first one's

    uint64_t host(uint64_t i) const { return base + i * stride; }
    // Of any host, in its line of this direction.
    uint64_t place_of(uint64_t host) const { return host / stride % count; }
    // Where the blocks begin that are for the i-th: `stride` of them.
    uint64_t blocks(uint64_t i) const { return base - base % stride + i * stride; }
    // Among those that are not this one.
    uint64_t other(uint64_t i) const { return i < own ? i : i - 1; }
    template <class Each>  // void(uint64_t i)
    void others(Each each) const {
        for (uint64_t i = 0; i < count; i++) {
            if (i != own) {
                each(i);
            }
        }
    }
};

// Columns, which are the longer ones, before rows.
inline std::vector<HostsLine> hosts_lines(uint64_t hosts, uint64_t host, uint64_t line_max) {
    std::vector<HostsLine> lines;
    uint64_t stride = hosts;
    for (const uint64_t count : hosts_grid(hosts, line_max)) {
        stride /= count;
        const uint64_t own = host / stride % count;
        lines.push_back({count, own, stride, host - own * stride});
    }
    return lines;
}

}  // namespace weft
