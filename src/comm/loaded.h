// Which NCCL-compatible libraries are mapped into this process. Two of them mean that some calls
// reach one and some the other.
#pragma once

#include <string>
#include <vector>

namespace weft {

std::vector<std::string> libraries_loaded();  // paths of libweft.so* and libnccl.so*, ours included
// Pure: is the file name that of libweft.so or libnccl.so, of any version.
bool library_is_nccl(const std::string& path);
// One WARN line when there are two; once per process.
void libraries_check();

}  // namespace weft
