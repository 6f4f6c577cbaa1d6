"""The parts that a model and its guide are put together from, by name, and which of them fit together.

`zf_pyro.build` makes them. Besides these names, ``package.module:Name`` is a part of a user's own (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from zf_pyro.errors import check, unknown_name


@dataclass(frozen=True)
class Family:
    """A generative model, and the parts that it has where no other is asked for.

    Attributes:
        about: a line on it.
        prior: a key of `PRIORS`.
        guide: a key of `GUIDES`.
        transitions: those it can have, the first its own; none where it has no recurrent network.
        prior_reads: fields of the context that its prior reads.
        posterior_reads: fields of the context that a posterior reads beside the encoding.
        emission_reads: of which the feature is made, h_t and z_t; with z_t the emission has a hidden layer.
        encoder_reads: fields that need no z, which the encoder reads beside the targets.
    """

    about: str
    prior: str
    guide: str
    transitions: tuple[str, ...]
    prior_reads: tuple[str, ...] = ("hidden",)
    posterior_reads: tuple[str, ...] = ("hidden",)
    emission_reads: tuple[str, ...] = ("hidden",)
    encoder_reads: tuple[str, ...] = ()


WITH_LATENT = ("lstm", "gru", "cond-ln")

FAMILIES: Mapping[str, Family] = {
    "zforcing": Family("h_t = LSTM(h_{t-1}; u_t, z_t), x_t | h_t (Goyal 2017)", "learned", "backward", WITH_LATENT),
    "storn": Family(
        "the same under the prior N(0, I) (Bayer 2014)",
        "standard-normal",
        "forward-mean-field",
        WITH_LATENT,
    ),
    "vrnn": Family(
        "h_t = LSTM(h_{t-1}; u_t, z_{t-1}), z_t | h_t, x_t | h_t, z_t (Chung 2015)",
        "learned",
        "filtering",
        WITH_LATENT,
        emission_reads=("hidden", "latent"),
    ),
    "srnn": Family(
        "d_t = GRU(d_{t-1}; u_t), z_t | z_{t-1}, d_t, x_t | d_t, z_t (Fraccaro 2016)",
        "learned",
        "residual",
        ("gru", "lstm"),
        prior_reads=("hidden", "latent"),
        posterior_reads=("latent",),
        emission_reads=("hidden", "latent"),
        encoder_reads=("hidden",),
    ),
    "dmm": Family(
        "z_t | z_{t-1}, x_t | z_t, no u_t (Krishnan 2017)",
        "transition",
        "backward",
        (),
        prior_reads=("latent",),
        posterior_reads=("latent",),
        emission_reads=("latent",),
    ),
    "rnn": Family("h_t = LSTM(h_{t-1}; u_t), no latent variable: its ELBO is its likelihood", "", "", ("lstm", "gru")),
}

PRIORS: Mapping[str, str] = {
    "learned": "a diagonal Gaussian given the state of the model",
    "learned-input": "the same, which also reads u_t",
    "standard-normal": "N(0, I)",
    "transition": "a gated Gaussian given z_{t-1} alone (Krishnan 2017)",
    "mixture": "a mixture of diagonal Gaussians given the state of the model",
    "flow": "coupling layers on a Gaussian, given the state of the model",
}

TRANSITIONS: Mapping[str, str] = {
    "lstm": "long short-term memory",
    "gru": "gated recurrent unit",
    "cond-ln": "LSTM whose layer norm is scaled and shifted by z_t (the authors' cond_ln)",
}

ENCODERS: Mapping[str, str] = {
    "backward": "an LSTM over x_T .. x_t: the future",
    "forward": "an LSTM over x_1 .. x_t: the past",
    "bidirectional": "both",
    "none": "x_t alone",
}

POSTERIORS: Mapping[str, str] = {
    "gaussian": "a diagonal Gaussian given the state of the model and the encoding",
    "mean-field": "the same given the encoding alone",
    "residual": "the same as gaussian, its mean added to the prior's (Fraccaro 2016)",
    "flow": "coupling layers on a Gaussian, given the state of the model and the encoding",
    "prior": "the prior itself; nothing is learned",
}

OBJECTIVES: Mapping[str, str] = {
    "elbo": "evidence lower bound; with free_bits or kl_balance",
    "iwae": "importance-weighted bound of train_particles particles (Burda 2016)",
    "dreg": "the same, the guide's gradient doubly reparametrised (Tucker 2019)",
    "fivo": "particle-filter bound of train_particles particles, resampling without gradient (Maddison 2017)",
}

EMISSIONS: Mapping[str, tuple[str, str]] = {
    "categorical": ("categorical", "a softmax"),
    "tied": ("categorical", "a softmax whose weights are the embedding's (Press 2017)"),
    "bernoulli": ("bernoulli", "independent bits"),
    "gaussian": ("gaussian", "independent Gaussians"),
    "gaussian-mixture": ("gaussian", "a mixture of diagonal Gaussians over the numbers of a step (Chung 2015)"),
    "logistic-mixture": ("gaussian", "whole numbers, each a mixture of discretised logistics (Salimans 2017)"),
}
"""The law of the data that an emission is of, and a line on it."""

STEPS: Mapping[str, str] = {"categorical": "classes", "bernoulli": "bits", "gaussian": "real numbers"}
"""What a step holds, by the law of the data."""

GUIDES: Mapping[str, tuple[str, str]] = {
    "backward": ("backward", "gaussian"),
    "forward": ("forward", "gaussian"),
    "bidirectional": ("bidirectional", "gaussian"),
    "filtering": ("none", "gaussian"),
    "mean-field": ("bidirectional", "mean-field"),
    "residual": ("backward", "residual"),
    "flow": ("backward", "flow"),
    "prior": ("none", "prior"),
    **{f"{encoder}-{posterior}": (encoder, posterior) for encoder in ENCODERS for posterior in POSTERIORS},
}
"""Encoder and posterior of a guide: short names, and then every pair by both names."""


class Parts(NamedTuple):
    """The names of what a model and its guide are made of, none of them left open.

    `encoder` and `posterior` are those of the guide, empty where it is a user's own.
    """

    family: str
    transition: str
    prior: str
    guide: str
    encoder: str
    posterior: str

    @property
    def runs_backward(self) -> bool:
        """Whether the guide may have a state that runs backward; of a user's own guide this is not known."""
        own = is_own(self.guide) or is_own(self.family)
        return own or (self.encoder in ("backward", "bidirectional") and self.posterior != "prior")


