"""Text with one sentence a line, its words separated by spaces, such as the files of the Penn Treebank.

python run.py --dataset text --preset paper --data ptb
python run.py --dataset text --preset quick --data sentences.txt --level char
"""

from dataclasses import replace

from zf_pyro.data.text import TextSettings
from zf_pyro.presets import imdb

DATA = TextSettings(lines="sentences", min_tokens=1, max_tokens=100)
"""Every line, of at most 100 words."""

PAPER = replace(imdb.PAPER, dataset="text", data=DATA)
"""The sizes and the training of the authors' text model."""

QUICK = replace(imdb.QUICK, dataset="text", data=replace(DATA, vocabulary_size=8_000))
"""As `imdb.QUICK`."""
