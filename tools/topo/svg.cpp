#include "tools/topo/svg.h"

#include <algorithm>
#include <map>

#include "src/base/log.h"
#include "tools/common/output.h"

namespace weft::topo {

using namespace topology;

namespace {

constexpr int device_width = 112;
constexpr int device_height = 36;
constexpr int letter_width = 7;  // about, at the size of the text
constexpr int gap = 10;
constexpr int link_gap = 44;  // between ranks and rails, room for the lines
constexpr int title_height = 20;
constexpr int row_width_max = 1100;

enum class Kind { place, rank, rail };

struct Box {
    Kind kind = Kind::place;
    std::string title;
    std::string detail;
    std::vector<int32_t> ranks;  // of a Kind::rank box
    int32_t rail = -1;
    int x = 0, y = 0, width = 0, height = 0;  // x and y relative to the box around it
    std::vector<Box> inside;
};

Box device_box(Kind kind, std::string title, std::string detail) {
    Box box;
    box.kind = kind;
    box.title = std::move(title);
    box.detail = std::move(detail);
    const size_t letters = std::max(box.title.size(), box.detail.size());
    box.width = std::max(device_width, static_cast<int>(letters) * letter_width + 2 * gap);
    box.height = device_height;
    return box;
}

class Builder {
  public:
    explicit Builder(const View& view) : view_(view), children_(view.machine.places.size()) {
        for (size_t i = 1; i < view.machine.places.size(); ++i) {
            children_[static_cast<size_t>(view.machine.places[i].parent)].push_back(i);
        }
    }
    Box build() { return place(0); }

  private:
    Box place(size_t index) {
        Box box;
        box.title = place_label(view_.machine.places[index]);
        devices(index, box);
        for (const size_t child : children_[index]) {
            Box inner = place(child);
            const PlaceKind kind = view_.machine.places[child].kind;
            const bool bridge = kind == PlaceKind::bridge || kind == PlaceKind::host_bridge;
            if (bridge && inner.inside.size() == 1) {
                box.inside.push_back(std::move(inner.inside[0]));
            } else if (!bridge || !inner.inside.empty()) {
                box.inside.push_back(std::move(inner));
            }
        }
        return box;
    }

    void devices(size_t index, Box& box) {
        const auto here = static_cast<int32_t>(index);
        const Machine& machine = view_.machine;
        for (size_t i = 0; i < machine.gpus.size(); ++i) {
            if (machine.gpus[i].place == here) {
                const std::string ranks = ranks_of_gpu(view_, i);
                Box gpu = device_box(
                    Kind::rank, "GPU " + std::to_string(i) + (ranks.empty() ? "" : ": " + ranks),
                    to_string(machine.gpus[i].address));
                add_ranks(gpu, [&](size_t rank) {
                    return view_.rank_gpus[rank] == static_cast<int32_t>(i);
                });
                box.inside.push_back(std::move(gpu));
            }
        }
        const std::string loose = ranks_of_place(view_, index);
        if (!loose.empty()) {
            Box cores = device_box(Kind::rank, loose, "cores");
            add_ranks(cores, [&](size_t rank) {
                return view_.rank_gpus[rank] < 0 && view_.rank_places[rank] == here;
            });
            box.inside.push_back(std::move(cores));
        }
        for (size_t i = 0; i < machine.nics.size(); ++i) {
            const Nic& nic = machine.nics[i];
            if (nic.place == here && rail_of(view_, i) >= 0) {
                const std::string kind = nic.kind == NicKind::efa ? " (EFA)" : "";
                Box box_of_nic =
                    device_box(Kind::rail, "rail " + std::to_string(rail_of(view_, i)) + kind,
                               nic.address ? to_string(*nic.address) : nic.name);
                box_of_nic.rail = rail_of(view_, i);
                box.inside.push_back(std::move(box_of_nic));
            }
        }
    }

    template <class Fits>
    void add_ranks(Box& box, Fits fits) {
        for (size_t rank = 0; rank < view_.rank_places.size(); ++rank) {
            if (fits(rank)) {
                box.ranks.push_back(static_cast<int32_t>(rank));
            }
        }
    }

