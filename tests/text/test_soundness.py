"""Encoders that load and do not read are refused by what they make of texts; sound ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise import cli
from recbole_precise.errors import TextError
from recbole_precise.text import encode_cached, resolve_encoder
from recbole_precise.text.encoder import HfEncoder
from recbole_precise.text.soundness import check_states, check_tokens, letters_and_digits
from recbole_precise.text.states import TokenStates

WORDS = [
    "sugar",
    "tea",
    "salt",
    "coffee",
    "bread",
    "milk",
    "rice",
    "soap",
    "oil",
    "corn",
    "bean",
    "jam",
]
TITLES = [f"{WORDS[i % 12]} {WORDS[(i * 5 + 1) % 12]} {i}" for i in range(40)]


def build(
    folder: Path,
    words: list[str],
    *,
    rows: int = 300,
    tokenizer: bool = True,
    unknown: str | None = "[UNK]",
) -> Path:
    """A small BERT that knows these words, spelled as they are in lower case."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=rows,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    if tokenizer:
        vocabulary = {
            word: i
            for i, word in enumerate(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words]))
        }
        core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        core.normalizer = normalizers.BertNormalizer()
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        names = {
            "pad_token": "[PAD]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "unk_token": unknown,
        }
        PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    return folder


NUMBERS = [str(i) for i in range(40)]


def encode(texts, folder, cache, **options):
    return encode_cached(texts, str(folder), cache_dir=cache, **options)


def test_an_encoder_without_its_tokenizer_is_refused(tmp_path):
    folder = build(tmp_path / "model", WORDS, tokenizer=False)
    with pytest.raises(
        TextError,
        match=r"does not know 120 of the 120 words .*'sugar'.*has no tokenizer \(tokenizer.json",
    ) as caught:
        encode(TITLES, folder, tmp_path / "c")
    assert str(folder) in str(caught.value) and not list((tmp_path / "c").glob("states-*[0-9a-f]"))


