import builtins
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evertune.data.sources import hub, rows
from evertune.project.options import Source
from evertune.records import EvertuneError, UnfitError, UnreachableError


def test_the_parts_of_an_address() -> None:
    assert hub.parse("hf://PolyAI/banking77?revision=abc&split=test&config=x") == hub.HubPath(
        "PolyAI/banking77", "x", "test", "abc"
    )
    assert hub.parse("hf://imdb") == hub.HubPath("imdb", None, "train", None)


@pytest.mark.parametrize("uri", ["hf://", "hf://a/b/c", "hf://a/b?splt=test", "https://huggingface.co/x"])
def test_what_is_no_address_is_told(uri: str) -> None:
    with pytest.raises(UnfitError, match="no data set of the hub"):
        hub.parse(uri)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that refuses every connection, as on a machine without a network."""
    import huggingface_hub.constants as hub_constants
    from huggingface_hub import close_session

    monkeypatch.setattr(hub_constants, "ENDPOINT", "http://127.0.0.1:9")
    close_session()
    yield
    close_session()


@pytest.mark.integration
@pytest.mark.usefixtures("offline")
def test_offline_it_fails_with_a_clear_sentence() -> None:
    source = Source(uri="hf://PolyAI/banking77")
    with pytest.raises(UnreachableError, match="hub does not answer, so PolyAI/banking77 cannot be drawn"):
        hub.fingerprint(source)


@pytest.mark.integration
def test_rows_of_a_data_set_come_with_the_names_of_their_classes() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"label": datasets.ClassLabel(names=["no", "yes"]), "text": datasets.Value("string")})
    data = datasets.Dataset.from_dict({"text": ["a", None, "c"], "label": [1, 0, None]}, features=features)
    expected = [["a", "yes"], [None, "no"], ["c", None]]
    for version in (data, data.to_iterable_dataset()):
        found = list(hub.dataset_rows(version, ("text", "label"), "hf://x/y"))
        assert [row.cells for row in found] == expected
    with pytest.raises(UnfitError, match=r"no column 'txt' \(did you mean 'text'\?\)"):
        list(hub.dataset_rows(data, ("txt", "label"), "hf://x/y"))


@pytest.mark.integration
def test_a_row_that_is_no_text_costs_one_row() -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"text": [["a"], ["b"]], "label": ["x", "y"]})
    assert [row.fault for row in hub.dataset_rows(data, ("text", "label"), "hf://x/y")] == [rows.NOT_TEXT] * 2


def _error(name: str) -> Exception:
    import httpx
    from huggingface_hub import errors

    kind: Any = getattr(errors, name)
    return kind("no", response=httpx.Response(404, request=httpx.Request("GET", "http://x")))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"])
def test_what_the_hub_does_not_have_will_not_be_there_next_time_either(name: str) -> None:
    with pytest.raises(UnfitError, match="no data set a/b"), hub._in_words(hub.parse("hf://a/b")):
        raise _error(name)


def _of_the_network(name: str) -> Exception:
    from huggingface_hub import errors

    kinds: dict[str, Any] = {**vars(builtins), **vars(errors)}
    return kinds[name]("no")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "name", ["ConnectionError", "TimeoutError", "HTTPError", "OfflineModeIsEnabled", "LocalEntryNotFoundError"]
)
def test_a_hub_that_does_not_answer_is_told_with_what_to_do(name: str) -> None:
    with pytest.raises(UnreachableError, match="Check the network, or name"), hub._in_words(hub.parse("hf://a/b")):
        raise _of_the_network(name)
    with pytest.raises(UnreachableError), hub._in_words(hub.parse("hf://a/b")):
        raise _error("HfHubHTTPError")


@pytest.mark.parametrize("fault", [KeyError("text"), PermissionError(13, "no"), RuntimeError("a bug")], ids=repr)
def test_what_is_no_fault_of_the_hub_stays_what_it_is(fault: Exception) -> None:
    with pytest.raises(type(fault)) as caught, hub._in_words(hub.parse("hf://a/b")):
        raise fault
    assert caught.value is fault


def test_a_full_disk_is_not_taken_for_a_hub_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as hub_constants

    monkeypatch.setattr(hub_constants, "HF_HOME", str(tmp_path))
    said = rf"disk is full: what .* keeps of a/b needs more room at {tmp_path} than .* or set HF_HOME to a larger disk"
    with pytest.raises(EvertuneError, match=said), hub._in_words(hub.parse("hf://a/b")):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ValueError("Unknown split"), "cannot be read as asked: Unknown split"),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), "comes as code, which is never run"),
        (UnfitError("y"), "^y$"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_unfit(fault: Exception, said: str) -> None:
    with pytest.raises(UnfitError, match=said), hub._in_words(hub.parse("hf://a/b")):
        raise fault


def test_a_data_set_without_data_is_unfit() -> None:
    from datasets.exceptions import DataFilesNotFoundError

    with (
        pytest.raises(UnfitError, match="cannot be read as asked: No data files"),
        hub._in_words(hub.parse("hf://a/b")),
    ):
        raise DataFilesNotFoundError("No data files in a/b")
