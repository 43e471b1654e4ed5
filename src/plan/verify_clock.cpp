// Both ways to keep what is known.
#include "src/plan/verify_clock.h"

namespace weft::plan::prover {

namespace {

class WholeClocks final : public Clocks {
  public:
    explicit WholeClocks(const View& view)
        : Clocks(view), clocks_(done_.size(), Note(done_.size(), 0)) {}

    void pass(uint32_t chain) override {
        Clocks::pass(chain);
        clocks_[chain][chain] = done_[chain];
    }
    Note tell(const Seat& from) const override {
        Note told = clocks_[from.chain];
        told[from.chain]++;
        return told;
    }
    void learn(const Seat& at, const Note& told) override { add(clocks_[at.chain], told); }
    Note mark(const Seat& from) const override { return clocks_[from.chain]; }
    void follow(const Seat& at, const Seat&, const Note& told) override {
        add(clocks_[at.chain], told);
    }
    void join(uint32_t chain) override {
        Note all(clocks_.size(), 0);
        for (uint32_t lane = 0; lane < view_.lanes(); lane++) {
            add(all, clocks_[chain + lane]);
        }
        for (uint32_t lane = 0; lane < view_.lanes(); lane++) {
            clocks_[chain + lane] = all;
        }
    }
    uint32_t seen(const Seat& at, int32_t rank, uint32_t lane) const override {
        return clocks_[at.chain][static_cast<uint32_t>(rank) * view_.lanes() + lane];
    }
    uint32_t seen_by_any(uint32_t chain, uint32_t, int32_t rank, uint32_t lane) const override {
        uint32_t most = 0;
        for (uint32_t own = 0; own < view_.lanes(); own++) {
            most = std::max(
                most, clocks_[chain + own][static_cast<uint32_t>(rank) * view_.lanes() + lane]);
        }
        return most;
    }

  private:
    static void add(Note& into, const Note& told) {
        for (size_t i = 0; i < into.size(); i++) {
            into[i] = std::max(into[i], told[i]);
        }
    }
    std::vector<Note> clocks_;  // by chain, of every chain
};

// Counts by chain, by its pairs of chunk and rank (Matched::pairs), by lane of that rank.
class ShortClocks final : public Clocks {
  public:
    ShortClocks(const View& view, const Matched& matched)
        : Clocks(view), matched_(matched), counts_(done_.size()) {
        for (size_t chain = 0; chain < counts_.size(); chain++) {
            counts_[chain].assign(matched.pairs[chain].size() * view.lanes(), 0);
        }
    }

    Note tell(const Seat& from) const override {
        const uint32_t lanes = view_.lanes();
        Note told(size_t{2} * lanes);
        std::copy_n(at(from.chain, from.match.own), lanes, told.data());
        told[from.chain % lanes] = done_[from.chain] + 1;
        std::copy_n(at(from.chain, from.match.known), lanes, told.data() + lanes);
        return told;
    }
    void learn(const Seat& to, const Note& told) override {
        const uint32_t lanes = view_.lanes();
        add(at(to.chain, to.match.known), told.data());
        add(at(to.chain, to.match.own), told.data() + lanes);
    }
    Note mark(const Seat& from) const override {
        const uint32_t* own = at(from.chain, from.match.own);
        Note told(own, own + view_.lanes());
        told[from.chain % view_.lanes()] = done_[from.chain];
        return told;
    }
    void follow(const Seat& to, const Seat& marked, const Note& told) override {
        uint32_t* own = at(to.chain, to.match.own);
        if (to.step.chunk == marked.step.chunk) {
            add(own, told.data());
        } else {  // the marked step may be passed over, which leaves its place in the list
            const uint32_t lane = marked.chain % view_.lanes();
            own[lane] = std::max(own[lane], told[lane]);
        }
    }
    // Nothing is asked any more of what happened before the end of an op.
    void join(uint32_t) override {}
    uint32_t seen(const Seat& by, int32_t rank, uint32_t lane) const override {
        if (rank == view_.rank_of(by.chain)) {
            return view_.first_of(by.chain) + lane == by.chain ? done_[by.chain]
                                                               : at(by.chain, by.match.own)[lane];
        }
        return rank == by.step.peer ? at(by.chain, by.match.known)[lane]
                                    : seen_of(by.chain, by.step.chunk, rank, lane);
    }
    uint32_t seen_by_any(uint32_t chain, uint32_t chunk, int32_t rank,
                         uint32_t lane) const override {
        if (rank == view_.rank_of(chain)) {
            return done_[chain + lane];
        }
        uint32_t most = 0;
        for (uint32_t own = 0; own < view_.lanes(); own++) {
            most = std::max(most, seen_of(chain + own, chunk, rank, lane));
        }
        return most;
    }

  private:
    uint32_t* at(uint32_t chain, uint32_t pair) {
        return counts_[chain].data() + size_t{pair} * view_.lanes();
    }
    const uint32_t* at(uint32_t chain, uint32_t pair) const {
        return counts_[chain].data() + size_t{pair} * view_.lanes();
    }
    void add(uint32_t* into, const uint32_t* told) const {
        for (uint32_t lane = 0; lane < view_.lanes(); lane++) {
            into[lane] = std::max(into[lane], told[lane]);
        }
    }
    uint32_t seen_of(uint32_t chain, uint32_t chunk, int32_t rank, uint32_t lane) const {
        const auto& pairs = matched_.pairs[chain];
        const auto pair = pairs.find(Matched::pair(chunk, rank));
        return pair == pairs.end() ? 0 : at(chain, pair->second)[lane];
    }

    const Matched& matched_;
    std::vector<Note> counts_;
};

}  // namespace

std::unique_ptr<Clocks> whole_clocks(const View& view) {
    return std::make_unique<WholeClocks>(view);
}

std::unique_ptr<Clocks> short_clocks(const View& view, const Matched& matched) {
    return std::make_unique<ShortClocks>(view, matched);
}

}  // namespace weft::plan::prover
