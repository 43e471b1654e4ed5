// Memory of one process that another reads and writes: what the library allocates and what programs
// do, in all the ways they allocate. The other process is this program once more, with a socket.
// What the driver answers where its documents are silent goes into the line as facts.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "src/gpu/user_memory.h"
#include "tools/gpu_suite/check/commands.h"
#include "tools/gpu_suite/check/outcome.h"
#include "transports/common/local_channel.h"

namespace weft::suite {

namespace {

constexpr const char* socket_variable = "GPU_CHECK_SOCKET";
constexpr std::string_view end_word = "end", forget_word = "forget";
constexpr size_t words = 512;  // of 8 bytes, that are looked at
constexpr size_t range_bytes = words * 8;

template <class T>
T value_of(Result<T> result) {
    if (!result.ok()) {
        fail("%s", result.error().what.c_str());
    }
    return std::move(result).value();
}

std::vector<uint64_t> pattern(uint64_t salt) {
    std::vector<uint64_t> values(words);
    for (size_t i = 0; i < words; i++) {
        values[i] = (salt << 32 | i) * 0x9e3779b97f4a7c15ull;
    }
    return values;
}

size_t wrong_at(const Device& device, gpu::Address at, uint64_t salt) {
    const std::vector<uint64_t> wanted = pattern(salt);
    std::vector<uint64_t> seen(words);
    device.get(seen.data(), at, range_bytes);
    size_t wrong = 0;
    for (size_t i = 0; i < words; i++) {
        wrong += seen[i] != wanted[i] ? 1 : 0;
    }
    return wrong;
}

void say(local::Channel& channel, std::string text, std::vector<Fd> descriptors = {}) {
    channel.queue({std::move(text), std::move(descriptors)});
    if (channel.flush() != local::Channel::Sent::all) {
        fail("the other process does not hear");
    }
}

// Until the deadline of the test.
local::Frame hear(local::Channel& channel) {
    local::Frame frame;
    while (true) {
        switch (channel.receive(&frame)) {
            case local::Channel::Got::frame:
                return frame;
            case local::Channel::Got::nothing:
                break;
            default:
                fail("the other process ended");
        }
        pollfd look{channel.fd(), POLLIN, 0};
        ::poll(&look, 1, -1);
    }
}

// Reads what is told of, writes over it, until nothing more comes.
void other_process(const Device& device, local::Channel channel) {
    gpu::UserImports imports(device.place());
    uint64_t salt = 0;
    while (true) {
        local::Frame told = hear(channel);
        if (told.body == end_word) {
            finish(Verdict::pass);
        }
        if (told.body.starts_with(forget_word)) {
            imports.forget(value_of(gpu::UserNote::decode(told.body.substr(forget_word.size()))));
            say(channel, "0");
            continue;
        }
        salt++;
        const gpu::UserNote note = value_of(gpu::UserNote::decode(told.body));
        const gpu::UserImport seen = value_of(imports.get(note, std::move(told.fds)));
        const size_t wrong = wrong_at(device, seen.address, salt);
        const std::vector<uint64_t> answer = pattern(salt + 1000);
        device.put(seen.address, answer.data(), range_bytes);
        say(channel, std::to_string(wrong));
    }
}

local::Channel other_start(const Options& options) {
    int ends[2] = {};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        fail("no socket for another process");
    }
    const Fd theirs(ends[1]);
    const std::string device = std::to_string(options.device);
    const std::string deadline = std::to_string(options.deadline_s);
    ::setenv(socket_variable, std::to_string(ends[1]).c_str(), 1);
    const char* const arguments[] = {"weft-gpu-check", "memory",         "--device", device.c_str(),
                                     "--deadline",     deadline.c_str(), nullptr};
    const int child = ::fork();
    if (child == 0) {
        ::fcntl(ends[1], F_SETFD, 0);
        const int nowhere = ::open("/dev/null", O_WRONLY);
        ::dup2(nowhere, STDOUT_FILENO);  // its result is not this test's
        ::execv("/proc/self/exe", const_cast<char* const*>(arguments));
        ::_exit(127);
    }
    if (child < 0) {
        fail("no other process");
    }
    return local::Channel(Fd(ends[0]));
}

class Pair {
  public:
    Pair(const Device& device, const Options& options)
        : device_(device), channel_(other_start(options)), exports_(device.place()) {}

    // Both see what the other has written there.
    std::shared_ptr<const gpu::UserExport> check(const char* name, gpu::Address at) {
        salt_++;
        const std::vector<uint64_t> values = pattern(salt_);
        device_.put(at, values.data(), range_bytes);
        const auto made = value_of(exports_.get(at, range_bytes));
        say(channel_, made->note.encode(), value_of(made->descriptors()));
        const std::string wrong = hear(channel_).body;
        if (wrong != "0") {
            fail("%s: the other process reads %s of %zu words wrong", name, wrong.c_str(), words);
        }
        if (const size_t back = wrong_at(device_, at, salt_ + 1000)) {
            fail("%s: %zu of %zu words that the other process wrote are wrong", name, back, words);
        }
        value_set(name, made->descriptors().value().empty() ? "by handle" : "by descriptor");
        return made;
    }
    // A driver leaves open what becomes of memory that is freed while another has it open.
    void forget(const gpu::UserNote& note) {
        exports_.forget(note.address, note.bytes);
        say(channel_, std::string(forget_word) + note.encode());
        hear(channel_);
    }
    gpu::UserExports& exports() { return exports_; }
    void end() { say(channel_, std::string(end_word)); }