    const View& view_;
    std::vector<std::vector<size_t>> children_;
};

// Boxes of one kind from left to right, in rows; returns the height they take.
int rows(Box& box, Kind kind, int top) {
    int x = gap;
    int y = top;
    int row_height = 0;
    for (Box& inner : box.inside) {
        if (inner.kind != kind) {
            continue;
        }
        if (x > gap && x + inner.width > row_width_max) {
            x = gap;
            y += row_height + gap;
            row_height = 0;
        }
        inner.x = x;
        inner.y = y;
        x += inner.width + gap;
        row_height = std::max(row_height, inner.height);
        box.width = std::max(box.width, x);
    }
    return row_height == 0 ? top : y + row_height;
}

void arrange(Box& box) {
    if (box.kind != Kind::place) {
        return;
    }
    for (Box& inner : box.inside) {
        arrange(inner);
    }
    box.width = static_cast<int>(box.title.size()) * letter_width + 2 * gap;
    const int top = title_height + gap;
    const int ranks_end = rows(box, Kind::rank, top);
    const int rails_end = rows(box, Kind::rail, ranks_end > top ? ranks_end + link_gap : top);
    const int places_top = rails_end > top ? rails_end + link_gap : top;
    const int places_end = rows(box, Kind::place, places_top);
    box.height = (places_end > places_top ? places_end : rails_end) + gap;
}

struct Point {
    int x = 0, y = 0;
};

struct Drawing {
    std::string boxes;
    std::map<int32_t, Point> ranks;  // middle of the lower edge
    std::map<int32_t, Point> rails;  // middle of the upper edge
};

void draw(const Box& box, int x, int y, Drawing& drawing) {
    const char* const fill = box.kind == Kind::rank   ? "#d9ead3"
                             : box.kind == Kind::rail ? "#cfe2f3"
                                                      : "none";
    drawing.boxes += format(
        "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" fill=\"%s\" "
        "stroke=\"#666\"/>\n",
        x, y, box.width, box.height, fill);
    drawing.boxes += format("<text x=\"%d\" y=\"%d\">%s</text>\n", x + 6, y + 15,
                            tools::xml_escaped(box.title).c_str());
    if (!box.detail.empty()) {
        drawing.boxes += format("<text x=\"%d\" y=\"%d\" fill=\"#555\">%s</text>\n", x + 6, y + 29,
                                tools::xml_escaped(box.detail).c_str());
    }
    for (const int32_t rank : box.ranks) {
        drawing.ranks[rank] = {x + box.width / 2, y + box.height};
    }
    if (box.kind == Kind::rail) {
        drawing.rails[box.rail] = {x + box.width / 2, y};
    }
    for (const Box& inner : box.inside) {
        draw(inner, x + inner.x, y + inner.y, drawing);
    }
}

std::string lines(const View& view, const Drawing& drawing) {
    constexpr const char* colours[] = {"#c0392b", "#2471a3", "#1e8449", "#b9770e",
                                       "#7d3c98", "#117a65", "#5d6d7e", "#a04000"};
    std::string text;
    for (size_t rank = 0; rank < view.rails.by_rank.size(); ++rank) {
        for (const int32_t rail : view.rails.by_rank[rank]) {
            const Point from = drawing.ranks.at(static_cast<int32_t>(rank));
            const Point to = drawing.rails.at(rail);
            text += format(
                "<path d=\"M %d %d C %d %d %d %d %d %d\" fill=\"none\" stroke=\"%s\" "
                "stroke-width=\"1.5\"/>\n",
                from.x, from.y, from.x, from.y + link_gap / 2, to.x, to.y - link_gap / 2, to.x,
                to.y, colours[rank % std::size(colours)]);
        }
    }
    return text;
}

}  // namespace

std::string machine_svg(const View& view) {
    Box machine = Builder(view).build();
    arrange(machine);
    Drawing drawing;
    draw(machine, gap, gap, drawing);
    const int width = machine.width + 2 * gap;
    const int height = machine.height + 2 * gap;
    return format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
               "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"11\">\n"
               "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
               width, height, width, height, width, height) +
           drawing.boxes + lines(view, drawing) + "</svg>\n";
}

}  // namespace weft::topo
