# Sourced by tools/quickstart and tools/test, in the root of the tree: packages and build.
# shellcheck shell=bash disable=SC2034

build_dir=build

say() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# package:what shows that it is there. What was installed some other way is as good.
user_packages=(
    "g++:command -v g++"
    "meson:command -v meson"
    "ninja-build:command -v ninja"
    "pkg-config:command -v pkg-config"
    "python3:command -v python3"
    "libhwloc-dev:pkg-config --exists hwloc"
    "libfabric-dev:pkg-config --exists libfabric"
    "iproute2:PATH=$PATH:/usr/sbin:/sbin command -v tc"
)
test_packages=(
    "catch2:pkg-config --exists catch2"
    "openmpi-bin:command -v mpirun"
    "libopenmpi-dev:command -v mpicc"
    "clang-format:command -v clang-format"
    "libibverbs-dev:pkg-config --exists libibverbs"
    "libfabric-bin:command -v fi_pingpong"
)

# Prints the packages of the list that are not there.
packages_missing() {
    local entry
    for entry in "$@"; do
        bash -c "${entry#*:}" >/dev/null 2>&1 || printf '%s\n' "${entry%%:*}"
    done
}

# As root or by sudo; asks for a password only where somebody can answer.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif [ -t 0 ]; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# Installs what is missing of the packages given; touches no network when nothing is.
packages_install() {
    local missing
    mapfile -t missing < <(packages_missing "$@")
    [ "${#missing[@]}" = 0 ] && return 0
    if ! command -v apt-get >/dev/null; then
        say "missing and no apt-get here to install them: ${missing[*]} (Debian's names)"
        return 1
    fi
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        say "missing: ${missing[*]}; as root: apt-get install ${missing[*]}"
        return 1
    fi
    say "installing ${missing[*]}"
    local options=(-o DPkg::Lock::Timeout=60 -qq -y)
    as_root apt-get "${options[@]}" update >&2 || say "package lists not updated; trying with those here"
    as_root apt-get "${options[@]}" --no-install-recommends install "${missing[@]}" >&2 || {
        say "could not install them; as root: apt-get install ${missing[*]}"
        return 1
    }
}

# Debian 12 and Ubuntu 24.04 are new enough; say so before Meson fails in its own words.
versions_check() {
    if ! pkg-config --exists 'hwloc >= 2.9' || ! pkg-config --exists 'libfabric >= 1.17'; then
        say "hwloc 2.9 and libfabric 1.17 or newer are needed (Debian 12, Ubuntu 24.04 have them)"
        return 1
    fi
}

# build OPTION...: configures with Meson's options given (others stay as they are) and compiles.
build() {
    local said log=$build_dir/compile.log
    if [ -f "$build_dir/build.ninja" ]; then
        said=$(meson setup --reconfigure "$@" "$build_dir" 2>&1) ||
            said=$(meson setup --wipe "$@" "$build_dir" 2>&1)
    else
        said=$(meson setup "$@" "$build_dir" 2>&1)
    fi || {
        printf '%s\n' "$said" >&2
        say "configuring failed"
        return 1
    }
    ninja -C "$build_dir" -j "$(nproc)" >"$log" 2>&1 </dev/null || {
        grep -v '^\[' "$log" | tail -n 60 >&2
        say "compiling failed; all of it: $log"
        return 1
    }
}
