"""The configuration of a run: documented dataclasses, one a section, to and from TOML and the command line.

Every field has a preset value (`zf_pyro.presets`), can be set by ``--set FIELD=VALUE`` and stands in the run's
``config.toml``. Names are unique over the sections.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zf_pyro.data.splits import SplitSettings
from zf_pyro.data.text import TextSettings
from zf_pyro.errors import check
from zf_pyro.parts import EMISSIONS, Parts, choose, is_own, require_known
from zf_pyro.precision import MatmulPrecision, Precision
from zf_pyro.schedules import Constant, Linear, Schedule, Scheduled, schedule


@dataclass(frozen=True)
class ModelConfig:
    """Parts, sizes and numerics of model and guide. The defaults are the authors' text model.

    The parts are named as `zf_pyro.parts` has them, or as ``package.module:Name`` (docs/extending.md).
    """

    family: str = "zforcing"
    """The generative model: zforcing, storn, vrnn, srnn, dmm or rnn."""
    guide: str = ""
    """The inference network, ENCODER-POSTERIOR or a short name for it; "" is the family's own."""
    prior: str = ""
    """The law of z_t before x_t is seen; "" is the family's own."""
    transition: str = ""
    """The recurrent network; "" is the family's own."""
    emission_law: str = ""
    """The law of x_t; "" is that of the data: categorical, bernoulli or gaussian."""
    emission_components: int = 10
    """Components of the emissions gaussian-mixture and logistic-mixture."""
    num_layers: int = 1
    """Layers of the recurrent network; a further one reads the one below and u_t (of srnn and rnn: the one below)."""
    mixture_components: int = 10
    """Gaussians of the prior mixture."""
    flow_layers: int = 4
    """Coupling layers of the prior flow and of the posterior flow."""
    embedding_size: int = 300
    """Units of the embedding of u_t."""
    hidden_size: int = 500
    """Units of the LSTM, and of the backward one."""
    latent_size: int = 64
    """Units of z_t."""
    mlp_size: int = 500
    """Units of the hidden layers of prior, posterior and auxiliary, and of the layers named below."""
    transition_mlp: bool = True
    """A hidden layer between z_t and the gates of the LSTM; else z_t enters them linearly."""
    emission_skip: bool = False
    """A hidden layer before the emission's last, which reads h_t and, by a skip connection, embed(u_t)."""
    share_embedding: bool = True
    """One embedding for the model's inputs and the encoder's targets."""
    input_dropout: float = 0.2
    """Rate at which units of embed(u_t) are dropped in training; one mask a step for model and guide."""
    auxiliary_reads: Literal["latent", "latent+hidden"] = "latent"
    """The auxiliary reconstructs b_t from z_t alone, or from z_t and h_{t-1}."""
    auxiliary_loss: Literal["gaussian", "squared-error"] = "gaussian"
    """Its likelihood: a Gaussian of learned variance, or one whose -log p is the squared error plus a constant."""
    auxiliary_mean: Literal["tanh", "identity"] = "tanh"
    """Bound its mean as an LSTM's state is bounded, or not."""
    detach_auxiliary_target: bool = True
    """Keep the auxiliary's gradient out of the encoder through its target b_t."""
    activation_slope: float = 1 / 3
    """Slope of the leaky rectifiers below zero."""
    activation_bound: float = 3.0
    """Their outputs are clipped to plus and minus this."""
    parameter_clamp: float = 8.0
    """Means and log-variances of prior, posterior and auxiliary are clamped to plus and minus this."""
    emission_clamp: float = 8.0
    """Likewise of a real-valued emission and of the backward model; 0 leaves them free. Of a waveform, samples beyond 8
    standard deviations and variances below exp(-8), in silence, do occur."""
    recurrent_init: Literal["orthogonal", "uniform"] = "orthogonal"
    """Initial recurrent weights: an orthogonal block a gate, or PyTorch's uniform law."""
    learn_initial_state: bool = False
    """Learn the first state, h_0 and c_0 (of srnn also z_0, of dmm z_0 alone), instead of keeping it zero."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        sizes = ("embedding_size", "hidden_size", "latent_size", "mlp_size")
        for name in (*sizes, "num_layers", "mixture_components", "emission_components", "flow_layers"):
            check(getattr(self, name) >= 1, f"{name} must be at least 1")
        check(0 <= self.input_dropout < 1, "input_dropout must be at least 0 and below 1")
        for name in ("activation_bound", "parameter_clamp"):
            check(getattr(self, name) > 0, f"{name} must be above 0")
        check(self.emission_clamp >= 0, "emission_clamp must not be negative")
        self.check_parts()

    @property
    def parts(self) -> Parts:
        """What model and guide are made of."""
        return choose(self.family, self.transition, self.prior, self.guide)

    @property
    def own_parts(self) -> dict[str, str]:
        """The parts that are a user's own, ``package.module:Name`` by field."""
        fields = ("family", "transition", "prior", "guide", "emission_law")
        return {name: getattr(self, name) for name in fields if is_own(getattr(self, name))}

    @property
    def is_discretised(self) -> bool:
        """Whether real numbers are scored as points of a lattice, by probabilities, where others have densities."""
        return self.emission_law == "logistic-mixture"

    def check_parts(self) -> None:
        """Refuse parts that do not fit together, or do not fit the sizes."""
        parts = self.parts
        if self.emission_law:
            require_known("emission", self.emission_law, EMISSIONS)
            check(not is_own(parts.family), f"the family {parts.family} brings its own emission")
        markov = parts.family == "dmm"
        check(not markov or self.num_layers == 1, "dmm has no recurrent network, so num_layers must be 1")
        flows = parts.posterior == "flow" or parts.prior == "flow"
        check(
            not flows or self.latent_size > 1,
            "a flow moves one part of z_t by the other, so latent_size must be above 1",
        )
        reads_hidden = self.auxiliary_reads == "latent+hidden" and parts.runs_backward
        check(not (markov and reads_hidden), "dmm has no h_t for the auxiliary to read; set auxiliary_reads=latent")


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is maximised in training, and the weights of its terms.

    `alpha`, `beta` and `gamma` are numbers, or schedules by the number of updates done: ``linear:START:END:STEPS`` or
    ``cyclic:LOW:HIGH:PERIOD[:RISE]`` (`zf_pyro.schedules`).
    """

    objective: Literal["elbo", "iwae", "dreg", "fivo"] = "elbo"
    """The evidence lower bound, the importance-weighted bound, the same with the guide's gradient doubly
    reparametrised, or the particle-filter bound; each plus the two added terms."""
    train_particles: int = 0
    """Particles a sequence in training; 0 takes 1 for elbo and 5 for the others."""
    free_bits: float = 0.0
    """Of elbo: a floor under KL_t, in nats a step, below which there is nothing to gain."""
    kl_balance: float = 0.5
    """Of elbo: above 1/2 the KL term pulls more on the prior, below on the posterior."""
    alpha: Scheduled = 0.005
    """Weight of the auxiliary term, per unit of b_t."""
    beta: Scheduled = 0.005
    """Weight of the backward language model; the authors set it equal to alpha."""
    gamma: Scheduled = ""
    """Weight of the KL term; "" is what kl_start and kl_steps say. A gamma that is given wins over both."""
    kl_start: float = 1.0
    """gamma at the first update; it ends at 1. At 1 there is no annealing."""
    kl_steps: int = 16_000
    """Updates over which gamma goes from kl_start to 1, however many updates the run has. 16,000 from 0.2 is the
    pace at which the authors annealed their speech models."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("kl_start", "kl_steps"):
            check(getattr(self, name) >= 0, f"{name} must not be negative")
        check(self.kl_start == 1 or self.kl_steps > 0, "kl_start has no effect while kl_steps is 0; set kl_steps too")
        _ = self.weights  # refuses what is no schedule
        check(0 <= self.train_particles <= 10_000, "train_particles must be at least 0 and at most 10,000")
        check(self.free_bits >= 0, "free_bits must not be negative")
        check(0 < self.kl_balance < 1, "kl_balance must be above 0 and below 1")
        plain = self.free_bits == 0 and self.kl_balance == 0.5
        reason = f"{self.objective} has no KL term of its own, so free_bits and kl_balance are of the objective elbo"
        check(self.objective == "elbo" or plain, reason)

    @property
    def weights(self) -> dict[str, Schedule]:
        """The schedules of alpha, beta and gamma."""
        annealing = Linear(self.kl_start, 1.0, self.kl_steps) if self.kl_start != 1 else Constant(1.0)
        gamma = annealing if self.gamma == "" else schedule(self.gamma, "gamma")
        return {"alpha": schedule(self.alpha, "alpha"), "beta": schedule(self.beta, "beta"), "gamma": gamma}

    @property
    def particles(self) -> int:
        """Particles a sequence in training."""
        return self.train_particles or (1 if self.objective == "elbo" else 5)


