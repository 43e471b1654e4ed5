// Printing and parsing share one table of words each way; a step is a line of words.
#include "src/plan/text.h"

#include <array>
#include <charconv>
#include <optional>

#include "src/base/log.h"
#include "src/plan/planner.h"

namespace weft::plan {

namespace {

constexpr std::string_view header = "weft-plan 1";
constexpr uint64_t ranks_max = 1u << 20;
constexpr uint64_t lanes_max = 1u << 10;
constexpr uint64_t steps_max = 1u << 16;  // After names a step in 16 bits
constexpr uint64_t scratch_slots_max = 1u << 20;

constexpr std::array kinds = {StepKind::grant, StepKind::put,    StepKind::wait,   StepKind::expose,
                              StepKind::copy,  StepKind::reduce, StepKind::release};
constexpr std::array algos = {Algo::direct, Algo::ring,  Algo::halving,  Algo::tree,
                              Algo::mesh,   Algo::chain, Algo::binomial, Algo::hier};

std::string operand_text(const Operand& operand) {
    static constexpr std::array<const char*, 4> names = {"-", "in", "out", "s"};
    std::string text = operand.peer >= 0 ? format("%d:", operand.peer) : "";
    text += names[static_cast<size_t>(operand.space)];
    return operand.space == Space::none ? text : text + std::to_string(operand.chunk);
}

const char* peer_word(StepKind kind) {
    return kind == StepKind::wait ? "from" : "to";
}

// Hosts joined by '/', each a list of ranks and ranges: 0-3/4,6,5
std::string hosts_text(const Cluster& cluster) {
    std::string text;
    for (const auto& host : cluster.hosts()) {
        text += text.empty() ? "" : "/";
        for (size_t at = 0; at < host.size();) {
            size_t end = at + 1;
            while (end < host.size() && host[end] == host[end - 1] + 1) {
                end++;
            }
            text += (at == 0 ? "" : ",") + std::to_string(host[at]);
            if (end - at > 1) {
                text += "-" + std::to_string(host[end - 1]);
            }
            at = end;
        }
    }
    return text;
}

std::string shape_text(const Shape& shape) {
    std::string text = format(
        "shape coll=%s algo=%s ranks=%d root=%d chunks=%u in=%u out=%u slots=%u loads=%d",
        to_string(shape.coll), to_string(shape.algo), shape.rank_count, shape.root, shape.chunks,
        shape.input_blocks, shape.output_blocks, shape.slots_min, shape.loads ? 1 : 0);
    if (shape.algo == Algo::hier && shape.cluster) {
        text += format(" inter=%s hosts=", to_string(shape.inter)) + hosts_text(*shape.cluster);
    }
    return text;
}

// The words of one line, taken from the front.
class Words {
  public:
    explicit Words(std::string_view line) : rest_(line) {}

    std::string_view peek() const {
        const size_t begin = rest_.find_first_not_of(" \t\r");
        if (begin == std::string_view::npos) {
            return {};
        }
        const size_t end = rest_.find_first_of(" \t\r", begin);
        return rest_.substr(begin, end == std::string_view::npos ? end : end - begin);
    }
    std::string_view take() {
        const std::string_view word = peek();
        rest_ = word.empty()
                    ? std::string_view()
                    : rest_.substr(static_cast<size_t>(word.data() - rest_.data()) + word.size());
        return word;
    }
    bool take_if(std::string_view wanted) {
        if (peek() != wanted) {
            return false;
        }
        take();
        return true;
    }
    bool empty() const { return peek().empty(); }

