"""IMDB sentences.

python run.py --dataset imdb --preset paper --data aclImdb_v1.tar.gz
python run.py --dataset imdb --preset quick
"""

from zf_pyro.config import Config, EvaluationConfig, ModelConfig, ObjectiveConfig, TrainingConfig
from zf_pyro.data.text import TextSettings

PAPER = Config(dataset="imdb", preset="paper")
"""The authors' last text model: 500 units, 300 of embedding, z of 64, hidden layers of 500, dropout 0.2, batches of 32,
10 epochs, alpha = beta = 0.005 (the larger of the two values they tried), no annealing of the KL term."""

QUICK = Config(
    dataset="imdb",
    preset="quick",
    data=TextSettings(vocabulary_size=8_000),
    model=ModelConfig(embedding_size=128, hidden_size=200, latent_size=32, mlp_size=128, input_dropout=0.0),
    objective=ObjectiveConfig(kl_start=0.2, kl_steps=300),
    training=TrainingConfig(
        epochs=100,
        max_steps=600,
        learning_rate=3e-3,
        validate_every=200,
        validation_sequences=500,
        validation_particles=1,
    ),
    evaluation=EvaluationConfig(num_particles=5, eval_sequences=2_000),
)
"""Minutes on two CPU cores: smaller layers and the 8,000 most frequent words instead of 16,000, which makes a
perplexity lower than it would be over 16,000; gamma reaches 1 half-way."""
