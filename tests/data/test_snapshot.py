import errno
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from evertune import files
from evertune.data import snapshot
from evertune.data.cells import BAD_TIME, NOT_REDACTED
from evertune.data.snapshot import draw
from evertune.data.sources import fingerprint, rows
from evertune.project.options import Project
from evertune.records import EvertuneError, Pins, UnfitError
from evertune.settings import Settings, load
from evertune.text import Redactor, clean, row_id

CANARIES = [
    "ann.canary@example.org",
    "+44 20 7946 0958",
    "4111 1111 1111 1111",
    "GB82WEST12345698765432",
    "10.11.12.13",
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"EVERTUNE_HOME": str(tmp_path / "home"), "EVERTUNE_SUBJECT_SALT": "s"})


class Drawing:
    """A project over files in a folder, drawn on call."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    def project(self, sources: list[dict[str, Any]], columns: dict[str, Any]) -> Project:
        data = {"sources": sources, "columns": {"text": "text", "label": "label", **columns}}
        return Project.model_validate(
            {"schema_version": 1, "slug": "sample", "owner": "me", "data": data, "base": {"sha256": "0" * 64}}
        )

    def __call__(
        self,
        *contents: str | bytes,
        columns: dict[str, Any] | None = None,
        options: list[dict[str, Any]] | None = None,
    ) -> list[dict[str, Any]]:
        sources = []
        for number, content in enumerate(contents):
            path = self.folder / f"{number}.csv"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            sources.append({"uri": str(path), **(options[number] if options else {})})
        project = self.project(sources, columns or {})
        pins = {source.uri: fingerprint(source, self.settings) for source in project.data.sources}
        draw(project, Pins(sources=pins, base="", recipes={}), self.out, self.settings)
        files.verify(self.out)
        found: list[dict[str, Any]] = pq.read_table(self.out / "rows.parquet").to_pylist()
        return found

    @property
    def out(self) -> Path:
        return self.folder / "snapshot"

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = files.read_json(self.out / "summary.json")
        return summary


@pytest.fixture
def drawn(tmp_path: Path, settings: Settings) -> Drawing:
    return Drawing(tmp_path, settings)


def test_a_row_has_all_its_fields(drawn: Drawing) -> None:
    content = "text,label,doc,who,when,channel\n  Hello\tcafe\u0301 ,good,7_1,ann,2026-01-02T03:04:05+02:00,web\n"
    columns = {
        "id": "doc", "group": {"column": "doc", "pattern": r"^(\d+)_"}, "subject": "who", "time": "when",
        "keep": ["channel"],
    }  # fmt: skip
    (row,) = drawn(content, columns=columns, options=[{"constants": {"domain": "shop"}}])
    subject = row.pop("subject")
    assert len(subject) == 64
    assert row == {
        "row_id": row_id("Hello café"), "text": "Hello café", "label": "good", "id": "7_1", "group": "7",
        "time": "2026-01-02T01:04:05+00:00", "source": 0, "channel": "web", "domain": "shop", "fault": None,
    }  # fmt: skip


def test_sources_come_under_each_other_with_their_constants(drawn: Drawing) -> None:
    found = drawn(
        "text,label\na,x\n", "label,text,domain\ny,b,own\n",
        columns={"keep": ["domain"]}, options=[{"constants": {"domain": "one"}}, {"constants": {"extra": "e"}}],
    )  # fmt: skip
    assert [(r["text"], r["source"], r["domain"], r["extra"]) for r in found] == [
        ("a", 0, "one", None),
        ("b", 1, "own", "e"),
    ]
    assert [source["rows"] for source in drawn.summary["sources"]] == [1, 1]


def test_the_group_falls_back_to_the_row_and_to_the_whole_value(drawn: Drawing) -> None:
    columns = {"group": {"column": "doc", "pattern": r"^(\d+)_"}}
    found = drawn("text,label,doc\na,x,1_1\nb,x,plain\nc,x,\n", columns=columns)
    assert [row["group"] for row in found] == ["1", "plain", row_id("c")]
    assert drawn("text,label\na,x\n")[0]["group"] == row_id("a")


def test_no_canary_is_left_anywhere(drawn: Drawing) -> None:
    lines = [f'"say {canary} twice {canary}",{canary},{canary},{canary},{canary},{canary}' for canary in CANARIES]
    lines += [f'"broken row {canary}",x' for canary in CANARIES]
    columns = {"id": "id", "group": {"column": "doc"}, "subject": "who", "keep": ["note"]}
    found = drawn("text,label,id,doc,who,note\n" + "\n".join(lines) + "\n", columns=columns)
    everything = json.dumps(found) + "".join(path.read_bytes().decode("latin-1") for path in drawn.out.iterdir())
    for canary in CANARIES:
        assert canary not in everything
    assert drawn.summary["redacted"]["email"] == 5  # twice in the text, the label, the note, the broken row
    assert found[0]["text"] == "say <email> twice <email>"
    assert len(found[0]["id"]) == 64
    assert found[0]["id"] == found[0]["group"] == found[0]["subject"]


def test_subjects_are_told_apart_but_not_told(drawn: Drawing) -> None:
    content = "text,label,who\na,x,ann\nb,x,bob\nc,x, ann\nd,x,\n"
    first = [row["subject"] for row in drawn(content, columns={"subject": "who"})]
    assert first[0] == first[2] != first[1]
    assert first[3] is None
    drawn.settings = drawn.settings.model_copy(update={"subject_salt": "other"})
    assert drawn(content, columns={"subject": "who"})[0]["subject"] != first[0]


def test_the_text_is_what_serving_will_see(drawn: Drawing) -> None:
    raw = "Mail\u200b me: ann\u200b@example.org\u00a0!"
    (row,) = drawn(f"text,label\n{raw},x\n")
    assert row["text"] == clean(raw, Redactor(["email"], {}))[0] == "Mail me: <email> !"


def test_where_redaction_fails_the_text_is_left_out(drawn: Drawing, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Redactor.redact

    def fails(self: Redactor, text: str) -> tuple[str, dict[str, int]]:
        if "boom" in text:
            raise RuntimeError(text)
        return real(self, text)

    monkeypatch.setattr(Redactor, "redact", fails)
    found = drawn("text,label\nfine,x\nboom ann@example.org,x\n")
    assert [(row["text"], row["fault"]) for row in found] == [("fine", None), (None, NOT_REDACTED)]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("1700000000", "2023-11-14T22:13:20+00:00"), ("1700000000.5", "2023-11-14T22:13:20.500000+00:00"),
        ("2026-01-02", "2026-01-02T00:00:00+00:00"), ("20260102", "2026-01-02T00:00:00+00:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00"), ("", None),
    ],
)  # fmt: skip
def test_times_are_utc(drawn: Drawing, time: str, expected: str | None) -> None:
    (row,) = drawn(f"text,label,when\na,x,{time}\n", columns={"time": "when"})
    assert (row["time"], row["fault"]) == (expected, None)


@pytest.mark.parametrize("time", ["yesterday", "1e400", "99999999999999999", "nan", "2026-13-01"])
def test_what_is_no_time_is_a_fault(drawn: Drawing, time: str) -> None:
    (row,) = drawn(f"text,label,when\na,x,{time}\n", columns={"time": "when"})
    assert (row["time"], row["fault"]) == (None, BAD_TIME)


def test_bad_rows_are_kept_with_their_faults(drawn: Drawing) -> None:
    found = drawn(
        b"text,label\nfine,x\ncaf\xe9 ann@example.org,x\nnul\0,x\nonly ann@example.org\n" + b"a" * 1_000_000 + b",x\n"
    )
    assert [row["fault"] for row in found] == [None, rows.INVALID_BYTES, rows.NUL, rows.TOO_FEW, None]
    assert [row["text"] for row in found[1:4]] == ["caf\ufffd <email>", "nul", "only <email>"]
    assert len(found[4]["text"]) == 1_000_000
    assert all(row["group"] and row["row_id"] for row in found)


def test_the_same_pins_give_the_same_bytes(drawn: Drawing) -> None:
    content = "text,label\n" + "".join(f"text number {n} by ann@example.org,x\n" for n in range(500))
    digests = []
    for _ in range(2):
        drawn(content)
        digests.append((files.sha256(drawn.out / "rows.parquet"), files.digest(drawn.out)))
    assert digests[0] == digests[1]


def test_about_n_rows_whole_groups_whatever_the_order(drawn: Drawing) -> None:
    lines = [f"text {n},x,{n // 5}_{n % 5}\n" for n in range(1000)]
    columns = {"id": "id", "group": {"column": "id", "pattern": r"^(\d+)_"}}
    picks = []
    for _ in range(2):
        found = drawn("text,label,id\n" + "".join(lines), columns=columns, options=[{"rows": 200}])
        picks.append({row["id"] for row in found})
        random.Random(1).shuffle(lines)
    assert picks[0] == picks[1]
    assert len(picks[0]) == 200
    groups = {name.split("_")[0] for name in picks[0]}
    assert len(groups) == 40


@pytest.mark.parametrize(
    "columns", [{"text": "doc"}, {"label": "doc"}, {"id": "doc"}, {"group": {"column": "doc"}}, {"keep": ["doc"]}]
)
def test_rows_are_written_by_the_length_of_all_their_cells(
    drawn: Drawing, monkeypatch: pytest.MonkeyPatch, columns: dict[str, Any]
) -> None:
    monkeypatch.setattr(snapshot, "_CHARACTERS_PER_GROUP", 5_000)
    drawn("text,label,doc\n" + f"short,x,{'word ' * 400}\n" * 10, columns=columns)
    assert pq.ParquetFile(drawn.out / "rows.parquet").num_row_groups == 4  # 2 kB a row; three are more than 5 kB


def test_a_source_without_rows_is_told_and_nothing_is_left(drawn: Drawing) -> None:
    drawn("text,label\na,x\n")
    before = files.digest(drawn.out)
    with pytest.raises(UnfitError, match=r"0\.csv holds no row"):
        drawn("text,label\n")
    assert files.digest(drawn.out) == before
    assert sorted(path.name for path in drawn.folder.iterdir()) == ["0.csv", "snapshot"]


def test_a_source_that_was_not_pinned_is_told(drawn: Drawing, tmp_path: Path, settings: Settings) -> None:
    project = drawn.project([{"uri": str(tmp_path / "x.csv")}], {})
    with pytest.raises(UnfitError, match="was not pinned"):
        draw(project, Pins(sources={}, base="", recipes={}), drawn.out, settings)


@pytest.fixture
def small_files() -> Iterator[None]:
    """A real limit of the kernel on the size of a file, met while Parquet is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise(kilobytes: int) -> str:
    """A CSV file whose texts do not compress below half of their length."""
    chance = random.Random(7)
    return "text,label\n" + "".join(f"{chance.getrandbits(4000):x},x\n" for _ in range(kilobytes))


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_told_and_leaves_nothing_half_written(drawn: Drawing) -> None:
    small = "text,label\na,x\n"
    drawn(small)
    before = files.digest(drawn.out)
    (drawn.folder / "0.csv").write_text(noise(800))
    project = drawn.project([{"uri": str(drawn.folder / "0.csv")}], {})
    pins = Pins(
        sources={project.data.sources[0].uri: fingerprint(project.data.sources[0], drawn.settings)}, base="", recipes={}
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(EvertuneError, match="disk is full: the snapshot of sample needs more room at"):
        draw(project, pins, drawn.out, drawn.settings)
    assert files.digest(drawn.out) == before
    assert sorted(path.name for path in drawn.folder.iterdir()) == ["0.csv", "snapshot"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"a small file system needs root: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.faults
def test_a_disk_that_runs_full_at_any_write(drawn: Drawing, tiny_disk: Path) -> None:
    path = drawn.folder / "0.csv"
    path.write_text(noise(3000))
    project = drawn.project([{"uri": str(path)}], {})
    pins = Pins(sources={str(path): fingerprint(project.data.sources[0], drawn.settings)}, base="", recipes={})
    told = 0
    for free in (0, 4096, 100_000, 1_000_000):
        filler = tiny_disk / "filler"
        filler.write_bytes(bytes(max(0, 1_048_576 - free - 4096)))
        with pytest.raises(EvertuneError, match=r"disk is full|No space left") as fault:
            draw(project, pins, tiny_disk / "out", drawn.settings)
        told += "disk is full" in str(fault.value)
        assert [entry.name for entry in tiny_disk.iterdir()] == ["filler"]
        filler.unlink()
    assert told == 4


def test_other_faults_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), files.full_disk_in_words(tmp_path, "x"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.integration
def test_memory_does_not_grow_with_the_rows(drawn: Drawing) -> None:
    peaks = []
    for count in (20_000, 300_000):
        path = drawn.folder / f"{count}.csv"
        with path.open("w") as out:
            out.write("text,label\n")
            out.writelines(
                f"a review of some length with the number {n} in it and more words,x\n" for n in range(count)
            )
        script = (
            "import sys\nfrom pathlib import Path\nfrom evertune.data.snapshot import draw\n"
            "from evertune.project.options import Project\nfrom evertune.records import Pins\n"
            "from evertune.settings import load\n"
            "from evertune import files\n"
            "path = sys.argv[1]\n"
            "data = {'sources': [{'uri': path}], 'columns': {'text': 'text', 'label': 'label'}}\n"
            "project = Project.model_validate({'schema_version': 1, 'slug': 's', 'owner': 'o', 'data': data,"
            " 'base': {'sha256': '0' * 64}})\n"
            "pins = Pins(sources={path: files.sha256(Path(path))}, base='', recipes={})\n"
            "draw(project, pins, Path(path + '.out'), load({}))\n"
            # Not getrusage: its peak is inherited from the process that started this one.
            "told = Path('/proc/self/status').read_text().split('VmHWM:')[1]\n"
            "print(told.split()[0])"
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < 1000
    assert peaks[1] - peaks[0] < 300