@dataclass(frozen=True)
class TrainingConfig:
    """Optimiser, length of training, and validation."""

    form: Literal["path", "step"] = "path"
    """The form of the programs that is trained and tested: one latent site a sequence, or one a step (slower)."""
    precision: Precision = "float32"
    """Of the matrix products of an update: float32, or bfloat16 with results, laws and sums in float32. Parameters are
    float32, and so is whatever is scored: validation and test (docs/performance.md)."""
    matmul_precision: MatmulPrecision = "highest"
    """How exact an update's products of float32 matrices are: highest, or high or medium, by which a GPU takes them in
    TF32. Whatever is scored takes highest."""
    batch_size: int = 32
    """Sequences an update."""
    epochs: int = 10
    """Passes over the training split at most."""
    max_steps: int = 0
    """Updates at most; 0 leaves the limit to the epochs."""
    learning_rate: Scheduled = 1e-3
    """Adam's: a number, or a schedule as in the objective. Where validation gets worse all its values are halved."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon."""
    clip_norm: float = 100.0
    """Bound on the gradient's norm over all parameters; 0 leaves it free."""
    min_learning_rate: float = 1e-5
    """Halving stops where the greatest value of the learning rate is this."""
    validate_every: int = 0
    """Updates between validations; 0 validates after every epoch."""
    validation_sequences: int = 0
    """A seeded subset of the validation split of this size; 0 takes all."""
    checkpoint_segments: int = 1
    """Segments of time that an update in the path form computes again for its gradient, so that memory holds the inside
    of one at a time: for sequences that do not fit otherwise. Without effect on the outcome but for rounding."""
    num_workers: int = 0
    """Processes that read batches ahead of the training; 0 reads each when it is due. Without effect on the outcome."""
    save_minutes: float = 10.0
    """The state is saved after so many minutes without a validation, too; 0 saves at validations alone."""
    log: Literal["jsonl", "tensorboard"] = "jsonl"
    """metrics.jsonl alone, or beside it the same as events for TensorBoard, which is an extra."""
    validation_particles: int = 25
    """Particles of the importance-weighted bound by which the best checkpoint is chosen; 1 makes it the ELBO."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("batch_size", "epochs", "validation_particles", "checkpoint_segments"):
            check(getattr(self, name) >= 1, f"{name} must be at least 1")
        nonnegative = ("max_steps", "clip_norm", "min_learning_rate", "validate_every", "validation_sequences")
        for name in (*nonnegative, "save_minutes"):
            check(getattr(self, name) >= 0, f"{name} must not be negative")
        check(0 <= self.num_workers <= 256, "num_workers must be at least 0 and at most 256")
        for name, value in (("learning_rate", self.rate.peak), ("adam_epsilon", self.adam_epsilon)):
            check(value > 0, f"{name} must be above 0")

    @property
    def rate(self) -> Schedule:
        """The schedule of the learning rate, before any halving."""
        return schedule(self.learning_rate, "learning_rate")


@dataclass(frozen=True)
class EvaluationConfig:
    """The test of the best checkpoint after training."""

    num_particles: int = 25
    """K of the importance-weighted bound."""
    eval_sequences: int = 0
    """A seeded subset of the test split of this size; 0 takes all."""
    particle_filter: bool = False
    """The particle-filter bound (FIVO) of as many particles beside the others; with the objective fivo it is always
    there."""
    num_samples: int = 20
    """Sequences drawn from the prior into the run's folder."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(self.num_particles >= 1, "num_particles must be at least 1")
        check(self.eval_sequences >= 0, "eval_sequences must not be negative")
        check(1 <= self.num_samples <= 10_000, "num_samples must be at least 1 and at most 10,000")


