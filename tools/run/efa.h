// Ranks on the software EFA device (docs/EFA-DEVICE.md): where its library is, and what each rank
// finds in its environment. Every virtual host has its own addresses.
// Thread rule: single-threaded. Lifetime: the folder of its shared memory ends with the object.
// Failure rule: Result, one line.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "tools/run/options.h"

namespace weft::run {

struct Place;

class Efa {
  public:
    // Null where the user did not ask for it.
    static Result<std::unique_ptr<Efa>> make(const Options& options);
    ~Efa();
    Efa(const Efa&) = delete;
    Efa& operator=(const Efa&) = delete;

    const std::string& folder() const { return folder_; }
    void environment_set(std::map<std::string, std::string>& values, const Place& place) const;

  private:
    Efa() = default;
    std::string library_;
    std::string device_;
    std::string faults_;
    std::string folder_;
};

// "p5.48xlarge" is a profile, "nics=4,..." the device's own words; empty: as many NICs as rails.
std::string efa_device_text(const std::string& given, int rail_count);

}  // namespace weft::run