  private:
    std::string_view rest_;
};

std::optional<uint64_t> number(std::string_view text, uint64_t most) {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || error != std::errc() || at != end || value > most) {
        return std::nullopt;
    }
    return value;
}

bool starts(std::string_view text, std::string_view with) {
    return text.substr(0, with.size()) == with;
}

std::optional<Operand> operand_parse(std::string_view word) {
    Operand operand;
    const size_t colon = word.find(':');
    if (colon != std::string_view::npos) {
        const auto peer = number(word.substr(0, colon), ranks_max);
        if (!peer.has_value()) {
            return std::nullopt;
        }
        operand.peer = static_cast<int32_t>(*peer);
        word.remove_prefix(colon + 1);
    }
    static constexpr std::array<std::pair<const char*, Space>, 3> names = {
        {{"in", Space::input}, {"out", Space::output}, {"s", Space::scratch}}};
    for (const auto& [name, space] : names) {
        const std::string_view prefix(name);
        const auto chunk =
            starts(word, prefix) ? number(word.substr(prefix.size()), UINT32_MAX) : std::nullopt;
        if (chunk.has_value()) {
            operand.space = space;
            operand.chunk = static_cast<uint32_t>(*chunk);
            return operand;
        }
    }
    return std::nullopt;
}

// lane.step or lane.step-tiles
std::optional<After> after_parse(std::string_view word) {
    const size_t dot = word.find('.');
    if (dot == std::string_view::npos) {
        return std::nullopt;
    }
    const size_t dash = word.find('-', dot);
    const auto lane = number(word.substr(0, dot), UINT16_MAX);
    const auto step =
        number(word.substr(dot + 1, dash == std::string_view::npos ? std::string_view::npos
                                                                   : dash - dot - 1),
               UINT16_MAX);
    const auto back = dash == std::string_view::npos ? std::optional<uint64_t>(0)
                                                     : number(word.substr(dash + 1), UINT16_MAX);
    if (!lane.has_value() || !step.has_value() || !back.has_value()) {
        return std::nullopt;
    }
    return After{static_cast<uint16_t>(*lane), static_cast<uint16_t>(*step),
                 static_cast<uint16_t>(*back)};
}

// The part of `text` before the next `mark`, taken off it with the mark.
std::string_view part_take(std::string_view& text, char mark) {
    const std::string_view part = text.substr(0, text.find(mark));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    return part;
}

std::optional<std::vector<std::vector<int32_t>>> hosts_parse(std::string_view text) {
    std::vector<std::vector<int32_t>> hosts;
    uint64_t count = 0;
    while (!text.empty()) {
        auto& host = hosts.emplace_back();
        for (std::string_view list = part_take(text, '/'); !list.empty();) {
            std::string_view range = part_take(list, ',');
            const bool single = range.find('-') == range.npos;
            const auto first = number(part_take(range, '-'), ranks_max);
            const auto last = single ? first : number(range, ranks_max);
            if (!first || !last || *last < *first || (count += *last - *first + 1) > ranks_max) {
                return std::nullopt;
            }
            for (uint64_t rank = *first; rank <= *last; rank++) {
                host.push_back(static_cast<int32_t>(rank));
            }
        }
    }
    return hosts;
}

class Parser {
  public:
    Result<Plan> run(std::string_view text);

  private:
    Error bad(const std::string& what, std::string_view word) const {
        std::string text = format("plan text line %zu: ", line_) + what;
        if (!word.empty()) {
            text.append(", found \"").append(word.substr(0, 40)).append("\"");
        }
        return make_error(Code::invalid_argument, Scope::call, std::move(text));
    }
    Result<void> shape(Words words);
    Result<void> shape_levels(Words& words);
    Result<void> rank(Words words);
    Result<void> lane(Words words);
    Result<void> step(Words words);
    Result<void> step_peer(Words& words, Step& step);
    Result<void> step_end(Words& words, Step& step);
    Result<uint64_t> field(Words& words, std::string_view name, uint64_t most);
    template <class Value, size_t N>
    Result<Value> named(Words& words, std::string_view name, const std::array<Value, N>& values);

