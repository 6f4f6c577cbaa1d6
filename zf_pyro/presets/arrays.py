"""Sequences of a user's own.

python run.py --dataset arrays --preset quick --data mine.npz
python run.py --dataset arrays --preset paper --data folder
"""

from dataclasses import replace

from zf_pyro.config import Config, EvaluationConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.data.arrays import ArraySettings

PAPER = Config(
    dataset="arrays",
    preset="paper",
    data=ArraySettings(chunk_length=200),
    model=ModelConfig(
        embedding_size=512, hidden_size=1024, latent_size=256, mlp_size=512, transition_mlp=False, input_dropout=0.0
    ),
    objective=ObjectiveConfig(kl_start=0.2),
    training=TrainingConfig(epochs=100, min_learning_rate=6.25e-5, validation_particles=1),
)
"""The sizes and the training of the authors' speech model, theirs for real numbers."""

QUICK = Config(
    dataset="arrays",
    preset="quick",
    data=ArraySettings(chunk_length=200),
    model=replace(PAPER.model, embedding_size=64, hidden_size=128, latent_size=32, mlp_size=64),
    objective=ObjectiveConfig(alpha=0.0005, beta=0.0005, kl_start=0.2, kl_steps=250),
    training=TrainingConfig(
        batch_size=16,
        epochs=1_000,
        max_steps=500,
        learning_rate=3e-3,
        validate_every=100,
        validation_sequences=100,
        validation_particles=1,
    ),
    evaluation=EvaluationConfig(num_particles=5, eval_sequences=200),
)
"""Minutes on two CPU cores, depending on how long the sequences are."""
