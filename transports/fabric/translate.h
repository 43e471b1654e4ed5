// What a provider's error usually means here and what to do about it: the end of an error line.
// Thread rule: constants.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace weft::fabric {

// "" if there is nothing useful to say about this errno.
const char* hint_for(int error);

// The same for what this process asked of its own NIC: opening it, registering memory.
const char* own_hint_for(int error);

// A completion's code as the provider efa reports it: a status of the device below 4096, one of
// the provider's own from there on (libfabric's prov/efa/src/efa_errno.h, 2.6, has the numbers).
struct EfaError {
    int code;
    const char* meaning;
    const char* action;  // "" where the meaning says it all
};
std::span<const EfaError> efa_errors();  // by code, ascending
const EfaError* efa_error(int code);     // null: unknown

// The end of the line about a failed completion: by EFA's code where the provider is EFA and the
// code is known, else by errno.
std::string completion_hint(std::string_view provider, int error, int provider_code);

// The same for a peer that has taken nothing, where no error tells why.
const char* silence_hint(std::string_view provider);

}  // namespace weft::fabric
