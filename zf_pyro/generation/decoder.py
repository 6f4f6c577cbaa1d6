"""How x_t is chosen from its law, as a user says it.

greedy  the mode of x_t's law: of words and bits; of real numbers the mean
sample  a draw, at a temperature; of words from the `top_k` most probable
best    of `width` draws the one of the greatest log p(x | z)
beam    of words: the search for the greatest log p(x | z), `width` hypotheses a step
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from zf_pyro.data.corpus import Observation
from zf_pyro.data.text import END, PAD, START, UNKNOWN
from zf_pyro.errors import check

Kind = Literal["sample", "greedy", "best", "beam"]


@dataclass(frozen=True)
class Decoder:
    """How x_t is chosen.

    Plain sampling, which these defaults are, is from the model's own law, with nothing forbidden. Every other decoder
    of words leaves out <pad> and <s>, which are no words of a sentence.

    Attributes:
        kind: "sample", "greedy", "best" or "beam".
        temperature: of draws. Scores of words and bits are divided by it; of real numbers the distance from the mean is
            multiplied by it.
        top_k: draw words from the k most probable alone; 0 from all.
        width: draws of "best", hypotheses of "beam".
        min_steps: </s> is left out of so many steps.
        forbid_unknown: leave out <unk>.

    Raises:
        InputError: an option out of its range, or one that this kind does not know.
    """

    kind: Kind = "sample"
    temperature: float = 1.0
    top_k: int = 0
    width: int = 10
    min_steps: int = 0
    forbid_unknown: bool = False

    def __post_init__(self) -> None:
        check(self.kind in get_args(Kind), f"no decoder {self.kind!r}; there are {', '.join(get_args(Kind))}")
        positive = math.isfinite(self.temperature) and self.temperature > 0
        check(positive, f"the temperature must be above 0, not {self.temperature}")
        check(self.top_k >= 0, f"top_k must be at least 0, not {self.top_k}")
        check(self.width >= 1, f"the width must be at least 1, not {self.width}")
        check(self.min_steps >= 0, f"min_steps must be at least 0, not {self.min_steps}")
        draws = self.kind in ("sample", "best")
        check(draws or self.temperature == 1, f"a temperature is of draws, and {self.kind} draws nothing")
        check(draws or not self.top_k, f"top_k is of draws, and {self.kind} draws nothing")

    @property
    def is_plain(self) -> bool:
        """Whether x_t is drawn from the model's own law."""
        return self == Decoder(width=self.width)

    def require_fit(self, observation: Observation) -> None:
        """Refuse what words alone have.

        Raises:
            InputError: the data is no text, and the decoder is of words; or no word is left to choose.
        """
        if observation.law == "categorical":
            left = observation.size > UNKNOWN + 1 or not self.forbid_unknown
            check(left, "the vocabulary has no word but <unk>, which is forbidden")
            return
        what = f"a {observation.step} is no word: it has no list of the most probable values"
        check(self.kind != "beam", f"beam is of text; {what}")
        check(not self.top_k, f"top_k is of text; {what}")
        check(not self.min_steps and not self.forbid_unknown, "min_steps and forbid_unknown are of text alone")

    def barred(self, t: int, num_words: int, device: torch.device) -> Tensor:
        """The words left out of step t + 1, (V,) booleans."""
        barred = torch.zeros(num_words, dtype=torch.bool, device=device)
        if self.is_plain:
            return barred
        names = [PAD, START, *([UNKNOWN] if self.forbid_unknown else []), *([END] if t < self.min_steps else [])]
        barred[names] = True
        return barred
