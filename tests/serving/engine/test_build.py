from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.models import tiny
from tests.serving.engine import made

from evertune import files
from evertune.models import classifier
from evertune.records import EvertuneError
from evertune.serving.engine import build, convert
from evertune.serving.engine.native import machine
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.served import MODEL, REPORT, load, read_report

TEXTS = [words for words, _ in tiny.sentences(40, seed=5)] + ["", "good", " ".join(tiny.WORDS * 5), "[SEP] <mask>"]


@pytest.fixture
def engine(shared_engine: Path, tmp_path: Path) -> Path:
    """An engine of this test's own."""
    return Path(shutil.copytree(shared_engine, tmp_path / "engine"))


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    def converted(*_: object) -> None:
        raise AssertionError("nothing is to be converted")

    monkeypatch.setattr(build, "_convert", converted)


def test_the_report_says_what_was_built_and_why(shared_engine: Path) -> None:
    report = read_report(shared_engine)
    assert report.kind == "onnx-int8", report
    assert report.rows == 150, "a quarter of the rows has been fitted to"
    assert report.agreement is not None
    assert report.agreement >= 0.99
    assert report.difference is not None
    assert report.difference < 1e-4
    assert report.neighbours is not None
    assert report.neighbours < 1e-5, "no text changes another one's answer"
    assert report.allowed_loss == 1.0
    assert report.seconds > 0


def test_answers_are_those_of_the_model_as_trained(shared_bundle: Path, shared_engine: Path) -> None:
    digest = files.digest(shared_bundle)
    served = load(shared_bundle, digest, shared_engine, made.release(digest=digest), {})
    answers = served.answer(TEXTS)
    reference = classifier.load(shared_bundle)
    scores = np.array([one.scores for one in answers])
    np.testing.assert_allclose(scores, reference.probabilities(TEXTS), atol=0.05)
    embeddings = np.stack([one.embedding.astype(np.float32) for one in answers])
    wanted = reference.embeddings(TEXTS)
    assert np.abs(embeddings - wanted).mean() < 0.05 * np.abs(wanted).mean() + 0.02
    assert [one.cut for one in answers] == [False] * 42 + [True, False]


def test_an_engine_of_kind_torch_answers_with_the_bundle_itself(shared_bundle: Path, tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "engine") as aside:
        files.write_json(aside / REPORT, EngineReport(kind="torch", reason="not ONNX", allowed_loss=1.0).model_dump())
    digest = files.digest(shared_bundle)
    served = load(shared_bundle, digest, tmp_path / "engine", made.release(digest=digest), {})
    answers, reference = served.answer(TEXTS), classifier.load(shared_bundle)
    np.testing.assert_allclose([one.scores for one in answers], reference.probabilities(TEXTS), atol=1e-5)
    np.testing.assert_allclose([one.embedding for one in answers], reference.embeddings(TEXTS), atol=0.01)
    with pytest.raises(files.CorruptError):
        load(shared_bundle, "0" * 64, tmp_path / "engine", made.release(), {})


