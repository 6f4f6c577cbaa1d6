"""Sentences of text for language modelling: the one module to import from.

corpus = load_text(Path("aclImdb"), TextSettings())
batch = collate([corpus.train[0], corpus.train[1]])
"""

from zf_pyro.data.text.corpus import Sentences, TextCorpus, collate
from zf_pyro.data.text.encode import TextSettings
from zf_pyro.data.text.given import given_text, one_sentence
from zf_pyro.data.text.load import ARCHIVE, SAMPLES, load_text
from zf_pyro.data.text.vocabulary import END, PAD, SPECIAL_WORDS, START, UNKNOWN, Vocabulary

__all__ = [
    "ARCHIVE",
    "END",
    "PAD",
    "SAMPLES",
    "SPECIAL_WORDS",
    "START",
    "UNKNOWN",
    "Sentences",
    "TextCorpus",
    "TextSettings",
    "Vocabulary",
    "collate",
    "given_text",
    "load_text",
    "one_sentence",
]