    Plan plan_;
    size_t line_ = 0;
    bool headed_ = false, shaped_ = false;
};

// name=<number>
Result<uint64_t> Parser::field(Words& words, std::string_view name, uint64_t most) {
    const std::string_view word = words.take();
    const auto value = starts(word, name) && word.size() > name.size() && word[name.size()] == '='
                           ? number(word.substr(name.size() + 1), most)
                           : std::nullopt;
    if (!value.has_value()) {
        return bad("expected " + std::string(name) + "=<0.." + std::to_string(most) + ">", word);
    }
    return *value;
}

// name=<word of the table>
template <class Value, size_t N>
Result<Value> Parser::named(Words& words, std::string_view name,
                            const std::array<Value, N>& values) {
    const std::string_view word = words.take();
    for (const Value value : values) {
        if (word == std::string(name) + "=" + to_string(value)) {
            return value;
        }
    }
    return bad("expected a known " + std::string(name) + "=", word);
}

Result<void> Parser::shape(Words words) {
    static constexpr std::array colls = {Coll::all_reduce, Coll::reduce_scatter, Coll::all_gather,
                                         Coll::broadcast,  Coll::reduce,         Coll::all_to_all,
                                         Coll::gather,     Coll::scatter,        Coll::send_recv};
    if (!words.take_if("shape")) {
        return bad("expected the shape line", words.peek());
    }
    Shape& shape = plan_.shape;
    shape.coll = TRY(named(words, "coll", colls));
    shape.algo = TRY(named(words, "algo", algos));
    shape.rank_count = static_cast<int32_t>(TRY(field(words, "ranks", ranks_max)));
    shape.root = static_cast<int32_t>(TRY(field(words, "root", ranks_max)));
    shape.chunks = static_cast<uint32_t>(TRY(field(words, "chunks", UINT32_MAX)));
    shape.input_blocks = static_cast<uint32_t>(TRY(field(words, "in", ranks_max)));
    shape.output_blocks = static_cast<uint32_t>(TRY(field(words, "out", ranks_max)));
    shape.slots_min = static_cast<uint32_t>(TRY(field(words, "slots", UINT32_MAX)));
    shape.loads = TRY(field(words, "loads", 1)) == 1;
    if (shape.algo == Algo::hier) {
        TRY(shape_levels(words));
    }
    if (!words.empty()) {
        return bad("nothing may follow the shape", words.peek());
    }
    shaped_ = true;
    return {};
}

Result<void> Parser::shape_levels(Words& words) {
    plan_.shape.inter = TRY(named(words, "inter", algos));
    const std::string_view word = words.take();
    const Result<ClusterRef> cluster =
        cluster_parse(starts(word, "hosts=") ? word.substr(6) : std::string_view());
    if (!cluster.ok()) {
        return bad("expected hosts=<ranks of one host>/<ranks of the next>, each rank once", word);
    }
    plan_.shape.cluster = cluster.value();
    return {};
}

Result<void> Parser::rank(Words words) {
    words.take();
    const std::string_view word = words.take();
    const auto value = number(word, ranks_max);
    const auto next = plan_.ranks.empty() ? 0 : plan_.ranks.back().rank + 1;
    if (!value.has_value() || !words.empty() || static_cast<int32_t>(*value) < next ||
        static_cast<int32_t>(*value) >= plan_.shape.rank_count) {
        return bad("expected rank <number>, growing and below the shape's ranks", word);
    }
    plan_.ranks.emplace_back().rank = static_cast<int32_t>(*value);
    return {};
}

Result<void> Parser::lane(Words words) {
    words.take();
    if (plan_.ranks.empty()) {
        return bad("a lane needs a rank line before it", {});
    }
    auto& lanes = plan_.ranks.back().lanes;
    if (lanes.size() >= lanes_max) {
        return bad("too many lanes", {});
    }
    const uint64_t slots = TRY(field(words, "scratch", scratch_slots_max));
    if (!words.empty()) {
        return bad("nothing may follow the scratch slots", words.peek());
    }
    lanes.emplace_back().scratch_slots = static_cast<uint32_t>(slots);
    return {};
}

Result<void> Parser::step_peer(Words& words, Step& step) {
    if (words.take_if(peer_word(step.kind))) {
        const std::string_view word = words.take();
        const auto peer = number(word, ranks_max);
        if (!peer.has_value()) {
            return bad("expected a rank", word);
        }
        step.peer = static_cast<int32_t>(*peer);
    }
    if (!words.take_if("chunk")) {
        return bad("expected `chunk <number>`", words.peek());
    }
    const std::string_view word = words.take();
    const auto chunk = number(word, UINT32_MAX);
    if (!chunk.has_value()) {
        return bad("expected a chunk number", word);
    }
    step.chunk = static_cast<uint32_t>(*chunk);
    return {};
}

Result<void> Parser::step_end(Words& words, Step& step) {
    step.finish = words.take_if("finish");
    if (words.take_if("after")) {
        do {
            const std::string_view word = words.take();
            const auto after = after_parse(word);
            if (!after.has_value()) {
                return bad("expected lane.step or lane.step-tiles", word);
            }
            step.after.push_back(*after);
        } while (!words.empty());
    }
    if (!words.empty()) {
        return bad("expected the end of the step", words.peek());
    }
    return {};
}

Result<void> Parser::step(Words words) {
    if (plan_.ranks.empty() || plan_.ranks.back().lanes.empty()) {
        return bad("a step needs a lane line before it", words.peek());
    }
    auto& steps = plan_.ranks.back().lanes.back().steps;
    if (steps.size() >= steps_max) {
        return bad("too many steps in one lane", {});
    }
    Step step;
    const std::string_view word = words.take();
    bool known = false;
    for (const StepKind kind : kinds) {
        if (word == to_string(kind)) {
            step.kind = kind;
            known = true;
        }
    }
    if (!known) {
        return bad("expected a rank, a lane or a step", word);
    }
    if (const auto dst = operand_parse(words.peek()); dst.has_value()) {
        step.dst = *dst;
        words.take();
    }
    if (words.take_if("<-")) {
        while (const auto src = operand_parse(words.peek())) {
            step.src.push_back(*src);
            words.take();
        }
        if (step.src.empty()) {
            return bad("expected an operand", words.peek());
        }
    }
    TRY(step_peer(words, step));
    TRY(step_end(words, step));
    steps.push_back(std::move(step));
    return {};
}

Result<Plan> Parser::run(std::string_view text) {
    if (text.size() > plan_text_bytes_max) {
        return bad("the text is too long", {});
    }
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        const Words words(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        line_++;
        const std::string_view first = words.peek();
        if (first.empty() || first[0] == '#') {
            continue;
        }
        if (!headed_) {
            Words whole = words;
            if (!whole.take_if("weft-plan") || !whole.take_if("1") || !whole.empty()) {
                return bad("expected `weft-plan 1`", first);
            }
            headed_ = true;
        } else if (!shaped_) {
            TRY(shape(words));
        } else if (first == "rank") {
            TRY(rank(words));
        } else if (first == "lane") {
            TRY(lane(words));
        } else {
            TRY(step(words));
        }
    }
    if (!shaped_) {
        return bad("the text ends before its shape line", {});
    }
    return std::move(plan_);
}

}  // namespace

