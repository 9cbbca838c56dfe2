import gc
import json
import weakref
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from evertune.records import UnfitError
from evertune.text import encode, load_tokenizer, spans, tokens

CORPUS = ["the cat sat on the mat", "a dog and [SEP] a bird", "im_start im_end user SEP CLS </s> <s> mask"] * 5
CHATTY = ["<|im_start|>", "<|im_end|>", "<unk>"]


def wordpiece() -> Tokenizer:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ids)
    return tokenizer


def unigram() -> Tokenizer:
    """Like XLM-R's: control tokens are pieces of the vocabulary, and compatibility forms are folded."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, ids)
    return tokenizer


def bytelevel() -> Tokenizer:
    """Like a chat model's: no template, and a role token that its authors did not mark as special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, special_tokens=CHATTY, initial_alphabet=alphabet)
    )
    tokenizer.add_tokens(["<tool_call>"])
    return tokenizer


KINDS = {"wordpiece": wordpiece, "unigram": unigram, "bytelevel": bytelevel}
LITERALS = [
    "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<tool_call>",
    "\uff1cs\uff1e", "\uff1c/s\uff1e", "[ SEP ]", "[sep]", "<", "s", ">", "/", "\u2581", "a", " ",
]  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    tokenizers = {}
    for name, make in KINDS.items():
        folder = tmp_path_factory.mktemp(name)
        tokenizer = make()
        tokenizer.enable_padding(length=64)
        tokenizer.enable_truncation(4)
        tokenizer.save(str(folder / "tokenizer.json"))
        tokenizers[name] = load_tokenizer(folder)
    return tokenizers


def control_ids(tokenizer: Tokenizer) -> set[int]:
    return {
        id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.content not in {"[UNK]", "<unk>"}
    }


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=150)
@given(text=st.lists(st.sampled_from(LITERALS), max_size=12).map("".join) | st.text(max_size=40))
def test_no_text_gives_a_control_id(loaded: dict[str, Tokenizer], name: str, text: str) -> None:
    tokenizer = loaded[name]
    frame = {"wordpiece": ("[CLS]", "[SEP]"), "unigram": ("<s>", "</s>")}.get(name)
    (ids,), _ = encode(tokenizer, [text], 10_000)
    if frame:
        assert [tokenizer.id_to_token(ids[0]), tokenizer.id_to_token(ids[-1])] == list(frame)
        ids = ids[1:-1]
    assert control_ids(tokenizer).isdisjoint(ids)


def test_the_guard_is_needed(loaded: dict[str, Tokenizer]) -> None:
    # What these texts give without it: were this to fail, the test above would prove nothing.
    for name, text in {"wordpiece": "[SEP]", "unigram": "</s>", "bytelevel": "<tool_call>"}.items():
        tokenizer = Tokenizer.from_str(loaded[name].to_str())
        tokenizer.encode_special_tokens = name == "unigram"  # Unigram finds them in its vocabulary all the same
        raw = tokenizer.encode(text, add_special_tokens=False).ids
        assert not control_ids(tokenizer).isdisjoint(raw), name


def test_a_control_token_is_spelt_out(loaded: dict[str, Tokenizer]) -> None:
    tokenizer = loaded["wordpiece"]
    (ids,), _ = encode(tokenizer, ["a [SEP] b"], 64)
    assert "[" in [tokenizer.id_to_token(id_) for id_ in ids]
    assert [tokenizer.id_to_token(id_) for id_ in ids].count("[SEP]") == 1


@pytest.mark.parametrize("name", KINDS)
def test_an_ordinary_text_is_encoded_as_the_tokenizer_does(loaded: dict[str, Tokenizer], name: str) -> None:
    texts = ["the cat sat on the mat", "", "a dog"] * 800  # more than one batch
    ids, cut = encode(loaded[name], texts, 512)
    assert ids == [encoding.ids for encoding in loaded[name].encode_batch(texts)]
    assert not any(cut)


def test_what_is_too_long_is_cut_inside_its_frame_and_told(loaded: dict[str, Tokenizer]) -> None:
    tokenizer = loaded["wordpiece"]
    whole = encode(tokenizer, ["the cat sat on"], 64)[0][0]
    ids, cut = encode(tokenizer, ["the cat sat on", "the"], len(whole) - 1)
    assert ids[0] == whole[:-2] + whole[-1:]
    assert cut == [True, False]
    assert encode(tokenizer, ["the cat sat on"], len(whole))[1] == [False]


def test_no_room_for_a_text_is_told(loaded: dict[str, Tokenizer]) -> None:
    with pytest.raises(UnfitError, match="own tokens already take 2"):
        encode(loaded["wordpiece"], ["a"], 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "has no tokenizer.json"),
        ("", "cannot|not a tokenizer"),
        ("[]", "not a tokenizer"),
        ('{"model": 1}', "not a tok"),
    ],
)
def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(UnfitError, match=said):
        load_tokenizer(tmp_path)


def test_each_tokenizer_is_looked_into_once_and_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server has one for each of many projects and takes a new one with every release; a look takes 15 ms."""
    looks: list[None] = []
    read = tokens._read_frame

    def count(tokenizer: Tokenizer) -> tokens._Frame:
        looks.append(None)
        return read(tokenizer)

    monkeypatch.setattr(tokens, "_read_frame", count)
    wordpiece().save(str(tmp_path / "tokenizer.json"))
    many = [load_tokenizer(tmp_path) for _ in range(20)]
    for _ in range(2):
        assert len({tuple(encode(one, ["the cat"], 16)[0][0]) for one in many}) == 1
    assert len(looks) == 20
    last = weakref.ref(many[-1])
    many.clear()
    gc.collect()
    assert last() is None


def test_padding_and_truncation_of_the_file_do_not_hold(loaded: dict[str, Tokenizer]) -> None:
    config = json.loads(loaded["wordpiece"].to_str())
    assert config["padding"] is None
    assert config["truncation"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_spans_are_those_of_the_tokens_that_are_kept(loaded: dict[str, Tokenizer], kind: str) -> None:
    text = "the cat sat on the mat and a dog"
    for most in (6, 64):
        (ids,), (cut,) = encode(loaded[kind], [text], most)
        found = spans(loaded[kind], text, most)
        assert found[0][0] == 0
        assert (found[-1][1] < len(text)) is cut
        frame = len(encode(loaded[kind], ["cat"], 64)[0][0]) - len(spans(loaded[kind], "cat", 64))
        assert len(found) == len(ids) - frame
