from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.models import tiny
from tests.serving.engine import made
from tests.support import ROOT

from evertune import files
from evertune.records import EvertuneError, JsonObject, Release, UnreachableError
from evertune.serving import follower as follower_module
from evertune.serving import shelf as shelf_module
from evertune.serving.engine import build
from evertune.serving.engine import served as served_module
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.served import Served
from evertune.serving.follower import RETRY_S, Follower
from evertune.serving.leaving import Leaving
from evertune.serving.live import Live
from evertune.serving.origin import Fetched
from evertune.serving.shelf import Shelf

SLUG = "made-up"


class Ledger:
    """The ledger and MLflow, as far as the follower sees them: real files, made-up generations."""

    def __init__(self, bundle: Path, checks: Path | None) -> None:
        self.bundle, self.checks = bundle, checks
        self.releases: dict[str, Release] = {}
        self.away = False
        self.why_away: Exception = UnreachableError("the ledger is away")
        self.mlflow_away = False
        self.deaf = False
        self.fetches: list[int] = []
        self.told: list[tuple[str, int, str | None, str | None]] = []
        self.spoil: Callable[[Path], object] = lambda _: None

    def promote(self, generation: int, slug: str = SLUG, digest: str | None = None) -> None:
        self.releases[slug] = made.release(slug, generation, digest or files.digest(self.bundle))

    def current(self) -> dict[str, Release]:
        if self.away:
            raise self.why_away
        return dict(self.releases)

    def fetch(self, release: Release, to: Path) -> Fetched:
        self.fetches.append(release.generation)
        if self.mlflow_away:
            raise UnreachableError("MLflow is away")
        try:
            files.verify(to / "bundle", release.digest)
        except files.CorruptError:
            with files.new_folder(to / "bundle") as aside:
                for path in self.bundle.iterdir():
                    shutil.copyfile(path, aside / path.name)
        if self.checks is not None:
            files.write_bytes(to / "checks.parquet", self.checks.read_bytes())
        self.spoil(to)
        about: JsonObject = {"card": f"generation {release.generation}"}
        return Fetched(to / "bundle", to / "checks.parquet" if self.checks else None, about, 1.0)

    def report(self, slug: str, generation: int, engine: EngineReport | None, refusal: str | None) -> None:
        if self.away or self.deaf:
            raise UnreachableError("the ledger is away")
        self.told.append((slug, generation, engine.kind if engine else None, refusal))


class Server:
    """One life of a server: what answers, and who follows."""

    def __init__(self, ledger: Ledger, home: Path) -> None:
        self.now = 0.0
        self.live = Live()
        self.follower = Follower(self.live, ledger, home, clock=lambda: self.now)

    def boot(self) -> Server:
        self.follower.boot()
        return self

    @property
    def answers(self) -> int | None:
        """The generation that answers, having shown that it does."""
        served = self.live.get(SLUG)
        if served is None:
            return None
        assert len(served.answer(["good", "bad"])) == 2
        return served.release.generation


