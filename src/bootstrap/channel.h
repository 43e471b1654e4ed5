// One authenticated connection as bytes in, bytes out: the mutual challenge-response, then frames
// with a MAC over a counter, so that nothing can be changed, dropped, repeated or reordered.
//   connector -> acceptor: magic, realm id, nonce
//   acceptor -> connector: magic, nonce, HMAC(secret, "acceptor" + realm id + both nonces)
//   connector -> acceptor: HMAC(secret, "connector" + the same)
// Each direction then has its own key. Frame: u32 length, message, 16 bytes of HMAC-SHA-256 over
// counter, length and message. Thread rule: value, thread-bound to its owner. Failure rule: an
// Error from feed() is final; the connection is worthless.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/result.h"
#include "src/bootstrap/unique_id.h"

namespace weft {

class Channel {
  public:
    using Nonce = std::array<uint8_t, 16>;
    using RealmFind = std::function<const Realm*(const RealmId&)>;

    // The connecting side: out() holds its first bytes.
    Channel(const Realm& realm, const Nonce& nonce);
    // The accepting side: learns the realm from the first bytes; `find` says whether it is known.
    Channel(RealmFind find, const Nonce& nonce);

    // Takes bytes from the wire, in pieces of any size.
    Result<void> feed(std::string_view bytes);
    // Frames a message. Only when open().
    void send(std::string_view message);

    std::string out();                         // what must go to the wire; empties it
    std::vector<std::string> take_messages();  // whole, authentic messages in order

    bool open() const { return state_ == State::open; }
    bool greeted() const { return realm_.has_value(); }  // the other side spoke our protocol
    bool quit() const { return quit_; }  // the other side found another way in and says so
    const RealmId& realm() const { return realm_->id; }

    // What a connecting side sends instead of its first bytes when it has no use for the
    // connection, so that it is not taken for a stranger.
    static std::string_view farewell();

  private:
    enum class State : uint8_t { hello, challenge, proof, open };

    Result<void> take_hello();
    Result<void> take_challenge();
    Result<void> take_proof();
    Result<bool> take_step();
    Result<size_t> take_frame(std::string_view rest);
    size_t step_bytes() const;  // of the handshake message that comes next
    std::string proof(std::string_view role) const;
    void keys_make(bool connecting);
    std::string mac(const std::string& key, uint64_t counter, std::string_view frame) const;

    State state_;
    RealmFind find_;
    std::optional<Realm> realm_;
    Nonce own_nonce_;
    Nonce peer_nonce_{};
    bool connecting_;
    bool quit_ = false;
    std::string send_key_, receive_key_;
    uint64_t sent_ = 0, received_ = 0;
    std::string in_, out_;
    std::vector<std::string> messages_;
};

}  // namespace weft
