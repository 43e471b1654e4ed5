#include "src/plan/algo_list.h"

#include <algorithm>
#include <cctype>
#include <iterator>

#include "src/base/log.h"
#include "src/plan/planner.h"

namespace weft::plan {

namespace {

constexpr Algo owned[] = {Algo::direct, Algo::ring};
constexpr std::string_view foreign[] = {"tree", "collnetdirect", "collnetchain",
                                        "nvls", "nvlstree",      "pat"};

// NCCL's lists know the first five; the others have one algorithm only, here as there.
struct Function {
    std::string_view name;
    Coll coll;
};
constexpr Function functions[] = {
    {"allreduce", Coll::all_reduce},
    {"broadcast", Coll::broadcast},
    {"reduce", Coll::reduce},
    {"allgather", Coll::all_gather},
    {"reducescatter", Coll::reduce_scatter},
    {"alltoall", Coll::all_to_all},
    {"gather", Coll::gather},
    {"scatter", Coll::scatter},
    {"sendrecv", Coll::send_recv},
};

bool same_word(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
        return std::tolower(x) == std::tolower(y);
    });
}

bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

std::string_view unpadded(std::string_view text) {
    while (!text.empty() && is_blank(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_blank(text.back())) {
        text.remove_suffix(1);
    }
    return text;
}

// What stands before the next `mark`; it and the mark are taken off `rest`.
std::string_view next_part(std::string_view& rest, char mark) {
    const std::string_view part = rest.substr(0, rest.find(mark));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    return unpadded(part);
}

Error refusal(std::string_view text, std::string_view piece, const char* why) {
    constexpr size_t most = 64;  // of what may be any text
    piece = piece.substr(0, most);
    text = text.substr(0, most);
    return make_error(Code::invalid_argument, Scope::call,
                      format("algorithm list \"%.*s\": \"%.*s\" %s", static_cast<int>(text.size()),
                             text.data(), static_cast<int>(piece.size()), piece.data(), why));
}

struct Names {
    std::optional<Algo> first;
    bool named[std::size(owned)] = {};
};

// Empty names (a stray comma) are skipped, as NCCL does, but not all may be empty.
Result<Names> names_parse(std::string_view text, std::string_view list) {
    Names found;
    size_t count = 0;
    for (std::string_view rest = list; !rest.empty();) {
        const std::string_view name = next_part(rest, ',');
        if (name.empty()) {
            continue;
        }
        count++;
        const auto* const own = std::find_if(std::begin(owned), std::end(owned), [&](Algo algo) {
            return same_word(name, to_string(algo));
        });
        if (own != std::end(owned)) {
            found.named[own - owned] = true;
            found.first = found.first.value_or(*own);
        } else if (std::none_of(std::begin(foreign), std::end(foreign),
                                [&](std::string_view word) { return same_word(name, word); })) {
            return refusal(text, name,
                           "is no algorithm: use direct or ring, names of NCCL's others (tree, "
                           "collnetdirect, collnetchain, nvls, nvlstree, pat), or leave the "
                           "setting out to have one chosen");
        }
    }
    if (count == 0) {
        return refusal(text, list, "names no algorithm: use direct, ring, or both");
    }
    return found;
}

Result<AlgoWish> wish_parse(std::string_view text, std::string_view list) {
    const bool all_but = !list.empty() && list.front() == '^';
    const Names names = TRY(names_parse(text, list.substr(all_but ? 1 : 0)));
    AlgoWish wish;
    wish.algo = names.first;
    if (all_but) {
        const auto left = std::count(std::begin(names.named), std::end(names.named), false);
        const auto* const kept = std::find(std::begin(names.named), std::end(names.named), false);
        wish.algo.reset();
        if (left == 1) {
            wish.algo = owned[kept - names.named];
        }
        if (left > 0) {
            return wish;
        }
    }
    if (!wish.algo.has_value()) {
        wish.unmet = list;
    }
    return wish;
}

}  // namespace

Result<AlgoWish> algo_list_parse(std::string_view text, Coll coll) {
    AlgoWish wish;
    std::string_view rest = unpadded(text);
    for (bool is_first = true; !rest.empty(); is_first = false) {
        std::string_view entry = next_part(rest, ';');
        if (entry.find(':') == entry.npos) {
            if (!is_first) {
                return refusal(text, entry,
                               "names no function: all entries but the first begin with one, as in "
                               "ring;allreduce:direct");
            }
            wish = TRY(wish_parse(text, entry));
            continue;
        }
        const std::string_view name = next_part(entry, ':');
        const auto* const function =
            std::find_if(std::begin(functions), std::end(functions),
                         [&](const Function& known) { return same_word(known.name, name); });
        if (function == std::end(functions)) {
            return refusal(text, name,
                           "is no function: use allreduce, broadcast, reduce, allgather or "
                           "reducescatter");
        }
        AlgoWish own = TRY(wish_parse(text, unpadded(entry)));
        if (function->coll == coll) {
            wish = std::move(own);
        }
    }
    return wish;
}

std::string algo_list_warning(std::string_view text) {
    std::string lists;
    for (const Function& function : functions) {
        const Result<AlgoWish> wish = algo_list_parse(text, function.coll);
        if (!wish.ok()) {
            return "";
        }
        const std::string& unmet = wish.value().unmet;
        if (!unmet.empty() && lists.find('"' + unmet + '"') == lists.npos) {
            lists += (lists.empty() ? "\"" : ", \"") + unmet + '"';
        }
    }
    return lists.empty() ? ""
                         : lists +
                               " names nothing Weft has (direct, ring): algorithms are chosen "
                               "as if it were not set";
}

}  // namespace weft::plan