@pytest.fixture(autouse=True)
def _converted(shared_engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_convert", made.converted(shared_engine))


@pytest.fixture
def ledger(shared_bundle: Path, checks: Path) -> Ledger:
    return Ledger(shared_bundle, checks)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def place(home: Path, generation: int) -> Path:
    return Shelf(home, SLUG).place(generation)


def test_a_release_is_followed_and_reported(ledger: Ledger, home: Path) -> None:
    server = Server(ledger, home).boot()
    assert (server.answers, server.live.projects()) == (None, [])
    ledger.promote(1)
    server.follower.tick()
    assert server.answers == 1
    served = server.live.get(SLUG)
    assert served is not None
    assert served.about == {"card": "generation 1"}
    server.follower.tick()
    assert (ledger.fetches, ledger.told) == ([1], [(SLUG, 1, "onnx-int8", None)])
    ledger.promote(2)
    server.follower.tick()
    assert server.answers == 2
    assert ledger.told[1:] == [(SLUG, 2, "onnx-int8", None)]


def test_while_a_release_is_fetched_its_project_is_known(ledger: Ledger, home: Path) -> None:
    server = Server(ledger, home)
    assert server.live.released is None
    server.boot()
    assert (server.live.known(), server.live.loading()) == ([], [])
    seen: list[tuple[bool, list[str], list[str]]] = []
    ledger.spoil = lambda _: seen.append((server.live.knows(SLUG), server.live.loading(), server.live.projects()))
    ledger.promote(1)
    server.follower.tick()
    assert seen == [(True, [SLUG], [])]
    assert (server.live.known(), server.live.loading(), server.answers) == ([SLUG], [], 1)
    ledger.away = True
    server.follower.tick()
    assert server.live.released == {SLUG}


def test_a_boot_needs_nothing_but_the_disk(ledger: Ledger, home: Path) -> None:
    ledger.promote(1)
    Server(ledger, home).boot()
    ledger.away = ledger.mlflow_away = True
    server = Server(ledger, home).boot()
    assert server.answers == 1
    assert [server.live.away] == ["the ledger is away"]
    served = server.live.get(SLUG)
    assert served is not None
    assert served.about == {"card": "generation 1"}
    server.follower.tick()
    ledger.away = ledger.mlflow_away = False
    before = list(ledger.told)
    server.follower.tick()
    assert [server.live.away] == [None]
    assert ledger.told == [*before, (SLUG, 1, "onnx-int8", None)]
    assert ledger.fetches == [1]


@pytest.mark.parametrize("why", [EvertuneError("its tables are of another revision"), RuntimeError("unforeseen")])
def test_a_ledger_that_cannot_be_read_is_as_good_as_away(ledger: Ledger, home: Path, why: Exception) -> None:
    ledger.promote(1)
    Server(ledger, home).boot()
    ledger.away, ledger.why_away = True, why
    server = Server(ledger, home).boot()
    assert (server.answers, server.live.away) == (1, str(why))
    server.follower.tick()
    ledger.away = False
    ledger.promote(2)
    server.follower.tick()
    assert (server.answers, server.live.away) == (2, None)


def test_a_folder_that_cannot_be_booted_from_harms_no_other(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("a-bad-one", SLUG):
        ledger.promote(1, slug)
    Server(ledger, home).boot()
    ledger.away = True
    locked = Shelf.locked

    def stumbles(self: Shelf, *rest: Any) -> Any:
        if self.folder.name == "a-bad-one":
            raise RuntimeError("unforeseen")
        return locked(self, *rest)

    monkeypatch.setattr(Shelf, "locked", stumbles)
    assert Server(ledger, home).boot().answers == 1


def test_a_release_on_disk_that_stumbles_in_any_way_leaves_the_one_before(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for generation in (1, 2):
        ledger.promote(generation)
        Server(ledger, home).boot()
    ledger.away = True
    load = served_module.load

    def stumbles(bundle: Path, *rest: Any) -> Served:
        if bundle.parent == place(home, 2):
            raise RuntimeError("unforeseen")
        return load(bundle, *rest)

    monkeypatch.setattr(follower_module, "load", stumbles)
    assert Server(ledger, home).boot().answers == 1


def test_one_project_that_cannot_be_told_of_holds_up_no_other(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = ledger.report

    def odd(slug: str, *told: object) -> None:
        if slug == "a-bad-one":
            raise RuntimeError("unforeseen")
        report(slug, *told)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "report", odd)
    for slug in ("a-bad-one", SLUG):
        ledger.promote(1, slug)
    assert Server(ledger, home).boot().answers == 1
    assert ledger.told == [(SLUG, 1, "onnx-int8", None)]


def test_a_boot_answers_with_the_old_release_and_then_with_the_newest(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.promote(1)
    Server(ledger, home).boot()
    ledger.promote(2)
    server = Server(ledger, home)
    order: list[int] = []
    switch = server.live.switch

    def switched(served: Served) -> Served | None:
        order.append(served.release.generation)
        return switch(served)

    monkeypatch.setattr(server.live, "switch", switched)
    server.boot()
    assert order == [1, 2]


def test_a_release_of_another_ledger_does_not_answer(ledger: Ledger, home: Path) -> None:
    ledger.promote(3)
    Server(ledger, home).boot()
    ledger.releases.clear()
    assert Server(ledger, home).boot().answers is None
    ledger.promote(3, digest="f" * 64)
    ledger.mlflow_away = True
    assert Server(ledger, home).boot().answers is None


def test_what_was_switched_away_gives_its_memory_back_when_nothing_holds_it(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[None] = []
    monkeypatch.setattr(follower_module, "Leaving", lambda: Leaving(lambda: given.append(None)))
    ledger.promote(1)
    server = Server(ledger, home).boot()
    held = server.live.get(SLUG)
    ledger.promote(2)
    for _ in range(2):
        server.follower.tick()
    assert (server.answers, given) == (2, [])
    del held
    server.follower.tick()
    assert given == [None]


def test_a_rollback_takes_over_the_engine_that_was_built_before(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.promote(1)
    server = Server(ledger, home).boot()
    monkeypatch.setattr(build, "_convert", None)
    ledger.promote(2)
    server.follower.tick()
    assert server.answers == 2


def test_old_generations_but_one_are_removed_with_what_kills_left(ledger: Ledger, home: Path) -> None:
    server = Server(ledger, home).boot()
    for generation in (1, 2, 5):
        ledger.promote(generation)
        server.follower.tick()
    (place(home, 5) / ".bundle.torn").mkdir()
    (home / "serving" / SLUG / ".current.json.torn").touch()
    ledger.promote(6)
    server.follower.tick()
    assert Shelf(home, SLUG).generations() == [5, 6]
    assert not [path for path in (home / "serving").rglob(".*") if path.name != ".lock"]


def test_releases_that_are_refused_one_after_the_other_do_not_fill_the_disk(ledger: Ledger, home: Path) -> None:
    server = Server(ledger, home).boot()
    for generation in (1, 2):
        ledger.promote(generation)
        server.follower.tick()

    def spoil(to: Path) -> None:
        raise EvertuneError(f"{to.name} is not good")

    ledger.spoil = spoil
    for generation in range(3, 8):
        ledger.promote(generation)
        server.follower.tick()
        assert server.live.refused[SLUG].generation == generation
    assert Shelf(home, SLUG).generations() == [1, 2, 7], "what answers, the one before it, and what may be tried again"
    assert server.answers == 2


def test_a_note_that_was_changed_on_the_disk_is_not_believed(ledger: Ledger, home: Path) -> None:
    ledger.promote(1)
    Server(ledger, home).boot()
    shelf = Shelf(home, SLUG)
    assert [kept.release.generation for kept in shelf.candidates()] == [1]
    for path in (shelf.folder / "current.json", shelf.place(1) / "answered.json"):
        told = json.loads(path.read_text())
        told["kept"]["allowed_loss"] = 0.5
        path.write_text(json.dumps(told))
    assert shelf.candidates() == []


def _flip_weights(folder: Path) -> None:
    tiny.spoil(folder / "bundle" / "model.safetensors", tiny.flip)


def _pickle_beside(folder: Path) -> None:
    (folder / "bundle" / "evil.pkl").write_bytes(b"cos\nsystem\n")


def _no_config(folder: Path) -> None:
    (folder / "bundle" / "config.json").unlink()


def _torn_rows(folder: Path) -> None:
    tiny.spoil(folder / "checks.parquet", tiny.halve)


@pytest.mark.parametrize("harm", [_flip_weights, _pickle_beside, _no_config, _torn_rows])
def test_a_release_that_does_not_verify_is_refused_and_the_old_one_stays(
    ledger: Ledger, home: Path, harm: Callable[[Path], None]
) -> None:
    ledger.promote(1)
    server = Server(ledger, home).boot()
    ledger.promote(2)
    ledger.spoil = harm
    for _ in range(3):
        server.follower.tick()
        server.now += RETRY_S
    assert server.answers == 1
    assert ledger.fetches == [1, 2], "a bad release is not tried again"
    refused = server.live.refused[SLUG]
    assert refused.generation == 2
    assert [told[:2] for told in ledger.told] == [(SLUG, 1), (SLUG, 2)]
    assert ledger.told[1][3] == refused.reason
    # A boot, with and without the ledger, still takes the old one.
    assert Server(ledger, home).boot().answers == 1
    ledger.away = True
    assert Server(ledger, home).boot().answers == 1
    ledger.away = False
    ledger.spoil = lambda _: None
    ledger.promote(3)
    server.follower.tick()
    assert server.answers == 3
    assert server.live.refused == {}
    # What is kept beside it is what answered before, and not what was refused in between.
    shelf = Shelf(home, SLUG)
    assert shelf.generations() == [1, 3]
    tiny.spoil(shelf.place(3) / "bundle" / "config.json", tiny.halve)
    ledger.away = True
    assert Server(ledger, home).boot().answers == 1


def _load_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on what is loaded is whole and answers no numbers."""
    load = served_module.load

    def broken(*arguments: object) -> Served:
        served = load(*arguments)  # type: ignore[arg-type]
        run = served.model.run

        def nonsense(rows: list[list[int]], **_: bool) -> object:
            logits, embeddings = run(rows)
            return logits * float("nan"), embeddings

        monkeypatch.setattr(served.model, "run", nonsense)
        return served

    monkeypatch.setattr(follower_module, "load", broken)


def test_a_model_that_answers_nonsense_is_refused(ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.promote(1)
    server = Server(ledger, home).boot()
    _load_nonsense(monkeypatch)
    ledger.promote(2)
    server.follower.tick()
    assert server.answers == 1
    assert "not finite" in server.live.refused[SLUG].reason


def test_a_boot_warms_too(ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What answered on this machine may not do so after an upgrade of its runtime."""
    ledger.promote(1)
    assert Server(ledger, home).boot().answers == 1
    ledger.away = True
    _load_nonsense(monkeypatch)
    assert Server(ledger, home).boot().answers is None


def test_check_rows_that_were_changed_on_the_disk_are_not_used(ledger: Ledger, home: Path) -> None:
    ledger.promote(1)
    Server(ledger, home).boot()
    tiny.spoil(place(home, 1) / "checks.parquet", tiny.halve)
    ledger.away = True
    assert Server(ledger, home).boot().answers == 1


def test_what_was_away_is_tried_again_soon_and_then_less_and_less_often(ledger: Ledger, home: Path) -> None:
    ledger.promote(1)
    server = Server(ledger, home).boot()
    ledger.promote(2)
    ledger.mlflow_away = True
    server.follower.tick()
    tries, pauses = len(ledger.fetches), list[float]()
    for _ in range(8):
        waited = 0.0
        while len(ledger.fetches) == tries:
            waited += 5
            server.now += 5
            server.follower.tick()
        tries = len(ledger.fetches)
        pauses.append(waited)
    assert pauses == [10, 20, 40, 80, 160, 320, RETRY_S, RETRY_S]
    assert (server.answers, server.live.refused[SLUG].reason) == (1, "MLflow is away")
    ledger.mlflow_away = False
    server.now += RETRY_S
    server.follower.tick()
    assert (server.answers, server.live.refused) == (2, {})


def test_one_bad_project_harms_no_other(ledger: Ledger, home: Path) -> None:
    ledger.promote(1, "bad", digest="0" * 64)
    ledger.promote(1)
    server = Server(ledger, home).boot()
    assert (server.answers, list(server.live.refused)) == (1, ["bad"])


def test_a_ledger_that_does_not_listen_is_told_later(ledger: Ledger, home: Path) -> None:
    ledger.promote(1)
    ledger.deaf = True
    server = Server(ledger, home).boot()
    assert (server.answers, ledger.told) == (1, [])
    ledger.deaf = False
    server.follower.tick()
    assert ledger.told == [(SLUG, 1, "onnx-int8", None)]


# -- the local disk is not what it was


def test_a_torn_current_falls_back_to_what_answered(ledger: Ledger, home: Path) -> None:
    for generation in (1, 2):
        ledger.promote(generation)
        Server(ledger, home).boot()
    ledger.away = True
    for harm in (tiny.halve, tiny.flip, lambda data: data.clear()):
        current = home / "serving" / SLUG / "current.json"
        kept = current.read_bytes()
        tiny.spoil(current, harm)
        assert Server(ledger, home).boot().answers == 2
        current.write_bytes(kept)
    (home / "serving" / SLUG / "current.json").unlink()
    assert Server(ledger, home).boot().answers == 2


def test_a_current_that_names_what_is_gone_is_passed_over(ledger: Ledger, home: Path) -> None:
    for generation in (1, 2):
        ledger.promote(generation)
        Server(ledger, home).boot()
    shutil.rmtree(place(home, 2))
    ledger.away = True
    assert Server(ledger, home).boot().answers == 1


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "evertune.json", "manifest.json"])
@pytest.mark.parametrize("harm", [tiny.flip, tiny.halve])
def test_a_bundle_with_a_flipped_bit_never_answers(
    ledger: Ledger, home: Path, name: str, harm: Callable[[bytearray], object]
) -> None:
    for generation in (1, 2):
        ledger.promote(generation)
        Server(ledger, home).boot()
    tiny.spoil(place(home, 2) / "bundle" / name, harm)
    ledger.away = True
    assert Server(ledger, home).boot().answers == 1
    ledger.away = False
    tiny.spoil(place(home, 1) / "bundle" / name, harm)
    ledger.away = True
    assert Server(ledger, home).boot().answers is None


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin", "report.json", "manifest.json", "made_of.json"])
def test_a_damaged_engine_is_built_anew_from_the_bundle(ledger: Ledger, home: Path, name: str) -> None:
    ledger.promote(1)
    Server(ledger, home).boot()
    engine = place(home, 1) / "engine"
    harms: list[Callable[[], object]] = [
        lambda: tiny.spoil(engine / name, tiny.flip),
        (engine / name).unlink,
        lambda: shutil.rmtree(engine),
    ]
    for harm in harms:
        harm()
        ledger.away = True
        assert Server(ledger, home).boot().answers == 1
        files.verify(engine)


def test_a_kill_at_any_write_leaves_nothing_that_a_boot_takes_for_whole(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies at the first, second, third … file operation of an installation; then a boot without a ledger."""

    class KilledError(BaseException):
        pass

    ledger.promote(1)
    Server(ledger, home).boot()
    saved = shutil.copytree(home, home.parent / "saved")
    finished = False
    for at in itertools.count(1):
        shutil.rmtree(home)
        shutil.copytree(saved, home)
        count = 0

        def step(original: Callable[..., object], at: int = at) -> Callable[..., object]:
            def counted(*arguments: object, **options: object) -> object:
                nonlocal count
                count += 1
                if count >= at:  # a dead process does not clean up either
                    raise KilledError
                return original(*arguments, **options)

            return counted

        ledger.away = False
        ledger.promote(2)
        with monkeypatch.context() as patch:
            for owner, name in (
                (os, "fsync"), (Path, "replace"), (Path, "rename"), (shutil, "copyfile"), (shutil, "rmtree"),
                (Path, "mkdir"), (Path, "unlink"),
            ):  # fmt: skip
                patch.setattr(owner, name, step(getattr(owner, name)))
            try:
                Server(ledger, home).follower.tick()
                finished = True
            except KilledError:
                pass
        ledger.away = True
        assert Server(ledger, home).boot().answers in ((1, 2) if not finished else (2,)), at
        ledger.away = False
        assert Server(ledger, home).boot().answers == 2, at
        if finished:
            break
    assert at > 10


@pytest.mark.faults
def test_kill_9_during_an_installation(shared_bundle: Path, shared_engine: Path, checks: Path, home: Path) -> None:
    """The same with real kills, at random moments of a real process."""
    code = f"""
import sys, itertools
from pathlib import Path
from tests.serving.engine import made
from tests.serving.test_follower import Ledger, Server
from evertune.serving.engine import build
build._convert = made.converted(Path({str(shared_engine)!r}))
ledger = Ledger(Path({str(shared_bundle)!r}), Path({str(checks)!r}))
server = Server(ledger, Path({str(home)!r}))
first = int(sys.argv[1])
for generation in itertools.count(first):
    ledger.promote(generation)
    server.follower.tick()
    assert server.answers == generation, server.live.refused
    print(generation, flush=True)
"""
    ledger = Ledger(shared_bundle, checks)
    ledger.away = True
    reached = 0
    for kill in range(15):
        command = [sys.executable, "-c", code, str(reached + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            time.sleep(0.01 * kill)
            process.send_signal(signal.SIGKILL)
            reached = int([line, *process.stdout.read().splitlines()][-1])
        assert Server(ledger, home).boot().answers in (reached, reached + 1), json.dumps([kill, reached])
        reached += 1


def test_two_servers_of_one_home_share_what_one_has_made(ledger: Ledger, home: Path) -> None:
    ledger.promote(1)
    one, other = Server(ledger, home).boot(), Server(ledger, home).boot()
    ledger.promote(2)
    threads = [threading.Thread(target=server.follower.tick) for server in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (one.answers, other.answers) == (2, 2)


def test_the_thread_follows_and_outlives_what_it_meets(ledger: Ledger, home: Path) -> None:
    server = Server(ledger, home)
    server.follower = Follower(server.live, ledger, home, poll_s=0.02)
    faults = iter([RuntimeError("unforeseen"), EvertuneError("foreseen")])
    current = ledger.current

    def flaky() -> dict[str, Release]:
        for fault in faults:
            raise fault
        return current()

    ledger.current = flaky  # type: ignore[method-assign]
    server.follower.start()
    ledger.promote(1)
    try:
        for _ in range(6_000):
            if server.answers == 1:
                break
            time.sleep(0.02)
    finally:
        server.follower.stop()
    assert server.answers == 1


def _eventually(happens: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if happens():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def test_a_boot_that_fails_is_tried_again(ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.promote(1)
    Server(ledger, home).boot()
    ledger.away = True
    slugs, faults = shelf_module.slugs, iter([OSError("the disk stumbles")])

    def flaky(folder: Path) -> list[str]:
        for fault in faults:
            raise fault
        return slugs(folder)

    monkeypatch.setattr(shelf_module, "slugs", flaky)
    server = Server(ledger, home)
    server.follower = Follower(server.live, ledger, home, poll_s=0.02)
    server.follower.start()
    try:
        _eventually(lambda: server.answers == 1)
    finally:
        server.follower.stop()


def _ends(follower: Follower, wait_s: float) -> bool:
    """Whether a server that ends does not hang at this."""
    ending = threading.Thread(target=follower.stop, args=[wait_s], daemon=True)
    ending.start()
    ending.join(50)
    return not ending.is_alive()


def test_an_end_does_not_wait_for_a_lock_that_another_process_holds(ledger: Ledger, home: Path) -> None:
    ledger.promote(1)
    server = Server(ledger, home)
    with Shelf(home, SLUG).locked():
        server.follower.start()
        _eventually(lambda: server.live.away is None and (home / "serving" / SLUG / ".lock").exists())
        assert _ends(server.follower, 60)
        thread = server.follower._thread
        assert thread is not None
        assert not thread.is_alive()
    assert (server.live.refused, ledger.fetches) == ({}, [])


def test_a_project_whose_download_hangs_holds_up_no_other(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, released, hanging = ledger.fetch, threading.Event(), list[str]()

    def hangs(release: Release, to: Path) -> Fetched:
        if release.project == "a-slow-one":
            hanging.append(release.project)
            released.wait(60)
        return fetch(release, to)

    monkeypatch.setattr(ledger, "fetch", hangs)
    server = Server(ledger, home)
    server.follower = Follower(server.live, ledger, home, poll_s=0.02)
    ledger.promote(1, "a-slow-one")
    server.follower.start()
    try:
        _eventually(lambda: bool(hanging))
        for generation in (1, 2):
            ledger.promote(generation)
            _eventually(lambda generation=generation: server.answers == generation)  # type: ignore[misc]
        _eventually(lambda: (SLUG, 2, "onnx-int8", None) in ledger.told)
        assert hanging == ["a-slow-one"], "it is asked for once"
        released.set()
        _eventually(lambda: "a-slow-one" in server.live.projects())
    finally:
        released.set()
        server.follower.stop()


def test_an_end_does_not_wait_for_a_download_that_hangs(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = threading.Event(), threading.Event()

    def hangs(*_: object) -> Fetched:
        begun.set()
        released.wait(60)
        raise UnreachableError("at last")

    monkeypatch.setattr(ledger, "fetch", hangs)
    ledger.promote(1)
    server = Server(ledger, home)
    server.follower.start()
    assert begun.wait(60)
    try:
        assert _ends(server.follower, 0.1)
    finally:
        released.set()