def is_own(name: str) -> bool:
    """Whether a name is that of a user's own part, ``package.module:Name``."""
    return ":" in name


def choose(family: str, transition: str, prior: str, guide: str) -> Parts:
    """The parts by their names, the family's own where a name is empty.

    Raises:
        InputError: no such name (the right ones are listed), or parts that do not fit together, with the reason.
    """
    if is_own(family):
        check(not (transition or prior or guide), f"the family {family} brings its own transition, prior and guide")
        return Parts(family, "", "", "", "", "")
    require_known("family", family, FAMILIES)
    kind = FAMILIES[family]
    if family == "rnn":
        check(not (prior or guide), "rnn has no latent variable, so it takes neither a prior nor a guide")
        prior, guide = "standard-normal", "prior"
    prior, guide = prior or kind.prior, guide or kind.guide
    require_known("prior", prior, PRIORS)
    require_known("guide", guide, GUIDES)
    check_transition(family, transition)
    encoder, posterior = GUIDES.get(guide, ("", ""))
    for holds, reason in misfits(prior, guide, encoder, posterior):
        check(not holds, reason)
    return Parts(family, transition or next(iter(kind.transitions), ""), prior, guide, encoder, posterior)


def check_transition(family: str, transition: str) -> None:
    """Refuse a transition that a family cannot have."""
    if not transition:
        return
    require_known("transition", transition, TRANSITIONS)
    allowed = FAMILIES[family].transitions
    check(bool(allowed), "dmm has no recurrent network, so it takes no transition")
    reason = f"the network of {family} reads no z_t, so it is one of PyTorch's own: {' or '.join(allowed)}"
    check(transition in allowed or (is_own(transition) and allowed == WITH_LATENT), reason)


def misfits(prior: str, guide: str, encoder: str, posterior: str) -> Iterator[tuple[bool, str]]:
    """Whether a prior and a guide do not fit together, and the reason, one after the other."""
    yield (
        posterior == "residual" and prior in ("mixture", "flow"),
        f"the guide {guide} adds to the mean of a Gaussian prior, and the prior {prior} is none",
    )
    yield (
        posterior == "prior" and prior == "mixture",
        "the guide prior draws from the prior, and draws from a mixture have no gradient",
    )
    yield (
        posterior == "prior" and encoder != "none",
        f"the guide {guide} has an encoder that its posterior, the prior itself, does not read; take the guide prior",
    )


def require_emission(name: str, law: str, *, lattice: bool, embedding: bool) -> None:
    """Refuse an emission that a data set or a model cannot have, with the reason.

    Args:
        name: a key of `EMISSIONS`, or ``package.module:Name``.
        law: that of the data.
        lattice: whether its numbers are whole, and in a range that is known.
        embedding: whether the model has an embedding of its inputs.
    """
    if is_own(name):
        return
    wanted = EMISSIONS[name][0]
    check(wanted == law, f"the emission {name} is of {STEPS[wanted]}, and a step of this data is of {STEPS[law]}")
    reason = "the emission logistic-mixture is of 16-bit samples, or of arrays whose type is an integer of 8 or 16 bits"
    check(lattice or name != "logistic-mixture", reason)
    check(embedding or name != "tied", "a model that reads no input has no embedding to tie its emission to")


def require_known(kind: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that is neither known nor a user's own."""
    check(name in known or is_own(name), f"{unknown_name(kind, name, known)}; or package.module:Name")


def told() -> Iterator[str]:
    """All parts, a line each, under headings."""
    yield "Families (--family), and their own [prior, guide, transition]"
    for name, family in FAMILIES.items():
        own = f" [{', '.join(filter(None, (family.prior, family.guide, *family.transitions[:1])))}]"
        yield f"  {name:17}{family.about}{own}"
    yield "Guides (--guide): an encoder and a posterior, ENCODER-POSTERIOR, or one of the short names"
    for name, pair in GUIDES.items():
        if name != "-".join(pair):
            yield f"  {name:17}{'-'.join(pair)}"
    for heading, parts in (
        ("Encoders", ENCODERS),
        ("Posteriors", POSTERIORS),
        ("Priors (--prior)", PRIORS),
        ("Transitions (--transition)", TRANSITIONS),
        ("Emissions (--emission-law), the first of each kind of data its own", emissions_told()),
        ("Objectives (--objective), each plus alpha and beta times the added terms", OBJECTIVES),
    ):
        yield heading
        yield from (f"  {name:17}{about}" for name, about in parts.items())
    yield "Each of --family, --guide, --prior, --transition and --emission-law also takes package.module:Name;"
    yield "see docs/extending.md."


def emissions_told() -> dict[str, str]:
    """A line on each emission."""
    return {name: f"of {STEPS[law]}: {about}" for name, (law, about) in EMISSIONS.items()}
