"""Runs in other precisions than float32's own: what they reach, and that no bound has to do with it."""

import tomllib

import pytest
import torch

from tests.test_precision import PRODUCTS, Kernels
from tests.test_training import make_trainer, run, saved_and_read
from tests.toy_runs import SMALL
from tests.updates import before_update, ctrl_c
from zf_pyro import experiment
from zf_pyro.metrics import read_metrics
from zf_pyro.precision import matmul_precision, set_matmul_precision
from zf_pyro.training import Trainer

LOW = ["--precision", "bfloat16"]


@pytest.fixture(autouse=True)
def _as_before():
    """What commands set for their process."""
    with matmul_precision("highest"):
        yield


def test_a_run_in_bfloat16_improves_the_loss_and_resumes(run_py, reviews, tmp_path, monkeypatch):
    options = ["--dataset", "imdb", "--data", reviews, "--max-steps", 40, *SMALL, *LOW]
    options += ["--set", "learning_rate=0.01", "--set", "epochs=20", "--set", "validate_every=20"]
    status, _, error = run_py(*options, "--output", tmp_path / "whole")
    assert status == 0, error
    assert tomllib.loads((tmp_path / "whole" / "config.toml").read_text())["training"]["precision"] == "bfloat16"
    lines = list(read_metrics(tmp_path / "whole"))
    per_step = [-line["elbo"] / line["length"] for line in lines if "elbo" in line]
    assert max(per_step[-5:]) < min(per_step[:5])
    assert len([line for line in lines if "valid_elbo" in line]) == 2

    with monkeypatch.context() as patch:
        before_update(patch, 24, ctrl_c)
        assert run_py(*options, "--output", tmp_path / "stopped")[0] == 130
    status, _, error = run_py("--resume", tmp_path / "stopped")
    assert status == 0, error
    for name in ("metrics.jsonl", "results.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_training_is_in_bfloat16_and_validation_in_float32(monkeypatch):
    kernels = {}

    def noting(name):
        real, kernels[name] = getattr(Trainer, name), Kernels()

        def noted(*args):
            with kernels[name]:
                return real(*args)

        monkeypatch.setattr(Trainer, name, noted)

    noting("update")
    noting("bound_of_validation")
    trainer = make_trainer(precision="bfloat16", max_steps=1, validate_every=1)
    run(trainer)
    assert torch.bfloat16 in kernels["update"].of(*PRODUCTS)
    assert kernels["bound_of_validation"].of(*PRODUCTS) == {torch.float32}
    state = saved_and_read(trainer.state())
    tensors = [*state["model"].values(), *state["guide"].values(), *state["best"]["model"].values()]
    moments = [each[name] for each in state["optimizer"]["state"].values() for name in ("exp_avg", "exp_avg_sq")]
    assert {each.dtype for each in [*tensors, *moments]} == {torch.float32}


@pytest.fixture
def precisions(monkeypatch):
    """What the products of float32 matrices are at, in updates and in what is scored."""
    seen = {"update": set(), "scored": set()}

    def noting(owner, name, key):
        real = getattr(owner, name)

        def noted(*args, **options):
            seen[key].add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            return real(*args, **options)

        monkeypatch.setattr(owner, name, noted)

    noting(Trainer, "loss_of", "update")
    noting(Trainer, "bound_of_validation", "scored")
    noting(experiment, "evaluate", "scored")
    return seen


@pytest.mark.parametrize("how", ["high", "medium"])
def test_less_exact_products_are_of_updates_alone(how, precisions, run_py, zf, reviews, tmp_path):
    set_matmul_precision("medium")  # as another program in the process may have left it
    folder = tmp_path / "run"
    options = ["--data", reviews, "--max-steps", 4, "--output", folder, *SMALL, "--matmul-precision", how]
    status, _, error = run_py("--dataset", "imdb", *options)
    assert status == 0, error
    assert precisions == {"update": {(how, True)}, "scored": {("highest", False)}}
    precisions["scored"].clear()
    set_matmul_precision("medium")
    assert zf("evaluate", folder, "--num-particles", 2)[0] == 0
    assert precisions["scored"] == {("highest", False)}


def test_products_are_exact_unless_asked_otherwise(precisions, run_py, reviews, tmp_path):
    options = ["--data", reviews, "--max-steps", 1, "--output", tmp_path / "run", *SMALL]
    assert run_py("--dataset", "imdb", *options)[0] == 0
    assert precisions == {"update": {("highest", False)}, "scored": {("highest", False)}}


def test_the_precision_before_is_restored_after_an_error(monkeypatch):
    def fail(trainer, batch):
        raise ZeroDivisionError

    monkeypatch.setattr(Trainer, "loss_of", fail)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    trainer = make_trainer(matmul_precision="high")
    with pytest.raises(ZeroDivisionError):
        run(trainer)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--precision", "float16"),
        ("--matmul-precision", "low"),
        ("--set", "precision=float16"),
        ("--set", "matmul_precision=tf32"),
    ],
    ids="=".join,
)
def test_unknown_precisions_are_refused_in_one_line(words, run_py, reviews):
    status, _, error = run_py("--dataset", "imdb", "--data", reviews, *words)
    assert (status, error.count("\n")) == (2, 1)
    assert "float32" in error or "highest" in error
