"""Speech, 200 samples a step.

python run.py --dataset timit --preset paper --data TIMIT
python run.py --dataset blizzard --preset paper --data blizzard
python run.py --dataset audio --data recordings
"""

from dataclasses import replace

from zf_pyro.config import Config, EvaluationConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.data.speech import SpeechSettings, TimitSettings

TIMIT_PAPER = Config(
    dataset="timit",
    preset="paper",
    data=TimitSettings(),
    model=ModelConfig(
        embedding_size=512,
        hidden_size=1024,
        latent_size=256,
        mlp_size=512,
        transition_mlp=False,
        input_dropout=0.0,
        emission_clamp=0.0,
    ),
    objective=ObjectiveConfig(kl_start=0.2),
    training=TrainingConfig(epochs=100, min_learning_rate=6.25e-5, validation_particles=1, num_workers=2),
    evaluation=EvaluationConfig(num_particles=1),
)
"""The authors' last TIMIT model: 1024 units, 512 of embedding, z of 256, hidden layers of 512, batches of 32, 100
epochs, gamma from 0.2 to 1 by 0.00005 an update. They tried several weights of the auxiliary term, and which one is
behind their figure is not known; 0.005 is that of their best training log. One particle, as theirs: the bound is the
ELBO."""

BLIZZARD_PAPER = replace(
    TIMIT_PAPER,
    dataset="blizzard",
    data=SpeechSettings(test_fraction=0.05, evaluation_length=40, full_rows=True),
    model=replace(TIMIT_PAPER.model, embedding_size=1024, hidden_size=2048, mlp_size=1024),
    training=replace(TIMIT_PAPER.training, batch_size=128, learning_rate=3e-4, min_learning_rate=7.5e-5),
)
"""The authors' last Blizzard model: twice the sizes, batches of 128, learning rate 0.0003."""

AUDIO_PAPER = replace(TIMIT_PAPER, dataset="audio", data=SpeechSettings())
"""TIMIT's sizes and training."""

TIMIT_QUICK = replace(
    TIMIT_PAPER,
    preset="quick",
    model=replace(TIMIT_PAPER.model, embedding_size=128, hidden_size=256, latent_size=64, mlp_size=128),
    objective=ObjectiveConfig(kl_start=0.2, kl_steps=800),
    training=TrainingConfig(
        epochs=1_000,
        max_steps=1_200,
        learning_rate=3e-3,
        validate_every=100,
        validation_sequences=50,
        validation_particles=1,
    ),
    evaluation=EvaluationConfig(num_particles=5, eval_sequences=100),
)
"""Minutes on two CPU cores."""

BLIZZARD_QUICK = replace(
    TIMIT_QUICK,
    dataset="blizzard",
    data=BLIZZARD_PAPER.data,
    training=replace(TIMIT_QUICK.training, validation_sequences=100),
    evaluation=EvaluationConfig(num_particles=5, eval_sequences=200),
)
"""The same; a sequence is shorter, so more are scored."""

AUDIO_QUICK = replace(TIMIT_QUICK, dataset="audio", data=AUDIO_PAPER.data)
"""The same."""
