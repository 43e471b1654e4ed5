#include "src/plan/algo_list.h"

#include <algorithm>
#include <cctype>
#include <iterator>

#include "src/base/log.h"
#include "src/plan/planner.h"

namespace weft::plan {

namespace {

constexpr Algo owned[] = {Algo::direct, Algo::ring,  Algo::halving,  Algo::tree,
                          Algo::mesh,   Algo::chain, Algo::binomial, Algo::hier};
constexpr Algo between_hosts[] = {Algo::ring, Algo::mesh, Algo::halving, Algo::tree};
constexpr std::string_view foreign[] = {"collnetdirect", "collnetchain", "nvls", "nvlstree", "pat"};

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
                      format("list \"%.*s\": \"%.*s\" %s", static_cast<int>(text.size()),
                             text.data(), static_cast<int>(piece.size()), piece.data(), why));
}

Result<const Function*> function_find(std::string_view text, std::string_view name) {
    const Function* const found =
        std::find_if(std::begin(functions), std::end(functions),
                     [&](const Function& known) { return same_word(known.name, name); });
    if (found == std::end(functions)) {
        return refusal(text, name,
                       "is no function: use allreduce, broadcast, reduce, allgather or "
                       "reducescatter");
    }
    return found;
}

template <size_t N>
const Algo* find_word(std::string_view word, const Algo (&among)[N]) {
    const auto* const found = std::find_if(std::begin(among), std::end(among), [&](Algo algo) {
        return same_word(word, to_string(algo));
    });
    return found == std::end(among) ? nullptr : found;
}

constexpr std::string_view hier_mark = "hier:";

bool begins_hier(std::string_view name) {
    return name.size() >= hier_mark.size() &&
           same_word(name.substr(0, hier_mark.size()), hier_mark);
}

// Empty names (a stray comma) are skipped, as NCCL does, but not all may be empty.
Result<std::vector<AlgoName>> names_parse(std::string_view text, std::string_view list) {
    std::vector<AlgoName> found;
    size_t count = 0;
    for (std::string_view rest = list; !rest.empty();) {
        const std::string_view name = next_part(rest, ',');
        if (name.empty()) {
            continue;
        }
        count++;
        if (begins_hier(name)) {
            const Algo* inter = find_word(unpadded(name.substr(hier_mark.size())), between_hosts);
            if (inter == nullptr) {
                return refusal(text, name,
                               "is no algorithm: between hosts use ring, mesh, halving or tree, as "
                               "in hier:mesh");
            }
            found.push_back({Algo::hier, *inter});
        } else if (const Algo* own = find_word(name, owned)) {
            found.push_back({*own, Algo::ring});
        } else if (std::none_of(std::begin(foreign), std::end(foreign),
                                [&](std::string_view word) { return same_word(name, word); })) {
            return refusal(text, name,
                           "is no algorithm: use direct, ring, halving, tree, mesh, chain, "
                           "binomial, hier, hier:mesh and so on, names of NCCL's others "
                           "(collnetdirect, collnetchain, nvls, nvlstree, pat), or leave the "
                           "setting out to have one chosen");
        }
    }
    if (count == 0) {
        return refusal(text, list, "names no algorithm: use direct, ring, or several");
    }
    return found;
}

Result<AlgoWish> wish_parse(std::string_view text, std::string_view list, Coll coll) {
    const bool all_but = !list.empty() && list.front() == '^';
    const std::vector<AlgoName> names = TRY(names_parse(text, list.substr(all_but ? 1 : 0)));
    AlgoWish wish;
    wish.list = list;
    bool left = false;
    if (all_but) {
        for (const AlgoName& name : names) {
            wish.barred |= 1u << static_cast<uint32_t>(name.algo);
        }
        for (const Algo algo : owned) {
            // hier needs hosts: what is left must do without.
            left = left || (algo != Algo::hier && has_plan(coll, algo) && !wish.bars(algo));
        }
    }
    for (const AlgoName& name : names) {
        if (!all_but && has_plan(coll, name.algo)) {
            wish.algos.push_back(name);
            left = true;
        }
    }
    if (!left) {
        wish.unmet = list;
        wish.barred = 0;
    }
    return wish;
}