def test_an_engine_that_is_there_is_used_again(
    shared_bundle: Path, engine: Path, checks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never(monkeypatch)
    before = read_report(engine)
    assert build.build(shared_bundle, files.digest(shared_bundle), checks, 1.0, engine) == before


def _flip(engine: Path) -> None:
    tiny.spoil(engine / MODEL, tiny.flip)


def _cut(engine: Path) -> None:
    tiny.spoil(engine / MODEL, tiny.halve)


def _no_manifest(engine: Path) -> None:
    (engine / files.MANIFEST).unlink()


def _no_model(engine: Path) -> None:
    (engine / MODEL).unlink()


def _another_report(engine: Path) -> None:
    (engine / "report.json").write_text("{}")
    files.seal(engine)


def _another_recipe(engine: Path) -> None:
    files.write_json(engine / build.MADE_OF, files.read_json(engine / build.MADE_OF) | {"recipe": 0})
    files.seal(engine)


@pytest.mark.parametrize("harm", [_flip, _cut, _no_manifest, _no_model, _another_report, _another_recipe])
def test_one_that_does_not_verify_or_fit_is_built_anew(  # noqa: PLR0917 - fixtures
    shared_bundle: Path, engine: Path, shared_engine: Path, checks: Path, harm: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(harm)
    harm(engine)
    monkeypatch.setattr(build, "_convert", made.converted(shared_engine))
    report = build.build(shared_bundle, files.digest(shared_bundle), checks, 1.0, engine)
    assert report == read_report(shared_engine)
    assert files.sha256(engine / MODEL) == files.sha256(shared_engine / MODEL)


def test_other_check_rows_or_another_allowed_loss_need_another_engine(
    shared_bundle: Path, shared_engine: Path, checks: Path, tmp_path: Path
) -> None:
    digest = files.digest(shared_bundle)
    assert build.copy(shared_engine, digest, checks, 1.0, tmp_path / "same")
    assert read_report(tmp_path / "same") == read_report(shared_engine)
    assert not build.copy(shared_engine, digest, checks, 0.5, tmp_path / "stricter")
    assert not build.copy(shared_engine, digest, None, 1.0, tmp_path / "without")
    assert not build.copy(shared_engine, "0" * 64, checks, 1.0, tmp_path / "another")
    assert not build.copy(tmp_path / "nothing", digest, checks, 1.0, tmp_path / "none")


def test_a_bundle_that_does_not_verify_is_never_converted(
    shared_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never(monkeypatch)
    digest = files.digest(shared_bundle)
    spoilt = Path(shutil.copytree(shared_bundle, tmp_path / "bundle"))
    tiny.spoil(spoilt / "model.safetensors", tiny.flip)
    for folder, wanted in ((spoilt, digest), (shared_bundle, "0" * 64)):
        with pytest.raises(files.CorruptError):
            build.build(folder, wanted, None, 0.003, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_a_conversion_that_fails_leaves_nothing_and_says_why(
    shared_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "checks.parquet"
    pq.write_table(pa.table({"text": ["good"], "truth": [7]}), rows)
    with pytest.raises(EvertuneError, match="names classes that the model does not have"):
        build.build(shared_bundle, files.digest(shared_bundle), rows, 0.003, tmp_path / "to" / "engine")
    assert list((tmp_path / "to").iterdir()) == []


def test_the_engine_is_loaded_and_answers_without_torch(shared_bundle: Path, shared_engine: Path) -> None:
    digest = files.digest(shared_bundle)
    code = (
        "import sys; from pathlib import Path; from evertune.records import Release;"
        "from evertune.serving.engine import served, batcher, build; from evertune.serving import follower;"
        f"release = Release.model_validate_json({made.release(digest=digest).model_dump_json()!r});"
        f"one = served.load(Path({str(shared_bundle)!r}), {digest!r}, Path({str(shared_engine)!r}), release, {{}});"
        "answers = one.answer(['good', 'bad film']);"
        "import json; print(json.dumps([len(answers), sorted({'torch', 'transformers', 'onnx', 'mlflow', 'pandas'}"
        " & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [2, []]


def test_a_server_that_ends_ends_the_conversion(shared_bundle: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(build.StoppedError):
        build.build(shared_bundle, files.digest(shared_bundle), None, 0.003, tmp_path / "to" / "engine", stop)
    assert list((tmp_path / "to").iterdir()) == []


def test_own_code_that_crashes_is_left_out(
    shared_bundle: Path, shared_engine: Path, checks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert, given = made.converted(shared_engine), list[list[str]]()

    def crashing(command: list[str], aside: Path, stop: threading.Event) -> None:
        given.append(command)
        if "--portable" not in command:
            (aside / "half").write_bytes(b"written")
            raise build._CrashedError("status -11")
        convert(command, aside, stop)

    monkeypatch.setattr(build, "_convert", crashing)
    build.build(shared_bundle, files.digest(shared_bundle), checks, 1.0, tmp_path / "engine")
    assert [command[-1] == "--portable" for command in given] == [False, True]
    assert not (tmp_path / "engine" / "half").exists()


@pytest.mark.parametrize(
    ("end", "status", "kind"),
    [
        (f"os.kill(os.getpid(), {signal.SIGSEGV:d})", -signal.SIGSEGV, build._CrashedError),
        (f"os.kill(os.getpid(), {signal.SIGILL:d})", -signal.SIGILL, build._CrashedError),
        (f"os.kill(os.getpid(), {signal.SIGKILL:d})", -signal.SIGKILL, build.PassingError),  # where memory ran out
        (f"os._exit({build.PASSING})", build.PASSING, build.PassingError),
        ("os._exit(1)", 1, EvertuneError),
    ],
)
def test_ends_of_a_conversion_are_told_apart(tmp_path: Path, end: str, status: int, kind: type[Exception]) -> None:
    with pytest.raises(EvertuneError, match=rf"could not be converted \(status {status:d}\)") as told:
        build._convert([sys.executable, "-c", f"import os; {end}"], tmp_path, threading.Event())
    assert type(told.value) is kind
    assert ("dmesg" in str(told.value)) is (status == -signal.SIGKILL), "who is killed says nothing itself"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (OSError(28, "No space left on device"), "No space left"),
        (MemoryError(), "To make it fit: choose a smaller base model"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "To make it fit: choose a smaller base model"),
    ],
)
def test_a_full_disk_may_be_empty_the_next_time_and_so_may_memory(  # noqa: PLR0917 - fixtures
    shared_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    fault: Exception, said: str,
) -> None:  # fmt: skip
    def full(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(convert, "convert", full)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(logging, "disable", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["convert", str(shared_bundle), "digest", str(tmp_path), "--allowed-loss", "0"])
    with pytest.raises(SystemExit) as left:
        convert.main()
    assert left.value.code == build.PASSING
    assert said in capsys.readouterr().err


def test_an_engine_of_another_processor_is_built_anew(
    shared_bundle: Path, engine: Path, shared_engine: Path, checks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "recipe", lambda: "of another processor")
    monkeypatch.setattr(build, "_convert", made.converted(shared_engine))
    build.build(shared_bundle, files.digest(shared_bundle), checks, 1.0, engine)
    assert files.read_json(engine / build.MADE_OF)["native"] == "of another processor"


@pytest.mark.parametrize("status", [0, 1])
def test_what_a_conversion_writes_meanwhile_is_no_part_of_the_engine(tmp_path: Path, status: int) -> None:
    code = f"import sys, tempfile; print(tempfile.mkdtemp(), file=sys.stderr); raise SystemExit({status})"
    aside = tmp_path / "aside"
    aside.mkdir()
    with contextlib.nullcontext() if not status else pytest.raises(EvertuneError, match=f"{aside}/"):
        build._convert([sys.executable, "-c", code], aside, threading.Event())
    assert list(aside.iterdir()) == []
