"""An encoded corpus: three splits of sentences over one vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from zf_pyro.data.batch import SequenceBatch
from zf_pyro.data.corpus import Corpus
from zf_pyro.data.text.vocabulary import END, PAD, START, Vocabulary


class Sentences:
    """The sentences of one split, by number, without special words."""

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray) -> None:
        """Wraps two arrays, which may be mapped from the disk.

        Args:
            tokens: (M,) integers, all sentences one after the other.
            offsets: (N + 1,) int64; sentence i is ``tokens[offsets[i] : offsets[i + 1]]``.
        """
        self.tokens = tokens
        self.offsets = offsets

    def __len__(self) -> int:
        """N."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """The w_1..w_n of one sentence, (n,) int64; a negative index counts from the end.

        Raises:
            IndexError: there is no such sentence.
        """
        i = range(len(self))[index]
        return self.tokens[self.offsets[i] : self.offsets[i + 1]].astype(np.int64)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) int64: the scored tokens of each sentence, its </s> included."""
        return np.diff(self.offsets) + 1

    @property
    def num_tokens(self) -> int:
        """The scored tokens of the split, every </s> included."""
        return len(self.tokens) + len(self)

    def batch(self, indices: np.ndarray) -> SequenceBatch:
        """The sentences at `indices`, (B,) integers, in that order, as a batch."""
        return collate([self[i] for i in indices.tolist()])

    def of_epoch(self, seed: int, epoch: int) -> Sentences:
        """Itself: sentences are the same in every epoch."""
        return self

    def scored(self, indices: np.ndarray) -> np.ndarray:
        """The targets of the sentences at `indices`, one after the other, (M,) int64."""
        return np.concatenate([np.append(self[i], END) for i in indices.tolist()])

    def counts(self, num_words: int) -> np.ndarray:
        """(V,) int64: how often each word is a target, </s> included."""
        counts = np.bincount(self.tokens, minlength=num_words)
        counts[END] += len(self)
        return counts


@dataclass(frozen=True, kw_only=True, eq=False)
class TextCorpus(Corpus):
    """Sentences of text, encoded and split by document.

    Attributes:
        vocabulary: of V words, counted on the training split.
        train: the training sentences.
        valid: the sentences on which to stop and choose.
        test: the sentences to report.
    """

    vocabulary: Vocabulary
    train: Sentences
    valid: Sentences
    test: Sentences

    @cached_property
    def unigram_counts(self) -> np.ndarray:
        """(V,) int64: how often each word is a target in training, </s> included."""
        return self.train.counts(len(self.vocabulary))

    def marginal_score(self, indices: np.ndarray) -> float:
        """The figure that any model has to beat: that of word frequencies alone, nats per sentence, </s> included.

        The frequencies are those of training with one added to each word that a target can be, that is to all but
        <pad> and <s>.

        Args:
            indices: the test sentences to score.
        """
        counts = self.unigram_counts + 1.0
        counts[[PAD, START]] = 0.0
        seen = np.bincount(self.test.scored(indices), minlength=len(self.vocabulary))
        scored = seen > 0
        return float(np.sum(seen[scored] * np.log(counts[scored] / counts.sum()))) / len(indices)


def collate(sentences: Sequence[np.ndarray]) -> SequenceBatch:
    """A batch of B sentences: each is read as <s> w_1..w_n and scored as w_1..w_n </s>.

    Args:
        sentences: at least one, each (n,) integers without special words.

    Returns:
        inputs and targets (T, B) int64 with T the longest n + 1, padded with ``PAD``, and their mask.
    """
    lengths = np.array([len(sentence) + 1 for sentence in sentences])  # (B,)
    inputs = np.full((lengths.max(), len(sentences)), PAD, dtype=np.int64)  # (T, B)
    targets = inputs.copy()
    inputs[0] = START
    for b, sentence in enumerate(sentences):
        n = len(sentence)
        inputs[1 : n + 1, b] = targets[:n, b] = sentence
        targets[n, b] = END
    mask = np.arange(len(inputs))[:, None] < lengths  # (T, B)
    return SequenceBatch(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(mask))
