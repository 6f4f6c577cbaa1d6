"""Images, one pixel a step.

python run.py --dataset mnist --preset paper --data mnist
python run.py --dataset mnist --preset quick --data mnist --binarize dynamic
python run.py --dataset digits
"""

from dataclasses import replace

from zf_pyro.config import Config, EvaluationConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.data.images import ImageSettings

MNIST_PAPER = Config(
    dataset="mnist",
    preset="paper",
    data=ImageSettings(),
    model=ModelConfig(
        embedding_size=512,
        hidden_size=1024,
        latent_size=256,
        mlp_size=512,
        transition_mlp=False,
        emission_skip=True,
        share_embedding=False,
        input_dropout=0.0,
    ),
    objective=ObjectiveConfig(alpha=0.0, beta=0.0),
    training=TrainingConfig(epochs=100, min_learning_rate=6.25e-5, validation_particles=1),
    evaluation=EvaluationConfig(num_particles=5),
)
"""The authors' last image model: 1024 units, 512 of embedding, z of 256, hidden layers of 512, batches of 32, 100
epochs, no annealing of the KL term. The weight of the auxiliary term behind their figure is not known; 0 is the default
of their code."""

MNIST_QUICK = Config(
    dataset="mnist",
    preset="quick",
    data=ImageSettings(),
    model=replace(MNIST_PAPER.model, embedding_size=32, hidden_size=128, latent_size=32, mlp_size=64),
    objective=ObjectiveConfig(alpha=0.0, beta=0.0, kl_start=0.2, kl_steps=100),
    training=TrainingConfig(
        max_steps=200,
        learning_rate=3e-3,
        validate_every=100,
        validation_sequences=100,
        validation_particles=1,
    ),
    evaluation=EvaluationConfig(num_particles=5, eval_sequences=200),
)
"""Minutes on two CPU cores: smaller layers, 200 updates, 200 test images."""

DIGITS_PAPER = replace(MNIST_PAPER, dataset="digits")
"""The sizes of MNIST; the paper has no such set."""

DIGITS_QUICK = replace(
    MNIST_QUICK,
    dataset="digits",
    objective=ObjectiveConfig(alpha=1e-4, beta=1e-4, kl_start=0.2, kl_steps=300),
    training=TrainingConfig(
        epochs=100,
        max_steps=600,
        learning_rate=3e-3,
        validate_every=200,
        validation_particles=1,
    ),
)
"""About a minute on two CPU cores."""
