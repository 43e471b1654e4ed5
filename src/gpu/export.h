// Device memory of the library that other processes may reach, and the same as a peer sees it. Made
// apart from its addresses (cuMemCreate) and given away as a descriptor where driver and device can
// do that; else plain memory and a legacy handle, which is good only while the owner keeps the
// memory. A descriptor keeps it by itself, and so does whoever has imported it.
//
// Thread rule: thread-bound to the owner, whichever thread that is. Every call here may wait for
// the device: only where communicators are made, memory is registered, and at their end. Lifetime:
// the context is held by the caller for longer; nothing on the device may still use memory that
// goes, for unmapping does not wait. Failure rule: Result; the end of an object logs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/bytes.h"
#include "src/base/handle.h"
#include "src/base/result.h"
#include "src/gpu/context.h"

namespace weft::gpu {

enum class ExportKind : uint8_t { descriptor = 1, legacy = 2 };

// What a peer is told of exported memory, beside its descriptor.
struct ExportNote {
    ExportKind kind = ExportKind::descriptor;
    uint64_t bytes = 0;
    std::string device;  // its UUID
    IpcHandle handle{};  // of the legacy kind

    std::string encode() const;
    // Refuses what is cut, too long or of no sense, in one line.
    static Result<ExportNote> decode(std::string_view text);
    static Result<ExportNote> read(ByteReader& reader);
};

// Whether device memory can be made that is given away as a descriptor.
bool descriptors_supported(const Driver& driver, Device device);

// Whether the device can load and store what lies on the one with this UUID, as far as can be known
// before it is tried: a device that this process does not see is not refused.
Result<void> device_reaches(const DevicePlace& at, const std::string& uuid);

// Addresses of this process with memory behind them, part after part. Its end takes both away.
class VirtualRange {
  public:
    explicit VirtualRange(const DevicePlace& at) : at_(at) {}
    ~VirtualRange();
    VirtualRange(const VirtualRange&) = delete;
    VirtualRange& operator=(const VirtualRange&) = delete;

    // With the context current: once, then the parts, then the devices that may access them.
    Result<void> reserve(uint64_t bytes);
    Result<void> map(MemoryHandle handle, uint64_t bytes);
    Result<void> access(Device device);
    Address address() const { return address_; }

  private:
    const DevicePlace at_;
    Address address_ = 0;
    uint64_t reserved_ = 0, mapped_ = 0;
    std::vector<uint64_t> parts_;
};

class ExportedMemory {
  public:
    // At least so many bytes. Every device of this process that can reach it may: enabling peer
    // access of contexts says nothing of memory that is mapped.
    static Result<std::unique_ptr<ExportedMemory>> create(const DevicePlace& at, uint64_t bytes);
    ~ExportedMemory();
    ExportedMemory(const ExportedMemory&) = delete;
    ExportedMemory& operator=(const ExportedMemory&) = delete;

    Address address() const { return address_; }
    uint64_t bytes() const { return bytes_; }
    ExportKind kind() const { return handle_ != 0 ? ExportKind::descriptor : ExportKind::legacy; }
    Result<ExportNote> note() const;
    // One more, of the descriptor kind.
    Result<Fd> descriptor() const;

  private:
    explicit ExportedMemory(const DevicePlace& at) : at_(at), range_(at) {}
    Result<void> make_apart(uint64_t bytes);
    Result<void> make_plain(uint64_t bytes);
    Result<void> peers_access();

    const DevicePlace at_;
    Address address_ = 0;
    uint64_t bytes_ = 0;
    MemoryHandle handle_ = 0;  // 0: plain
    VirtualRange range_;
};

// A descriptor of memory, closed on exec.
Result<Fd> memory_export(const Driver& driver, MemoryHandle handle, const std::string& what);

struct ExportedPart {
    ExportNote note;
    Fd descriptor;  // none for the legacy kind
};

class ImportedMemory {
  public:
    // Parts with descriptors lie side by side here; a legacy one is alone. A legacy handle cannot
    // be opened by the process that made it: there the pointer itself is used. The descriptors are
    // not needed afterwards.
    static Result<std::unique_ptr<ImportedMemory>> open(const DevicePlace& at,
                                                        std::vector<ExportedPart> parts);
    ~ImportedMemory();
    ImportedMemory(const ImportedMemory&) = delete;
    ImportedMemory& operator=(const ImportedMemory&) = delete;

    Address address() const { return address_; }
    uint64_t bytes() const { return bytes_; }

  private:
    explicit ImportedMemory(const DevicePlace& at) : at_(at), range_(at) {}
    Result<void> map(const std::vector<ExportedPart>& parts);
    Result<void> open_legacy(const ExportNote& note);

    const DevicePlace at_;
    Address address_ = 0;
    uint64_t bytes_ = 0;
    bool legacy_ = false;
    VirtualRange range_;
};

}  // namespace weft::gpu
