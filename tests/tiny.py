"""Small models and batches that the tests share."""

import torch
from torch import Tensor

from zf_pyro import Guide, SequenceBatch, StochasticRNN
from zf_pyro.build import build
from zf_pyro.config import ModelConfig
from zf_pyro.data.corpus import Observation

VOCABULARY = 20
SIZES = {"embedding_size": 6, "hidden_size": 8, "latent_size": 3, "mlp_size": 5}


def tiny_pair(
    seed: int = 0, dtype: torch.dtype = torch.float64, input_dropout: float = 0.0, **options: object
) -> tuple[StochasticRNN, Guide]:
    """A text model of a few hundred parameters and its guide, larger weights than at initialisation."""
    torch.manual_seed(seed)
    config = ModelConfig(**{**SIZES, **options}, input_dropout=input_dropout)  # type: ignore[arg-type]
    model, guide = build(config, Observation("categorical", VOCABULARY))
    for module in (model.to(dtype), guide.to(dtype)):
        for parameter in module.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return model, guide


def tiny_batch(lengths: tuple[int, ...] = (5, 2, 4), seed: int = 0, num_steps: int | None = None) -> SequenceBatch:
    """Random words in sequences of the given lengths, padded to the longest or to `num_steps`."""
    steps = num_steps or max(lengths)
    generator = torch.Generator().manual_seed(seed)
    words = [torch.randint(4, VOCABULARY, (n,), generator=generator) for n in lengths]
    return padded(words, steps)


def padded(words: list[Tensor], steps: int) -> SequenceBatch:
    """Sequences of words as a batch of `steps` steps."""
    targets = torch.zeros(steps, len(words), dtype=torch.long)
    for b, sentence in enumerate(words):
        targets[: len(sentence), b] = sentence
    mask = torch.arange(steps).unsqueeze(1) < torch.tensor([len(sentence) for sentence in words])
    inputs = torch.cat([torch.ones_like(targets[:1]), targets[:-1]]) * mask
    return SequenceBatch(inputs, targets, mask)


def all_parameters(*modules: torch.nn.Module) -> dict[str, Tensor]:
    """Every parameter of some modules, by a name that tells the modules apart."""
    return {f"{i}.{name}": p for i, module in enumerate(modules) for name, p in module.named_parameters()}
