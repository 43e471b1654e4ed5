// What a provider's error usually means here and what to do about it: the end of an error line.
#pragma once

namespace weft::fabric {

// "" if there is nothing useful to say about this errno.
const char* hint_for(int error);

}  // namespace weft::fabric