// An entry for one function begins with its name; the mark in "hier:ring" is not that one.
bool names_function(std::string_view entry) {
    std::string_view first = entry.substr(0, entry.find(':'));
    if (first.size() == entry.size()) {
        return false;
    }
    const size_t word = first.find_last_of(",^ \t");
    return !same_word(word == first.npos ? first : first.substr(word + 1), "hier");
}

}  // namespace

Result<AlgoWish> algo_list_parse(std::string_view text, Coll coll) {
    AlgoWish wish;
    std::string_view rest = unpadded(text);
    for (bool is_first = true; !rest.empty(); is_first = false) {
        std::string_view entry = next_part(rest, ';');
        if (!names_function(entry)) {
            if (!is_first) {
                return refusal(text, entry,
                               "names no function: all entries but the first begin with one, as in "
                               "ring;allreduce:direct");
            }
            wish = TRY(wish_parse(text, entry, coll));
            continue;
        }
        const std::string_view name = next_part(entry, ':');
        const Function* const function = TRY(function_find(text, name));
        AlgoWish own = TRY(wish_parse(text, unpadded(entry), function->coll));
        if (function->coll == coll) {
            wish = std::move(own);
        }
    }
    return wish;
}

namespace {

// Whether a low-latency protocol is left.
Result<bool> low_latency(std::string_view text, std::string_view list) {
    constexpr std::string_view names[] = {"simple", "ll", "ll128"};
    const bool all_but = !list.empty() && list.front() == '^';
    bool named[3] = {};
    size_t count = 0;
    for (std::string_view rest = list.substr(all_but ? 1 : 0); !rest.empty();) {
        const std::string_view name = next_part(rest, ',');
        if (name.empty()) {
            continue;
        }
        const auto* const found =
            std::find_if(std::begin(names), std::end(names),
                         [&](std::string_view known) { return same_word(known, name); });
        if (found == std::end(names)) {
            return refusal(text, name, "is no protocol: use Simple, LL, LL128, or ^ and those not");
        }
        named[found - std::begin(names)] = true;
        count++;
    }
    if (count == 0) {
        return refusal(text, list, "names no protocol: use Simple, LL, LL128");
    }
    return named[1] != all_but || named[2] != all_but;
}

}  // namespace

Result<uint32_t> proto_list_parse(std::string_view text) {
    uint32_t granted = 0;
    std::string_view rest = unpadded(text);
    for (bool is_first = true; !rest.empty(); is_first = false) {
        std::string_view entry = next_part(rest, ';');
        uint32_t about = UINT32_MAX;
        if (entry.find(':') != entry.npos) {
            const std::string_view name = next_part(entry, ':');
            const Function* const function = TRY(function_find(text, name));
            about = 1u << static_cast<uint32_t>(function->coll);
        } else if (!is_first) {
            return refusal(text, entry,
                           "names no function: all entries but the first begin with one, as in "
                           "LL;allreduce:Simple");
        }
        const bool eager = TRY(low_latency(text, unpadded(entry)));
        granted = eager ? granted & ~about : granted | about;
    }
    return granted;
}

std::string algo_list_warning(std::string_view text) {
    std::vector<AlgoWish> wishes;
    for (const Function& function : functions) {
        Result<AlgoWish> wish = algo_list_parse(text, function.coll);
        if (!wish.ok()) {
            return "";
        }
        wishes.push_back(std::move(wish).value());
    }
    std::string lists;
    for (const AlgoWish& wish : wishes) {
        // One list may be for several functions, and mean something to some.
        const bool has_effect = std::any_of(wishes.begin(), wishes.end(), [&](const AlgoWish& w) {
            return w.list == wish.list && w.unmet.empty();
        });
        if (!has_effect && lists.find('"' + wish.unmet + '"') == lists.npos) {
            lists += (lists.empty() ? "\"" : ", \"") + wish.unmet + '"';
        }
    }
    return lists.empty() ? ""
                         : lists +
                               " names nothing Weft has (direct, ring, halving, tree, mesh, chain, "
                               "binomial, hier): algorithms are chosen as if it were not set";
}

}  // namespace weft::plan
