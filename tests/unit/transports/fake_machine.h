// A libfabric and a sysfs of a test's own, and a child process to lose rights in.
#pragma once

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "tests/catch.h"
#include "tests/unit/transports/fake_libfabric/fake_libfabric.h"
#include "transports/fabric/library.h"

namespace weft::test {

inline FakeLibfabric& fake_world() {
    void* handle = dlopen(FAKE_LIBFABRIC_PATH, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(handle != nullptr);
    return *reinterpret_cast<FakeLibfabricGet>(dlsym(handle, fake_libfabric_get))();
}

inline std::mutex& fake_lock() {
    void* handle = dlopen(FAKE_LIBFABRIC_PATH, RTLD_NOW | RTLD_LOCAL);
    REQUIRE(handle != nullptr);
    return reinterpret_cast<FakeLibfabricLock>(dlsym(handle, fake_libfabric_lock))();
}

// The one libfabric of this process, told anew.
struct FakeFabric {
    explicit FakeFabric(uint32_t version = FI_VERSION(2, 4)) : world(fake_world()) {
        world = FakeLibfabric();
        world.version = version;
        auto loaded = fabric::library_load(FAKE_LIBFABRIC_PATH);
        REQUIRE(loaded.ok());
        library = std::move(loaded).value();
    }
    FakeLibfabric& world;
    fabric::Library library;
};

// Sets a variable for the life of this object.
struct Variable {
    Variable(const char* variable, const std::string& value) : name(variable) {
        setenv(name, value.c_str(), 1);
    }
    ~Variable() { unsetenv(name); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;
    const char* name;
};

struct TempFolder {
    TempFolder() {
        std::string pattern = std::filesystem::temp_directory_path() / "weft-test-XXXXXX";
        REQUIRE(mkdtemp(pattern.data()) != nullptr);
        path = pattern;
        std::filesystem::permissions(path, std::filesystem::perms(0755));
    }
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    void write(const std::string& name, const std::string& text) const {
        std::filesystem::create_directories((path / name).parent_path());
        std::ofstream(path / name) << text << "\n";
    }
    void link(const std::string& name, const std::string& target) const {
        std::filesystem::create_directories((path / name).parent_path());
        std::filesystem::create_directory_symlink(target, path / name);
    }
    std::filesystem::path path;
};

// One PCI device as sysfs shows it, with its verbs device where `node` names one.
inline void pci_add(const TempFolder& sys, const std::string& pci, const std::string& vendor,
                    const std::string& device, const std::string& node = "") {
    const std::string folder = "bus/pci/devices/" + pci + "/";
    sys.write(folder + "vendor", vendor);
    sys.write(folder + "device", device);
    if (!node.empty()) {
        const std::string verbs = "class/infiniband_verbs/" + node + "/";
        sys.write(verbs + "ibdev", "rdmap0s" + node.substr(node.find_first_of("0123456789")));
        sys.link(verbs + "device", "../../../" + folder.substr(0, folder.size() - 1));
    }
}

// What `ask` says in a child that is nobody in particular.
inline std::string as_nobody(const std::function<std::string()>& ask) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        const bool dropped = getuid() != 0 || setresuid(65534, 65534, 65534) == 0;
        const std::string text = dropped ? ask() : "still root";
        const bool told = write(ends[1], text.data(), text.size()) >= 0;
        _exit(told ? 0 : 1);
    }
    close(ends[1]);
    std::string text(4096, '\0');
    const ssize_t bytes = read(ends[0], text.data(), text.size());
    close(ends[0]);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    text.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
    return text;
}

}  // namespace weft::test
