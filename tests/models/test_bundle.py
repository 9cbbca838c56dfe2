from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.models import tiny

from evertune import files
from evertune.models import bundle, classifier
from evertune.records import EvertuneError, UnfitError


class _Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_bundle_is_what_was_written(made: Path) -> None:
    assert bundle.check(made, files.digest(made)) == files.digest(made)
    assert {path.name for path in made.iterdir()} == bundle.FILES
    facts = bundle.facts(made)
    assert (facts.labels, facts.max_tokens, facts.temperature) == (tiny.LABELS, 32, 2.0)


def test_equal_models_are_equal_bytes(made: Path, base: Path, tmp_path: Path) -> None:
    again = bundle.write(tmp_path / "again", tiny.classifier(), base, tiny.LABELS, 32, temperature=2.0)
    assert again == files.digest(made)


@pytest.mark.parametrize("name", sorted(bundle.FILES))
def test_one_flipped_bit_in_any_file_is_refused(made: Path, name: str) -> None:
    digest = files.digest(made)
    tiny.spoil(made / name, tiny.flip)
    with pytest.raises(EvertuneError):
        classifier.load(made, digest)


@pytest.mark.parametrize("name", sorted(bundle.FILES))
def test_a_missing_or_cut_file_is_refused(made: Path, name: str) -> None:
    digest = files.digest(made)
    tiny.spoil(made / name, tiny.halve)
    with pytest.raises(EvertuneError):
        bundle.check(made, digest)
    (made / name).unlink()
    with pytest.raises(EvertuneError):
        bundle.check(made, digest)


def test_another_version_than_asked_for_is_refused(made: Path) -> None:
    with pytest.raises(files.CorruptError, match="not that version"):
        bundle.check(made, "0" * 64)


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _extra_pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(folder.parent / "executed")))


def _pickle_as_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Bomb(folder.parent / "executed")))


def _remote_code(folder: Path) -> None:
    code = f"from pathlib import Path\nPath({str(folder.parent / 'executed')!r}).touch()\n"
    (folder.parent / "modeling_evil.py").write_text(code)
    auto = {"AutoModelForSequenceClassification": "modeling_evil.Evil"}
    _edit(folder / "config.json", lambda config: config.update(auto_map=auto))


def _code_beside(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text(f"open({str(folder.parent / 'executed')!r}, 'w')")


def _linked_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "elsewhere")
    (folder / "model.safetensors").symlink_to(folder.parent / "elsewhere")


def _subfolder(folder: Path) -> None:
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"open({str(folder.parent / 'executed')!r}, 'w')")


def _other_architecture(folder: Path) -> None:
    _edit(folder / "config.json", lambda config: config.update(architectures=["EvilModel"]))


def _other_type(folder: Path) -> None:
    _edit(folder / "config.json", lambda config: config.update(model_type="llama"))


def _other_labels(folder: Path) -> None:
    _edit(folder / "config.json", lambda config: config.update(id2label={"0": "positive", "1": "negative"}))


def _tokenizer_class(folder: Path) -> None:
    evil = {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}, "tokenizer_class": "Evil"}
    _edit(folder / "tokenizer_config.json", lambda config: config.update(evil))


def _tokenizer_key(folder: Path) -> None:
    _edit(folder / "tokenizer.json", lambda content: content.update(code="import os"))


def _fact(folder: Path) -> None:
    _edit(folder / "evertune.json", lambda facts: facts.update(hook="os.system"))


def _temperature(folder: Path) -> None:
    _edit(folder / "evertune.json", lambda facts: facts.update(temperature=0))


def _huge_header(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + data[8:])


def _overlapping_tensors(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    header[names[1]] = header[names[0]]
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def _deep_json(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


HOSTILE = [
    _extra_pickle, _pickle_as_weights, _remote_code, _code_beside, _linked_weights, _subfolder, _other_architecture,
    _other_type, _other_labels, _tokenizer_class, _tokenizer_key, _fact, _temperature, _huge_header,
    _overlapping_tensors, _deep_json,
]  # fmt: skip


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__.strip("_"))
def test_a_hostile_bundle_is_refused_and_nothing_of_it_runs(made: Path, attack: Callable[[Path], None]) -> None:
    attack(made)
    (made / files.MANIFEST).unlink()
    files.seal(made)  # the attacker can make a manifest that fits
    with pytest.raises(EvertuneError):
        classifier.load(made)
    assert not (made.parent / "executed").exists()


def test_a_link_to_a_bundle_is_refused(made: Path) -> None:
    (made.parent / "linked").symlink_to(made)
    with pytest.raises(files.CorruptError, match="no folder"):
        bundle.check(made.parent / "linked", None)


def test_weights_of_another_size_are_refused(made: Path, tmp_path: Path, base: Path) -> None:
    bundle.write(tmp_path / "wide", tiny.classifier(intermediate_size=96), base, tiny.LABELS, 32)
    shutil.copyfile(tmp_path / "wide" / "model.safetensors", made / "model.safetensors")
    files.seal(made)
    with pytest.raises((EvertuneError, RuntimeError)):
        classifier.load(made)


def test_one_label_is_no_classifier(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ValueError, match="labels"):
        bundle.write(tmp_path / "one", tiny.classifier(), base, ["only"], 32)
    assert not (tmp_path / "one").exists()


def test_unknown_keys_tell_where(made: Path) -> None:
    _fact(made)
    with pytest.raises(UnfitError, match=r"evertune\.json: hook"):
        bundle.facts(made)
