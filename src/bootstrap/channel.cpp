#include "src/bootstrap/channel.h"

#include <algorithm>

#include "src/base/bytes.h"
#include "src/base/log.h"
#include "src/base/sha256.h"
#include "src/bootstrap/wire.h"

namespace weft {

namespace {

constexpr std::string_view magic = "WEFTCTL1";
constexpr std::string_view goodbye = "WEFTBYE1";
constexpr size_t nonce_bytes = 16;
constexpr size_t mac_bytes = 16;
constexpr size_t hello_bytes = 8 + 16 + nonce_bytes;
constexpr size_t challenge_bytes = 8 + nonce_bytes + 32;
constexpr size_t proof_bytes = 32;
constexpr size_t frame_head_bytes = 4;

template <size_t N>
std::string_view view(const std::array<uint8_t, N>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), N};
}

template <size_t N>
void copy_to(std::array<uint8_t, N>& to, std::string_view from) {
    std::copy_n(from.begin(), N, to.begin());
}

Error stranger(const char* why) {
    return make_error(Code::remote, Scope::peer, why);
}

}  // namespace

std::string_view Channel::farewell() {
    return goodbye;
}

Channel::Channel(const Realm& realm, const Nonce& nonce)
    : state_(State::challenge), realm_(realm), own_nonce_(nonce), connecting_(true) {
    out_.append(magic).append(view(realm.id)).append(view(nonce));
}

Channel::Channel(RealmFind find, const Nonce& nonce)
    : state_(State::hello), find_(std::move(find)), own_nonce_(nonce), connecting_(false) {
}

std::string Channel::out() {
    return std::exchange(out_, {});
}

std::vector<std::string> Channel::take_messages() {
    return std::exchange(messages_, {});
}

std::string Channel::proof(std::string_view role) const {
    const Nonce& first = connecting_ ? own_nonce_ : peer_nonce_;
    const Nonce& second = connecting_ ? peer_nonce_ : own_nonce_;
    std::string text(role);
    text.append(view(realm_->id)).append(view(first)).append(view(second));
    return std::string(digest_view(hmac_sha256(realm_->secret, text)));
}

void Channel::keys_make(bool connecting) {
    const std::string session = proof("session");
    const std::string forth(digest_view(hmac_sha256(session, "connector to acceptor")));
    const std::string back(digest_view(hmac_sha256(session, "acceptor to connector")));
    send_key_ = connecting ? forth : back;
    receive_key_ = connecting ? back : forth;
    state_ = State::open;
}

size_t Channel::step_bytes() const {
    switch (state_) {
        case State::hello:
            return hello_bytes;
        case State::challenge:
            return challenge_bytes;
        case State::proof:
            return proof_bytes;
        case State::open:
            break;
    }
    return 0;
}

Result<void> Channel::take_hello() {
    RealmId named;
    copy_to(named, std::string_view(in_).substr(magic.size()));
    copy_to(peer_nonce_, std::string_view(in_).substr(magic.size() + named.size()));
    const Realm* known = find_(named);
    if (known == nullptr) {
        return stranger("it asked for a unique id that this process does not know");
    }
    realm_ = *known;
    out_.append(magic).append(view(own_nonce_)).append(proof("acceptor"));
    state_ = State::proof;
    return {};
}

Result<void> Channel::take_challenge() {
    copy_to(peer_nonce_, std::string_view(in_).substr(magic.size()));
    const auto given = std::string_view(in_).substr(magic.size() + nonce_bytes, proof_bytes);
    if (!digest_equal(given, proof("acceptor"))) {
        return stranger("the process there does not know this job's secret");
    }
    out_.append(proof("connector"));
    keys_make(true);
    return {};
}

Result<void> Channel::take_proof() {
    if (!digest_equal(std::string_view(in_).substr(0, proof_bytes), proof("connector"))) {
        return stranger("it does not know this job's secret");
    }
    keys_make(false);
    return {};
}

// One step of the handshake: false if it needs more bytes.
Result<bool> Channel::take_step() {
    const std::string_view in(in_);
    const size_t known = std::min(in.size(), magic.size());
    if (state_ == State::hello && in == goodbye) {
        quit_ = true;
        return stranger("it found another way");
    }
    // Judge foreign protocols by their first bytes: they may never send more.
    const bool leaving = state_ == State::hello && in == goodbye.substr(0, in.size());
    if (state_ != State::proof && !leaving && in.substr(0, known) != magic.substr(0, known)) {
        return stranger("it speaks another protocol");
    }
    const size_t wanted = step_bytes();
    if (in.size() < wanted) {
        return false;
    }
    switch (state_) {
        case State::hello:
            TRY(take_hello());
            break;
        case State::challenge:
            TRY(take_challenge());
            break;
        case State::proof:
            TRY(take_proof());
            break;
        case State::open:
            break;
    }
    in_.erase(0, wanted);
    return true;
}

std::string Channel::mac(const std::string& key, uint64_t counter, std::string_view frame) const {
    const std::string text = ByteWriter().u64(counter).raw(frame).take();
    return std::string(digest_view(hmac_sha256(key, text)).substr(0, mac_bytes));
}

void Channel::send(std::string_view message) {
    ASSERT(open() && message.size() <= message_bytes_max);
    const std::string frame = ByteWriter().text(message).take();
    out_.append(frame).append(mac(send_key_, sent_++, frame));
}

// One frame of `rest`: how many bytes it took, 0 if it is not whole.
Result<size_t> Channel::take_frame(std::string_view rest) {
    ByteReader in(rest);
    if (rest.size() < frame_head_bytes) {
        return size_t{0};
    }
    const uint32_t length = TRY(in.count(message_bytes_max));
    const size_t whole = frame_head_bytes + length;
    if (rest.size() < whole + mac_bytes) {
        return size_t{0};
    }
    const std::string expected = mac(receive_key_, received_, rest.substr(0, whole));
    if (!digest_equal(rest.substr(whole, mac_bytes), expected)) {
        return stranger("a frame is not authentic");
    }
    ++received_;
    messages_.emplace_back(rest.substr(frame_head_bytes, length));
    return whole + mac_bytes;
}

Result<void> Channel::feed(std::string_view bytes) {
    in_.append(bytes);
    while (state_ != State::open) {
        if (!TRY(take_step())) {
            return {};
        }
    }
    size_t used = 0;
    while (const size_t taken = TRY(take_frame(std::string_view(in_).substr(used)))) {
        used += taken;
    }
    in_.erase(0, used);
    return {};
}

}  // namespace weft