const char* to_string(StepKind kind) {
    switch (kind) {
        case StepKind::grant:
            return "grant";
        case StepKind::put:
            return "put";
        case StepKind::wait:
            return "wait";
        case StepKind::expose:
            return "expose";
        case StepKind::copy:
            return "copy";
        case StepKind::reduce:
            return "reduce";
        case StepKind::release:
            return "release";
    }
    return "?";
}

std::string step_text(const Step& step) {
    std::string text = to_string(step.kind);
    if (step.dst.space != Space::none) {
        text.append(" ").append(operand_text(step.dst));
    }
    if (!step.src.empty()) {
        text += " <-";
        for (const Operand& src : step.src) {
            text.append(" ").append(operand_text(src));
        }
    }
    if (step.peer >= 0) {
        text += format(" %s %d", peer_word(step.kind), step.peer);
    }
    text += format(" chunk %u", step.chunk);
    if (step.finish) {
        text += " finish";
    }
    if (!step.after.empty()) {
        text += " after";
        for (const After& after : step.after) {
            text += format(" %u.%u", after.lane, after.step);
            text += after.tiles_back > 0 ? format("-%u", after.tiles_back) : "";
        }
    }
    return text;
}

std::string plan_text(const Plan& plan) {
    std::string text = std::string(header) + "\n" + shape_text(plan.shape) + "\n";
    for (const RankPlan& rank : plan.ranks) {
        text += format("rank %d\n", rank.rank);
        for (const Lane& lane : rank.lanes) {
            text += format("lane scratch=%u\n", lane.scratch_slots);
            for (const Step& step : lane.steps) {
                text += step_text(step) + "\n";
            }
        }
    }
    return text;
}

Result<ClusterRef> cluster_parse(std::string_view text) {
    auto hosts = hosts_parse(text);
    if (!hosts.has_value()) {
        return make_error(Code::invalid_argument, Scope::call,
                          format("hosts \"%.*s\": expected lists of ranks as in 0-3/4,6,5",
                                 static_cast<int>(std::min<size_t>(text.size(), 64)), text.data()));
    }
    ClusterRef cluster;
    cluster.at = TRY(Cluster::of(std::move(*hosts)));
    return cluster;
}

Result<Plan> plan_parse(std::string_view text) {
    return Parser().run(text);
}

}  // namespace weft::plan
