#!/usr/bin/env python3
"""lint.py PART [COMPILER...]: what the compiler does not check about the tree.

arrows   #include lines only follow the module table below; no header cycles; planning stays pure
headers  every header compiles alone (COMPILER... = the C++ compiler; public headers as C too)
files    no source is dead, no name says nothing
words    words that do not belong in the tree
types    no two types of one namespace have the same name: one library holds them all
format   clang-format 14 has nothing to change (77 where it is not installed)
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIP = 77
SOURCES = (".c", ".cpp", ".cu", ".h")

# The table of docs/ARCHITECTURE.md. A module is the longest matching folder; files directly in
# transports/ are the link contract. Every module may include itself. Nothing includes perf, tools,
# tests and examples but themselves.
CONTRACT = "transports"
LINKS = [f"transports/{name}" for name in ("common", "loopback", "shm", "fabric", "cuda_ipc", "fault")]
MIDDLE = [CONTRACT, "src/gpu", "topology"]
LOWER = ["src/base"] + MIDDLE + ["src/reduce", "src/plan", "src/bootstrap"]
MAY_INCLUDE = {
    "include": [],
    "src/base": [],
    "src/gpu": ["src/base"],
    "topology": ["src/base"],
    CONTRACT: ["src/base"],
    **{link: ["src/base", CONTRACT, "src/gpu", "transports/common"] for link in LINKS},
    "src/reduce": ["src/base", CONTRACT, "src/gpu"],
    "src/plan": ["src/base", "topology"],
    "src/bootstrap": ["src/base", CONTRACT, "src/gpu"],
    "src/tune": ["src/base", "src/plan", "topology"],
    "src/sim": ["src/base", "src/plan", "topology"],
    "src/exec": ["src/base", "src/plan", "topology", CONTRACT, "src/reduce", "src/gpu"],
    "src/comm": ["include"] + LOWER + LINKS + ["src/tune", "src/exec"],
    "src/api": ["include", "src/base", "src/comm"],
    "src/netplugin": ["include", "src/base", "topology", CONTRACT] + LINKS,
    "perf/link": ["include", "perf", "src/base", CONTRACT] + LINKS,
    "perf": ["include", "src/base", "src/gpu"],
    "examples": ["include"],
    "tools": ["include"] + LOWER + LINKS + ["src/tune", "src/sim", "src/exec"],
    "tools/net_check": ["include", "src/base", "src/netplugin", "tools"],
    "tools/efa_device": ["src/base", "topology"],
    "tests": None,  # anything
}

# Foreign headers that only the named modules may see.
FOREIGN = [
    (r"rdma/", ["transports/fabric", "perf/link", "tools", "tests"]),
    (r"(mpi|catch2/.*)\.h", ["perf", "examples", "tests"]),
    (r"infiniband/", ["tools/efa_device"]),
    (r"hwloc\.h", ["topology", "src/comm", "tools", "tests"]),
]
# Shared beyond its module: (header, who else may include it). Include-only, or compiled by each with its own.
SHARED = {("perf/launch_env.h", "tools"), ("perf/device.h", "tools")}
# Planning and pricing are functions of their arguments: no clock, thread, socket or environment.
PURE = ["src/plan", "src/tune", "src/sim"]
IMPURE = r"chrono|thread|mutex|atomic|condition_variable|filesystem|fstream|random|unistd\.h|sys/.*|time\.h|ctime"
IMPURE_OURS = ["src/base/clock.h", "src/base/settings.h", "src/base/reactor.h", "topology/discover.h",
               "topology/hwloc_import.h", "topology/system_facts.h"]
# In topology, only these look at a machine or a file; the rest is as pure as planning.
PROBES = r"topology/(discover|hwloc_import|system_facts|xml)\.(h|cpp)"


def tracked(*suffixes):
    files = subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files"], check=True,
                           text=True, stdout=subprocess.PIPE).stdout.splitlines()
    return [name for name in files if name.endswith(suffixes) and os.path.isfile(os.path.join(ROOT, name))]


def text_of(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def module_of(name):
    fits = [module for module in MAY_INCLUDE if name.startswith(module + "/")]
    return max(fits, key=len) if fits else None


def includes(name):
    """(line number, text between the quotes or brackets, file of the tree or None)"""
    for number, line in enumerate(text_of(name).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if not match:
            continue
        target = match.group(2)
        places = [target, "include/" + target, "include/weft/" + target]
        if match.group(1) == '"':
            places.insert(0, os.path.normpath(os.path.join(os.path.dirname(name), target)))
        yield number, target, next((p for p in places if os.path.isfile(os.path.join(ROOT, p))), None)


def is_pure(name, module):
    return module in PURE or (module == "topology" and not re.fullmatch(PROBES, name))


def arrow_fault(name, module, target, found):
    pure = is_pure(name, module)
    if found is None:
        for pattern, modules in FOREIGN:
            if re.fullmatch(pattern + ".*", target) and module not in modules:
                return f"<{target}> belongs to {', '.join(modules)}"
        if pure and re.fullmatch(IMPURE, target):
            return f"<{target}> makes planning depend on more than its arguments"
        return None
    if pure and found in IMPURE_OURS:
        return f"{found} makes planning depend on more than its arguments"
    other = module_of(found)
    allowed = MAY_INCLUDE[module]
    if allowed is None or other == module or other in allowed or (found, module) in SHARED:
        return None
    return f"{module} may not include {other} ({found})"


def cycles(edges):
    """Header cycles, by depth-first search."""
    state, path = {}, []

    def visit(name):
        state[name] = "open"
        path.append(name)
        for other in edges.get(name, ()):
            if state.get(other) == "open":
                yield " -> ".join(path[path.index(other):] + [other])
            elif other not in state:
                yield from visit(other)
        path.pop()
        state[name] = "closed"

    for name in edges:
        if name not in state:
            yield from visit(name)


def arrows(_):
    edges = {}
    for name in tracked(*SOURCES):
        module = module_of(name)
        if module is None:
            yield f"{name} is in no module of the table"
            continue
        for number, target, found in includes(name):
            fault = arrow_fault(name, module, target, found)
            if fault:
                yield f"{name}:{number}: {fault}"
            if found:
                edges.setdefault(name, []).append(found)
    for cycle in cycles(edges):
        yield f"headers include each other: {cycle}"


def headers(compiler):
    flags = ["-fsyntax-only", "-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Werror",
             "-D_GNU_SOURCE", "-I", ROOT, "-I", os.path.join(ROOT, "include")]
    config = subprocess.run(["pkg-config", "--cflags", "hwloc", "libfabric"], check=False, text=True,
                            stdout=subprocess.PIPE).stdout.split()
    jobs = []
    for name in tracked(".h"):
        if not name.startswith(("src/", "transports/", "topology/", "include/")):
            continue
        languages = [["-x", "c++", "-std=c++20"]]
        if name.startswith("include/"):
            languages = [["-x", "c++", "-std=c++11"], ["-x", "c", "-std=c11"]] + languages
        jobs += [(name, compiler + language + flags + config) for language in languages]

    def compile_alone(job):
        name, command = job
        return subprocess.run(command + ["-include", os.path.join(ROOT, name), "/dev/null"], check=False,
                              text=True, stderr=subprocess.PIPE)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for (name, _), result in zip(jobs, pool.map(compile_alone, jobs)):
            if result.returncode != 0:
                yield f"{name} does not compile alone:\n{result.stderr}"
    print(f"{len(jobs)} compilations")


def named_in_meson():
    """Files that a meson.build names, and the plain words it uses, by folder."""
    files, words = set(), {}
    for build in tracked("meson.build"):
        folder = os.path.dirname(build)
        for text in re.findall(r"'([^'\n]*)'", text_of(build)):
            files.add(os.path.normpath(os.path.join(folder, text)))
            words.setdefault(folder, set()).add(text)
    return files, words


def files(_):
    meson, words = named_in_meson()
    included = {found for name in tracked(*SOURCES) for _, _, found in includes(name) if found}
    scripts = tracked(".py")
    imported = {os.path.join(os.path.dirname(name), module + ".py") for name in scripts
                for module in re.findall(r"^\s*(?:import|from) (\w+)", text_of(name), flags=re.M)}
    # A shell script starts it by path.
    started = {name for name in scripts for shell in tracked("tools/quickstart", "tools/test", ".sh", ".ci/run")
               if name in text_of(shell)}
    for name in tracked(*SOURCES) + scripts:
        folder, base = os.path.split(name)
        stem = os.path.splitext(base)[0]
        # A build file may make the name in a loop: 'ring' + '_test.cpp'.
        looped = {stem, stem.removesuffix("_test")} & words.get(folder, set())
        if name not in meson and name not in included and name not in imported and name not in started and not looped:
            yield f"{name} is dead: no meson.build names it and nothing includes it"
        if re.search(r"(^|_)(utils?|misc|helpers?|manager)(_|$)", stem):
            yield f"{name}: the name does not say what is in the file"
        if base.endswith(".h") and "#pragma once" not in text_of(name) and "#ifndef" not in text_of(name):
            yield f"{name} has no include guard"


# (pattern, where it is forbidden, files it is allowed in, why)
WORDS = [
    (r"\bTO" r"DO\b|\bFIX" r"ME\b", ("",), (), "unfinished work belongs into an issue"),
    (r"\b(secure_)?getenv\s*\(", ("src/", "transports/", "topology/"),
     ("src/base/settings.cpp", "transports/fabric/environment.cpp"),
     "the environment is read in src/base/settings.cpp only, libfabric's part of it in transports/fabric/environment.cpp"),
    (r"\bstd::(cout|cerr)\b|\bf?printf\s*\(",
     ("src/plan/", "src/tune/", "src/sim/", "src/exec/", "src/bootstrap/", "transports/", "topology/"),
     (), "messages go through src/base/log.h"),
    (r"\busing namespace\b", ("src/", "transports/", "topology/", "include/"), (), "name what is used"),
    (r"\bsleep_(for|until)\s*\(|\bu?sleep\s*\((?<![.>]sleep\()", ("tests/unit/",), (), "unit tests do not sleep"),
]


def words(_):
    for name in tracked(*SOURCES, ".py", ".md", ".build", "run", "quickstart", "test"):
        for number, line in enumerate(text_of(name).splitlines(), 1):
            for pattern, places, exempt, why in WORDS:
                if name.startswith(places) and name not in exempt and re.search(pattern, line):
                    yield f"{name}:{number}: {why}: {line.strip()}"


# Types of the library that other files see, or that the linker could take for each other: those of
# nameless namespaces are left out. Namespace bodies are not indented here.
def types(_):
    seen = {}
    for name in tracked(".h", ".cpp"):
        if not name.startswith(("src/", "transports/", "topology/")):
            continue
        spaces = []
        for number, line in enumerate(text_of(name).splitlines(), 1):
            opened = re.match(r"(?:inline )?namespace ?([\w:]*) ?{", line)
            if opened and not line.rstrip().endswith("}"):
                spaces.append(opened.group(1))
            elif re.match(r"}  // namespace", line) and spaces:
                spaces.pop()
            found = re.match(r"(?:class|struct|union|enum(?: class)?) (?:\[\[\w+\]\] |alignas\(\w+\) )*(\w+)(?=[ {:<])(?!::)(.*)", line)
            if not found or "" in spaces or line.endswith(";") or found.group(2).startswith("<"):
                continue  # nameless, declared only, a member's type, a specialisation
            key = "::".join(spaces + [found.group(1)])
            if seen.setdefault(key, name) != name:
                yield f"{name}:{number}: {key} is the name of a type in {seen[key]}, too"


def clang_format():
    for program in ("clang-format-14", "clang-format"):
        path = shutil.which(program)
        if path and re.search(r"version 14\.", subprocess.run([path, "--version"], check=True, text=True,
                                                               stdout=subprocess.PIPE).stdout):
            return path
    return None


def style(_):
    program = clang_format()
    if program is None:
        print("skipped: clang-format 14 is not installed")
        sys.exit(SKIP)
    names = tracked(*SOURCES)
    result = subprocess.run([program, "--dry-run", "-Werror"] + names, check=False, text=True, cwd=ROOT,
                            stderr=subprocess.PIPE)
    for name in sorted(set(re.findall(r"^(\S+?):\d+:\d+: error:", result.stderr, flags=re.M))):
        yield f"{name}: run {os.path.basename(program)} -i"


PARTS = {"arrows": arrows, "headers": headers, "files": files, "words": words, "types": types, "format": style}


def main(part, *compiler):
    if not shutil.which("git") or not os.path.exists(os.path.join(ROOT, ".git")):
        print("skipped: not a git checkout")
        return SKIP
    faults = list(PARTS[part](list(compiler)))
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
