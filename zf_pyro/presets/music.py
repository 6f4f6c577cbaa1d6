"""Polyphonic music, 88 notes a step. The paper has no music; papers on its relatives have.

python run.py --dataset jsb --preset paper --data jsb_raw_batchsize16_seqlen100.npz
python run.py --dataset nottingham --preset quick --data nottingham_raw_batchsize16_seqlen100.npz
python run.py --dataset muse --data MuseData
"""

from dataclasses import replace

from zf_pyro.config import Config, EvaluationConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.data.music import MusicSettings

JSB_QUICK = Config(
    dataset="jsb",
    preset="quick",
    data=MusicSettings(steps_per_beat=1),
    model=ModelConfig(
        embedding_size=128, hidden_size=300, latent_size=64, mlp_size=128, transition_mlp=False, input_dropout=0.3
    ),
    objective=ObjectiveConfig(alpha=0.0, beta=0.0, kl_start=0.2, kl_steps=1_000),
    training=TrainingConfig(
        batch_size=16,
        epochs=1_000,
        max_steps=1_000,
        min_learning_rate=1e-3,
        validate_every=100,
        validation_sequences=100,
        validation_particles=1,
    ),
    evaluation=EvaluationConfig(num_particles=5, eval_sequences=200),
)
"""Minutes on two CPU cores. The learning rate stays as it is, since the bound falls and rises while gamma does."""

JSB_PAPER = replace(
    JSB_QUICK,
    preset="paper",
    objective=replace(JSB_QUICK.objective, kl_steps=10_000),
    training=replace(JSB_QUICK.training, epochs=500, max_steps=0, validate_every=0, validation_sequences=0),
    evaluation=EvaluationConfig(num_particles=25),
)
"""The same sizes, trained for longer, and tested on every piece."""


def of(dataset: str, steps_per_beat: int) -> dict[str, Config]:
    """The presets of another collection, on a time grid of its own where it is read from MIDI files."""
    changes = {"dataset": dataset, "data": MusicSettings(steps_per_beat=steps_per_beat)}
    return {config.preset: replace(config, **changes) for config in (JSB_PAPER, JSB_QUICK)}  # type: ignore[arg-type]
