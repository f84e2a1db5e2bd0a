"""Builds images without a Docker engine: buildah on a base image made by debootstrap.

Images lie in a storage of our own below the cache folder, so nothing mixes with the machine's containers, and
deleting the folder deletes everything.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.localcluster.errors import ClusterError
from tools.localcluster.images import pip_settings
from tools.localcluster.images.inputs import KEY_LENGTH
from tools.localcluster.programs import packages
from tools.localcluster.system.paths import cache_dir
from tools.localcluster.system.progress import Progress, Step
from tools.localcluster.system.shell import run, stream

SUITE = "bookworm"
_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
# What a running program never reads: half of the bytes.
_PRUNED = (
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/cache/debconf/*",
    "var/cache/ldconfig/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)
_SOURCES = "".join(
    f"deb http://deb.debian.org/{archive} {suite} main\n"
    for archive, suite in (
        ("debian", SUITE),
        ("debian", f"{SUITE}-updates"),
        ("debian-security", f"{SUITE}-security"),
    )
)
_CERTS = "/etc/ssl/certs"
# Root's home is in every image, empty but for dot files: what is mounted over it leaves no mount point behind.
_HOME = "/root"
# Going back to an earlier commit finds its images still there; older ones make room.
_KEPT = 4
# Raised when the recipe below changes what comes out of it.
_RECIPE = 1

BASE_KEY = hashlib.sha256(json.dumps([SUITE, _PACKAGES, _PRUNED, _SOURCES, _RECIPE]).encode()).hexdigest()[:KEY_LENGTH]
BASE_IMAGE = f"localhost/edgemodel/base:{BASE_KEY}"


class Buildah:
    """Builds and pushes with buildah; see `session` for how to get one."""

    variant = f"debian {SUITE} base {BASE_KEY}"

    def __init__(self, storage: Path, scratch: Path, progress: Progress) -> None:
        self._storage = storage
        self._scratch = scratch
        self._progress = progress
        self._log = cache_dir() / "images.log"

    @classmethod
    @contextmanager
    def session(cls, progress: Progress) -> Iterator[Buildah]:
        """A builder whose mounts and scratch files are gone at the end.

        Raises:
            ClusterError: not Linux, not root, or not Debian; the message says what else to do.
        """
        packages.require_debian_root()
        packages.install(("buildah", "debootstrap"), progress, cache_dir() / "packages.log")
        storage = cache_dir() / "containers"
        storage.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="edgemodel-images-", dir=cache_dir()) as scratch:
            try:
                yield cls(storage, Path(scratch), progress)
            finally:
                _unmount_below(storage)

    def has(self, image: str) -> bool:
        """Whether the storage holds `image`."""
        return self._buildah("inspect", "--type", "image", image, check=False) is not None

    def prepare(self) -> None:
        """Make the base image unless the storage holds it."""
        if self.has(BASE_IMAGE):
            return
        tree = self._scratch / "base"
        mirror = _debian_mirror()
        with self._progress.step(f"base image: Debian {SUITE} with Python") as step:
            stream(
                ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, str(tree), mirror],
                lambda line: step.update(line[:90]),
                self._log,
            )
            (tree / "etc/apt/sources.list").write_text(_SOURCES)
            for pattern in _PRUNED:
                for path in tree.glob(pattern):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            size = int(run("du", "-sb", tree).stdout.split()[0])
            container = self._output("from", "scratch")
            try:
                mounted = self._output("mount", container)
                run("cp", "--archive", f"{tree}/.", mounted)
                self._output("config", "--cmd", "bash", "--env", "LANG=C.UTF-8", container)
                self._output("commit", "--quiet", "--format", "oci", container, BASE_IMAGE)
            finally:
                self._buildah("rm", container, check=False)
            shutil.rmtree(tree)
            step.note = f"{size / 1e6:.0f} MB"

    def build(self, image: str, context: Path, dockerfile: str, step: Step) -> None:
        """Build `image` on the base image that `prepare` has made."""
        home = self._scratch / "home"
        settings = pip_settings.inside_build(pip_settings.read(), f"{_HOME}/mounts")
        conf = home / ".config" / "pip" / "pip.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(settings.text)
        volumes = [f"{home}:{_HOME}"]
        if Path(_CERTS).is_dir():
            volumes.append(f"{_CERTS}:{_CERTS}:ro")
        for inside, outside in settings.mounts.items():
            place = home / Path(inside).relative_to(_HOME)
            place.parent.mkdir(parents=True, exist_ok=True)
            if outside.is_dir():
                place.mkdir(exist_ok=True)
            else:
                place.touch()
            volumes.append(f"{outside}:{inside}:ro")
        self._stream(
            step,
            *("build", "--layers", "--isolation", "chroot", "--network", "host", "--pull=never", "--format", "oci"),
            *(f"--volume={volume}" for volume in volumes),
            f"--build-arg=BASE_IMAGE={BASE_IMAGE}",
            f"--ignorefile={context / '.dockerignore'}",
            *("--tag", image, "--file", str(context / dockerfile), str(context)),
        )
        for old in superseded(json.loads(self._output("images", "--json")), image, _KEPT):
            self._buildah("rmi", old, check=False)

    def push(self, image: str, target: str, step: Step) -> None:
        """Push `image` to the plain-HTTP registry reference `target`."""
        self._stream(step, "push", "--tls-verify=false", "--format", "oci", image, f"docker://{target}")

    def unpacked_bytes(self, image: str) -> int:
        """Bytes of the files of `image`."""
        container = self._output("from", "--pull-never", image)
        try:
            return int(run("du", "--summarize", "--bytes", self._output("mount", container)).stdout.split()[0])
        finally:
            self._buildah("rm", container, check=False)

    def _command(self, *args: str) -> list[str]:
        return [
            "buildah",
            f"--root={self._storage}",
            f"--runroot={self._scratch / 'run'}",
            "--storage-driver=overlay",
            *args,
        ]

    def _buildah(self, *args: str, check: bool = True) -> str | None:
        done = run(*self._command(*args), check=check, timeout=600)
        return done.stdout.strip() if done.returncode == 0 else None

    def _output(self, *args: str) -> str:
        return self._buildah(*args) or ""

    def _stream(self, step: Step, *args: str) -> None:
        # Wheels and layers are unpacked in TMPDIR, and /tmp may be a small tmpfs.
        stream(self._command(*args), lambda line: step.update(line[:90]), self._log, env={"TMPDIR": str(self._scratch)})


def _debian_mirror() -> str:
    listed = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(RELEASE) $(SITE)").stdout
    return choose_mirror(listed)


def choose_mirror(index_targets: str) -> str:
    """The mirror that this machine's apt takes Debian from.

    Args:
        index_targets: lines of origin, component, release and site, as `apt-get indextargets` prints them.

    Raises:
        ClusterError: apt knows no Debian archive.
    """
    for line in index_targets.splitlines():
        # Updates and security live in archives of their own, which hold no whole release.
        match = re.fullmatch(r"Debian main ([a-z]+) ((?:https?|file):\S+)", line.strip())
        if match:
            return match.group(2)
    raise ClusterError(
        "This machine's apt configuration names no Debian archive that the base image could be made from."
        " Run `apt-get update` and try again, or start Docker."
    )


def superseded(listed: Sequence[Mapping[str, Any]], image: str, keep: int) -> list[str]:
    """Older images of the same repository beyond the `keep` newest.

    Args:
        listed: what `buildah images --json` prints: objects with `names` and `createdatraw`.
    """
    repository = f"{image.rpartition(':')[0]}:"
    found = [
        (entry["createdatraw"], name)
        for entry in listed
        for name in entry.get("names") or ()
        if name.startswith(repository)
    ]
    return [name for _, name in sorted(found, reverse=True)[keep:]]


def _unmount_below(folder: Path) -> None:
    """Undo the mounts that buildah leaves in its storage."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in _deepest_first(mounts, folder):
        run("umount", mount)


def _deepest_first(mounts: Sequence[str], folder: Path) -> list[str]:
    return sorted((mount for mount in mounts if Path(mount).is_relative_to(folder)), key=len, reverse=True)