@dataclass(frozen=True)
class Config:
    """Everything that decides a run's outcome."""

    dataset: str
    """Name of the data set, a key of `zf_pyro.presets.PRESETS`."""
    preset: str
    """Name of the preset that the fields started from."""
    seed: int = 0
    """Seeds initialisation, order of the batches, noise and evaluation."""
    device: str = "cpu"
    """"cpu", "cuda" or "cuda:N"."""
    source: str = ""
    """Where the data is: a path, or for imdb "archive" or "samples"; "" takes what is there and is written down as what
    it was."""
    data: SplitSettings = field(default_factory=TextSettings)
    """How the data is prepared: the settings of its kind."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Sizes and numerics."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """Weights of the terms."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Optimisation."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """The final test."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check(0 <= self.seed < 2**32, "seed must be at least 0 and below 2**32")
        parts, weights = self.model.parts, self.objective.weights
        what = f"the guide {parts.guide}" if parts.family != "rnn" else "rnn"
        reason = f"alpha and beta weigh terms of a state that runs backward, and {what} has none; set both to 0"
        added = weights["alpha"].peak or weights["beta"].peak
        check(not added or parts.runs_backward, reason)
        gaussian = parts.prior not in ("mixture", "flow") and parts.posterior != "flow"
        plain = self.objective.free_bits == 0 and self.objective.kl_balance == 0.5
        check(plain or gaussian, "free_bits and kl_balance need a Gaussian prior and posterior, whose KL is known")
        reason = "a residual posterior moves with the prior, so kl_balance cannot tell the two apart; set it to 0.5"
        check(self.objective.kl_balance == 0.5 or parts.posterior != "residual", reason)
        path = self.training.form == "path"
        name = self.objective.objective
        check(path or name not in ("dreg", "fivo"), f"{name} needs the path form; take --form path, or iwae")
        cut = self.training.checkpoint_segments > 1
        check(path or not cut, "checkpoint_segments above 1 needs the path form; take --form path")
        reason = "fivo draws its paths in one piece; set checkpoint_segments to 1, or take iwae"
        check(self.may_be_cut or not cut, reason)
        reason = "beta weighs p(u_t | b_t), and the encoder of srnn has seen u_t in d_t; set beta to 0"
        check(parts.family != "srnn" or weights["beta"].peak == 0 or is_own(parts.guide), reason)

    @property
    def may_be_cut(self) -> bool:
        """Whether an update may be computed in segments of time."""
        return self.training.form == "path" and self.objective.objective != "fivo"

    @property
    def filters(self) -> bool:
        """Whether the test has the particle-filter bound."""
        return self.evaluation.particle_filter or self.objective.objective == "fivo"


SECTIONS = ("data", "model", "objective", "training", "evaluation")
"""The fields of `Config` that hold fields themselves."""