def test_at_most_half_of_the_words_may_be_unknown(tmp_path):
    """Words count, not the tokens of which they are made: a known word may be many."""
    letters = [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"] + list("abcdefghijklmnopqrstuvwxyz")
    folder = build(tmp_path / "model", letters)
    known, unknown = "abcdefgh ", "12 "
    texts = [known * 3 + unknown * 3, known * 2 + unknown * 2 + "x"]
    assert encode(texts, folder, tmp_path / "c").lengths[0] == 29
    with pytest.raises(TextError, match="does not know 4 of the 7 words"):
        encode([known * 3 + unknown * 4], folder, tmp_path / "c")


def test_different_texts_of_the_same_tokens_are_refused(tmp_path):
    """Two thirds of the words are known, but not those that make the difference."""
    with pytest.raises(
        TextError,
        match=r"tell texts apart: 40 of 40 different texts have the same tokens .*digits differ",
    ):
        encode(TITLES, build(tmp_path / "model", WORDS), tmp_path / "c")
    assert len(encode(TITLES, build(tmp_path / "good", WORDS + NUMBERS), tmp_path / "c")) == 40


def test_two_texts_of_one_vector_are_refused_where_they_are_many_and_reported_where_they_are_few(
    tmp_path, caplog
):
    folder = build(tmp_path / "model", WORDS + NUMBERS)
    with pytest.raises(
        TextError, match=r"2 of 42 different texts .*\(such as 'tea 98' and 'tea 99'\)"
    ):
        encode([*TITLES, "tea 98", "tea 99"], folder, tmp_path / "c")
    many = [f"{a} {b} {c}" for a in WORDS for b in WORDS for c in ("1", "2", "3")]
    caplog.clear()
    assert len(encode([*many, "tea 98", "tea 99"], folder, tmp_path / "c")) == len(many) + 2
    assert (
        "2 of 434 different texts have the same tokens as another one "
        "(such as 'tea 98' and 'tea 99')" in caplog.text
    )


LOST = [
    "Tea 1",
    "TEA 1",
    "tea  1",
    "tea\u20031",
    "t\u00e9a 1",
    "tea 1 \U0001f389",
    "tea 1 \U0001f382",
    "tea 1!",
    "\uff54\uff45\uff41 1",
    "tea\u200b 1",
]


def test_differences_that_a_good_encoder_loses_are_no_fault(tmp_path, caplog):
    folder = build(tmp_path / "model", WORDS + NUMBERS)
    texts = [*LOST, "sugar 2", "\U0001f389", "\U0001f382", "\u9b31", "\u9f98", "\u9b31 \u9f98"]
    encode([*texts, *(word * 1 for word in WORDS)], folder, tmp_path / "c")
    assert not caplog.records


def test_texts_that_are_cut_may_be_alike(tmp_path, caplog):
    folder = build(tmp_path / "model", WORDS + NUMBERS)
    encode([f"{'tea ' * 6}{i}" for i in range(20)], folder, tmp_path / "c", max_tokens=8)
    assert not caplog.records
    encode([f"{'tea ' * 5}{i}" for i in range(20)], folder, tmp_path / "c", max_tokens=9)
    assert not caplog.records


@pytest.mark.parametrize("level", ["words", "last layer"])
def test_weights_that_are_all_alike_are_refused(tmp_path, level):
    """Every token has the same state, so that texts of any length have one mean."""
    from safetensors.torch import load_file, save_file

    folder = build(tmp_path / "model", WORDS + NUMBERS)
    weights = load_file(folder / "model.safetensors")
    if level == "words":
        weights["embeddings.word_embeddings.weight"][:] = 1.0
        weights["embeddings.position_embeddings.weight"][:] = 1.0
    else:
        weights["encoder.layer.0.output.LayerNorm.weight"][:] = 0.0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    texts = [*TITLES, "tea", "salt and coffee and bread"]
    with pytest.raises(
        TextError, match=r"does not tell texts apart: 42 of 42 different texts have the same vector"
    ):
        encode(texts, folder, tmp_path / "c")
    assert not list((tmp_path / "c").glob("*.partial")) and not list(
        (tmp_path / "c").glob("states-*/meta.json")
    )


def test_states_that_know_no_order_are_no_fault(llama, tmp_path):
    """Embeddings alone have one mean for the same words in another order."""
    texts = ["dog bites man", "man bites dog", "bites man dog", "heat"]
    states = encode(texts, llama, tmp_path, layers=0, raw=True)
    pooled = states.pooled()
    np.testing.assert_allclose(pooled[0], pooled[1], atol=1e-3)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = build(tmp_path / "model", WORDS + NUMBERS, rows=30)
    with pytest.raises(
        TextError,
        match=r"knows token \d+, but the model only 30 tokens; they do not belong together",
    ):
        encode(TITLES, folder, tmp_path / "c")


def test_a_tokenizer_without_an_unknown_word(model_folder, tmp_path):
    """Byte-level tokenizers know every text."""
    assert (
        len(encode([f"{title} \u65e5\u672c" for title in TITLES], model_folder, tmp_path / "c"))
        == 40
    )


def test_a_tokenizer_that_drops_what_it_does_not_know(tmp_path):
    """No token is left of a text, and there is none for unknown words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = build(tmp_path / "model", [], tokenizer=False)
    core = Tokenizer(models.BPE({"<s>": 0, "z": 1}, []))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>").save_pretrained(folder)
    with pytest.raises(TextError, match=r"does not know 120 of the 120 words|fails on these texts"):
        encode(TITLES, folder, tmp_path / "c")


def test_sentence_pieces_around_unknown_words_are_not_known_words(tmp_path):
    """The sign for a blank is known, the word behind it is not."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = build(tmp_path / "model", [], tokenizer=False)
    core = Tokenizer(
        models.Unigram([("<unk>", 0.0), ("\u2581", -1.0), ("\u2581tea", -1.0)], unk_id=0)
    )
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>").save_pretrained(folder)
    encoder = HfEncoder(resolve_encoder(str(folder)))
    _, _, counts = encoder.tokenize_and_count(["tea \u65e5\u672c tea \u8336", "tea", "\u8336"], 32)
    assert counts.words.tolist() == [4, 1, 1] and counts.unknown.tolist() == [2, 0, 1]


def test_new_texts_beside_those_of_a_run_are_not_judged(tmp_path):
    folder = build(tmp_path / "model", WORDS + NUMBERS)
    with pytest.raises(TextError):
        encode(["pen", "ink"], folder, tmp_path / "c")
    assert len(encode(["pen", "ink"], folder, tmp_path / "c", judge=False)) == 2
    with pytest.raises(TextError):  # what was not judged is not taken for what was
        encode(["pen", "ink"], folder, tmp_path / "c")


def test_entries_of_before_the_judgement_are_built_again(tmp_path, monkeypatch):
    folder = build(tmp_path / "model", WORDS)
    monkeypatch.setattr("recbole_precise.text.cache.FORMAT", 1)
    encode(TITLES, folder, tmp_path / "c", judge=False)
    monkeypatch.undo()
    with pytest.raises(TextError, match="does not tell texts apart"):
        encode(TITLES, folder, tmp_path / "c")


def test_the_bundled_encoder_reads_movielens(tmp_path, caplog):
    """The shipped encoder's tokenizer over the shipped data set: no refusal, no warning."""
    import recbole

    table = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.item"
    lines = table.read_text(encoding="utf-8").split("\n")[1:]
    texts = [" ".join(line.split("\t")[1:]) for line in lines if line]
    assert len(texts) == 1682
    encoder = HfEncoder(resolve_encoder("auto"))
    unique = list(dict.fromkeys(texts))
    ids, lengths, counts = encoder.tokenize_and_count(unique, 32)
    counts.check("auto", "")
    assert counts.unknown.sum() < 0.001 * counts.words.sum()
    check_tokens("auto", unique, ids, np.concatenate(([0], np.cumsum(lengths))), lengths < 32)
    assert not caplog.records


def test_the_command_says_why_in_one_sentence(tmp_path, write_dataset, capsys):
    folder = build(tmp_path / "model", WORDS, tokenizer=False)
    data = write_dataset(
        "shop",
        [("u1", "i1", 1), ("u1", "i2", 2)],
        [(f"i{i}", title) for i, title in enumerate(TITLES)],
    )
    arguments = [
        "encode",
        "--dataset=shop",
        f"--data_path={data}",
        "--item_text={title}",
        f"--text_encoder={folder}",
        f"--text_cache_dir={tmp_path / 'c'}",
    ]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "words of these texts" in error and "has no tokenizer" in error


# --- The rule itself, against every pair
# ------------------------------------------------------------

texts = st.lists(
    st.text("aAb1 !", min_size=1, max_size=4).filter(str.strip),
    min_size=2,
    max_size=12,
    unique=True,
)


@given(texts, st.integers(1, 4), st.booleans())
def test_the_rule_counts_what_a_comparison_of_all_pairs_counts(found, tokens, by_vector):
    """A tokenizer that makes one of a few tokens of each text, or a model that has few vectors."""
    kinds = np.asarray([len(text) % tokens for text in found])
    plain = [letters_and_digits(text) for text in found]
    pairs = [
        (i, j)
        for i in range(len(found))
        for j in range(i)
        if kinds[i] == kinds[j] and plain[i] and plain[j] and plain[i] != plain[j]
    ]
    offsets = np.arange(len(found) + 1)
    try:
        if by_vector:
            ids = np.arange(len(found), dtype=np.int32)
            states = TokenStates(
                kinds[:, None].astype(np.float16),
                ids,
                offsets[:-1],
                np.ones_like(ids),
                vocab_size=99,
            )
            check_states("it", found, states, offsets[:-1])
        else:
            check_tokens(
                "it", found, kinds.astype(np.int32), offsets, np.ones(len(found), dtype=bool)
            )
        refused = False
    except TextError:
        refused = True
    assert refused == bool(pairs)  # of so few texts one pair is more than 1%


def test_what_distinguishes_a_text():
    same = [
        ["\u00c9t\u00e9 2", "ete2", "E T E - 2"],
        ["Stra\u00dfe", "STRASSE"],
        ["\U0001f389", "!!", ""],
    ]
    for group in same:
        assert len({letters_and_digits(text) for text in group}) == 1
    assert (
        len({letters_and_digits(text) for text in ("a1", "a2", "b1", "\u65e5\u672c", "\u65e5")})
        == 5
    )
