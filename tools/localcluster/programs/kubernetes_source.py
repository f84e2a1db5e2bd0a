"""Builds Kubernetes' servers from Debian's source package into the cache, once; an interruption is resumed.

Debian's binary packages carry kubectl alone, but its source package of 1.20.2 has the whole tree with vendor/.
Every finished binary waits in a staging folder, Go's own build cache lives beside it, and the finished set is
renamed into place, so that a folder of the final name is always complete.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.programs import packages
from tools.localcluster.system.paths import cache_dir, locked
from tools.localcluster.system.progress import Progress, Step
from tools.localcluster.system.shell import run, stream

VERSION = "1.20.2"
SERVERS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
# Raised when the recipe below changes what comes out of it.
_RECIPE = 2
_REFLECT2 = "github.com/modern-go/reflect2"
_GO = Path("/usr/lib/go-1.19/bin")


def built_dir() -> Path:
    """The folder of the finished binaries (SERVERS and `pause`), whether or not it is there yet."""
    return cache_dir() / f"kubernetes-{VERSION}-{os.uname().machine}-{_RECIPE}"


def require() -> None:
    """Raise ClusterError where the binaries are not built and cannot be."""
    if built_dir().is_dir():
        return
    packages.require_debian_root()
    release = platform.freedesktop_os_release()
    if release.get("ID") != "debian" or release.get("VERSION_ID") not in ("11", "12"):
        raise ClusterError(
            f"Kubernetes {VERSION} is built from the source package of Debian 11 or 12, and this is"
            f" {release.get('PRETTY_NAME', 'another system')}."
        )


def build(progress: Progress) -> Path:
    """Return the folder of the binaries, building them first where it is missing."""
    final = built_dir()
    with locked("build"):
        if final.is_dir():
            return final
        packages.require_debian_root()
        work = cache_dir() / "build" / final.name
        work.mkdir(parents=True, exist_ok=True)
        packages.install(packages.BUILD, progress, work / "packages.log")
        tree = _source_tree(work, progress)
        staging = work / "bin"
        staging.mkdir(exist_ok=True)
        for name in SERVERS:
            if not (staging / name).is_file():
                with progress.step(f"compile {name} ({SERVERS.index(name) + 1} of {len(SERVERS)})") as step:
                    _compile(name, tree, work, staging, step)
        with progress.step("compile pause"):
            _compile_pause(tree, staging)
        staging.rename(final)
        shutil.rmtree(work)
    return final


def source_lists(configured: Sequence[Path]) -> dict[str, str]:
    """Apt source lists like the `configured` ones that ask for source packages: file name -> text.

    Both apt formats are understood: one line per archive (`.list`) and deb822 stanzas (`.sources`).
    """
    lists: dict[str, str] = {}
    for path in configured:
        text = path.read_text()
        if path.suffix == ".sources":
            lists[path.name] = re.sub(r"(?mi)^Types:.*$", "Types: deb-src", text)
        else:
            lines = [re.sub(r"^\s*deb(?=\s)", "deb-src", line) for line in text.splitlines()]
            lists[path.name] = "\n".join(line for line in lines if line.startswith("deb-src")) + "\n"
    return lists


def _debian_source_entries() -> list[Path]:
    # SOURCESENTRY is "<file>:<line or stanza>", for every index that apt downloads for this machine.
    targets = run("apt-get", "indextargets", "--format", "$(SOURCESENTRY)|$(ORIGIN)").stdout
    entries = {line.rpartition("|") for line in targets.splitlines()}
    return sorted({Path(entry.rpartition(":")[0]) for entry, _, origin in entries if origin == "Debian"})


def _source_tree(work: Path, progress: Progress) -> Path:
    """Fetch, unpack and patch the source; returns the tree's root."""
    tree = work / "src" / "k8s.io" / "kubernetes"
    if tree.is_dir():
        return tree
    apt = work / "apt"
    log = work / "source.log"
    for folder in ("sources.d", "lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    for name, text in source_lists(_debian_source_entries()).items():
        (apt / "sources.d" / name).write_text(text)
    # Lists of our own: the machine's apt neither gains nor loses an index.
    options = [
        f"-oDir::Etc::SourceList={os.devnull}",
        f"-oDir::Etc::SourceParts={apt / 'sources.d'}",
        f"-oDir::State::Lists={apt / 'lists'}",
        f"-oDir::Cache={apt / 'cache'}",
        # The download runs as the user _apt, who may not look into root's home.
        "-oAPT::Sandbox::User=root",
    ]
    with progress.step(f"source package kubernetes {VERSION}") as step:
        stream(["apt-get", *options, "-q", "update"], lambda line: step.update(line[:90]), log)
        version = _candidate(options)
        for leftover in work.glob("kubernetes-*"):
            shutil.rmtree(leftover)
        # A path that apt unpacks into must not be group-writable by others; a fresh work folder is root's own.
        stream(
            ["apt-get", *options, "-q", "source", f"kubernetes={version}"],
            lambda line: step.update(line[:90]),
            log,
            cwd=work,
        )
        unpacked = next(path for path in work.glob("kubernetes-*") if path.is_dir())
        _patch(unpacked)
        tree.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(tree)
        for rest in (*work.glob("kubernetes_*"), apt):
            shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
    return tree


def _candidate(options: Sequence[str]) -> str:
    found = run("apt-cache", *options, "showsrc", "kubernetes", check=False).stdout
    versions: list[str] = re.findall(r"(?m)^Version: (\S+)$", found)
    # Debian's number can read "1.20.5+really1.20.2-1": what comes last before the revision is in the tree.
    for version in versions:
        if re.search(rf"(^|really){re.escape(VERSION)}(\+|-|$)", version):
            return version
    raise ClusterError(
        f"This Debian's source package `kubernetes` is {', '.join(versions) or 'absent'}; the servers are"
        f" only in {VERSION} (Debian 11 and 12). Set KUBEBUILDER_ASSETS to a folder with"
        " other binaries, or use Docker and kind."
    )


def _patch(tree: Path) -> None:
    """Two vendored packages of 2020 do not survive Go 1.19, and both break kube-apiserver's custom resources."""
    _patch_reflect2(tree)
    _patch_type_validator(tree)


def _patch_type_validator(tree: Path) -> None:
    """Let the validator of custom resources tell an empty string from null.

    It compares two `reflect.Value`s, which hold pointers; since Go 1.19 the zero string's are the same, so that every
    `""` in a custom resource, a label selector's for instance, is refused as `null`.
    """
    source = tree / "vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go"
    text = source.read_text()
    mistaken = "if data == nil || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data)) {"
    if mistaken not in text:
        raise ClusterError(f"{source} is not the file that this recipe mends; raise VERSION and the recipe together.")
    source.write_text(text.replace(mistaken, "if data == nil {"))


def _patch_reflect2(tree: Path) -> None:
    """Replace the vendored reflect2 1.0.1, with which kube-apiserver crashes at the first custom resource.

    Under Go 1.18 and later it reads maps through a runtime function that has gained an argument.
    """
    vendored = tree / "vendor" / _REFLECT2
    shutil.rmtree(vendored)
    shutil.copytree(Path("/usr/share/gocode/src") / _REFLECT2, vendored)
    for test in vendored.glob("*_test.go"):
        test.unlink()


def _compile(name: str, tree: Path, work: Path, staging: Path, step: Step) -> None:
    version_file = work / "version"
    version_file.write_text(
        "KUBE_GIT_COMMIT='unknown'\n"
        "KUBE_GIT_TREE_STATE='archive'\n"
        f"KUBE_GIT_VERSION='v{VERSION}'\n"
        f"KUBE_GIT_MAJOR='{VERSION.split('.')[0]}'\n"
        f"KUBE_GIT_MINOR='{VERSION.split('.')[1]}'\n"
    )
    # 1.20 predates a Go that builds it as a module: GOPATH mode, and its generators expect that layout.
    env = {
        "PATH": f"{_GO}:{os.environ.get('PATH', '')}",
        "GOPATH": str(work),
        "GOCACHE": str(work / "gocache"),
        "GO111MODULE": "off",
        "GOFLAGS": "-v",
        "CGO_ENABLED": "0",
        "KUBE_GIT_VERSION_FILE": str(version_file),
        "KUBE_VERBOSE": "1",
    }
    compiled = 0

    def show(line: str) -> None:
        nonlocal compiled
        if re.fullmatch(r"[\w.~-]+(/[\w.~-]+)+", line):
            compiled += 1
        step.update(f"{compiled} packages")

    # nice: seven minutes of compiling must not make the machine unusable for its owner.
    stream(["nice", "-n", "10", "make", f"WHAT=cmd/{name}"], show, work / "compile.log", cwd=tree, env=env)
    partial = staging / f".{name}"
    shutil.copy2(tree / "_output" / "bin" / name, partial)
    partial.rename(staging / name)
    step.note = f"{compiled} packages"


def _compile_pause(tree: Path, staging: Path) -> None:
    source = tree / "build" / "pause"
    # Kubernetes 1.20 moved Linux' pause into a folder of its own during its life.
    found = next(path for path in (source / "linux" / "pause.c", source / "pause.c") if path.is_file())
    run("gcc", "-Os", "-Wall", "-static", "-DVERSION=1", "-o", staging / "pause", found)