  private:
    const Device& device_;
    local::Channel channel_;
    gpu::UserExports exports_;
    uint64_t salt_ = 0;
};

uint64_t buffer_of(const Device& device, gpu::Address at) {
    int attribute = gpu::pointer_attribute::buffer_id;
    uint64_t number = 0;
    void* values[] = {&number};
    device.done(device->cuPointerGetAttributes(1, &attribute, values, at), "BUFFER_ID");
    return number;
}

void plain_memory(const Device& device, Pair& pair) {
    constexpr size_t bytes = 64 << 20;
    gpu::Address memory = device.take(bytes);
    pair.check("plain", memory);
    const auto middle = pair.check("plain, the middle", memory + bytes / 2 + 272);
    for (int small = 0; small < 3; small++) {  // they share a page of the device's
        pair.check("plain, small", device.take(range_bytes));
    }
    const auto old = pair.check("plain, before it is freed", memory);
    pair.forget(old->note);
    pair.forget(middle->note);
    device.done(device->cuMemFree(memory), "freeing");
    const gpu::Address again = device.take(bytes);
    const auto made = pair.check("plain, made again", again);
    value_set("made again at its address", again == memory ? "yes" : "no");
    value_set("with its handle", std::equal(std::begin(old->note.parts[0].note.handle.bytes),
                                            std::end(old->note.parts[0].note.handle.bytes),
                                            made->note.parts[0].note.handle.bytes)
                                     ? "yes"
                                     : "no");
}

// As PyTorch's expandable segments.
class Segment {
  public:
    Segment(const Device& device, size_t chunks) : device_(device) {
        wanted_.type = gpu::allocation_type::pinned;
        wanted_.handle_types = gpu::handle_type::posix_descriptor;
        wanted_.location = {gpu::location_type::device, device.place().device};
        device.done(
            device->cuMemGetAllocationGranularity(&unit_, &wanted_, gpu::granularity::recommended),
            "granularity");
        device.done(device->cuMemAddressReserve(&begin_, chunks * unit_, 0, 0, 0), "addresses");
    }
    gpu::Address at(size_t chunk) const { return begin_ + chunk * unit_; }
    void map(size_t chunk) const {
        gpu::MemoryHandle handle = 0;
        device_.done(device_->cuMemCreate(&handle, unit_, &wanted_, 0), "memory");
        device_.done(device_->cuMemMap(at(chunk), unit_, 0, handle, 0), "mapping");
        const gpu::MemoryAccess access{wanted_.location, gpu::access_flag::read_write};
        device_.done(device_->cuMemSetAccess(at(chunk), unit_, &access, 1), "access");
        device_.done(device_->cuMemRelease(handle), "release");
    }
    void unmap(size_t chunk) const {
        device_.done(device_->cuMemUnmap(at(chunk), unit_), "unmapping");
    }

  private:
    const Device& device_;
    gpu::MemoryProperties wanted_{};
    size_t unit_ = 0;
    gpu::Address begin_ = 0;
};

void mapped_memory(const Device& device, Pair& pair) {
    Segment segment(device, 8);
    for (size_t chunk = 0; chunk < 3; chunk++) {
        segment.map(chunk);
    }
    const auto made = pair.check("mapped, over a seam", segment.at(1) - range_bytes / 2);
    if (made->note.parts.size() != 2) {
        fail("a range over two mappings has %zu parts", made->note.parts.size());
    }
    const auto one = pair.check("mapped, one part", segment.at(1) + 4096);
    const uint64_t number = buffer_of(device, segment.at(1));
    segment.unmap(1);
    segment.map(1);
    const bool same = buffer_of(device, segment.at(1)) == number;
    value_set("BUFFER_ID when mapped again", same ? "as before" : "another");
    pair.check("mapped again", segment.at(1) + 4096);
    pair.check("mapped again, over a seam", segment.at(1) - range_bytes / 2);
    if (pair.exports().counts().changed != 2) {
        fail("that memory was mapped anew was not noticed");
    }
}

void pooled_memory(const Device& device, Pair& pair) {
    if (device.program().cuMemAllocAsync == nullptr) {
        return;
    }
    gpu::Address memory = 0;
    const gpu::Stream stream = device.stream_make();
    device.done(device.program().cuMemAllocAsync(&memory, range_bytes, stream), "memory of a pool");
    device.synchronize(stream);
    const auto made = pair.exports().get(memory, range_bytes);
    const auto pool = static_cast<size_t>(gpu::UserRefusal::pool);
    if (made.ok() || pair.exports().counts().refused[pool] != 1) {
        fail("memory of a pool: %s", made.ok() ? "exported" : made.error().what.c_str());
    }
}

}  // namespace

void memory(const Device& device, const Options& options) {
    if (const char* const socket = std::getenv(socket_variable)) {
        other_process(device, local::Channel(Fd(std::atoi(socket))));
    }
    Pair pair(device, options);
    const auto own = value_of(gpu::ExportedMemory::create(device.place(), range_bytes));
    pair.check("the library's", own->address());
    plain_memory(device, pair);
    if (gpu::descriptors_supported(*device.place().driver, device.place().device)) {
        mapped_memory(device, pair);
    }
    pooled_memory(device, pair);
    pair.end();
}

}  // namespace weft::suite
