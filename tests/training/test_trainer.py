"""The trainer against RecBole's own, and what it adds: phases, mixed precision, honest failures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from trainer_runs import run_small

from recbole_precise.errors import CheckpointError, ConfigError
from recbole_precise.evaluation.draws import own_draws
from recbole_precise.training.phases import Phase, check_phases, freeze_for
from recbole_precise.training.steps import DivergedError, EarlyStopping, LossSum, Stepper


def parts(config, stock: bool):
    """(model, trainer, loaders) through RecBole's own functions or through ours, seeded at
    RecBole's places.
    """
    from recbole.utils import init_seed

    import recbole_precise as ours

    if stock:
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer
    else:
        from recbole_precise.plugin.preparation import create_dataset, data_preparation
        from recbole_precise.plugin.trainer import get_trainer as get_ours

        get_model, get_trainer = ours.get_model, lambda model_type, name: get_ours(config)
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, loaders[0]._dataset).to(config["device"])
    return model, get_trainer(config["MODEL_TYPE"], config["model"])(config, model), loaders


def ours(settings: dict):
    from command_lines import command_line

    from recbole_precise import Config

    with command_line([]):
        return parts(Config(config_dict=settings), stock=False)


MOVIELENS = {
    "dataset": "ml-100k", "gpu_id": "", "show_progress": False, "MAX_ITEM_LIST_LENGTH": 10,
    "epochs": 2, "user_inter_num_interval": "[5,50]",
    "valid_metric": "NDCG@10", "topk": [5, 10], "metrics": ["Recall", "MRR", "NDCG", "Hit",
        "Precision", "MAP"], "eval_batch_size": 100,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
}  # fmt: skip
STOCK_MODELS = {
    "SASRec": {"hidden_size": 32, "inner_size": 32, "n_layers": 1, "train_neg_sample_args": None},
    "BERT4Rec": {"hidden_size": 32, "inner_size": 32, "n_layers": 1, "train_neg_sample_args": None},
    "GRU4Rec": {"embedding_size": 16, "hidden_size": 16, "loss_type": "BPR",
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "alpha": 1.0,
            "dynamic": False, "candidate_num": 0}},
    "FPMC": {"embedding_size": 16, "clip_grad_norm": {"max_norm": 1.0}, "weight_decay": 1e-4,
        "train_neg_sample_args": {"distribution": "popularity", "sample_num": 2, "alpha": 0.5,
            "dynamic": False, "candidate_num": 0}},
}  # fmt: skip


@pytest.mark.parametrize("model", STOCK_MODELS)
def test_recboles_models_learn_and_rank_as_in_recbole(
    tmp_path: Path, monkeypatch, model: str
) -> None:
    """Stock RecBole from end to end beside our data, trainer and evaluator: the same losses,
    weights and numbers.
    """
    from recbole.config import Config as StockConfig

    from recbole_precise import Config

    monkeypatch.chdir(tmp_path)
    settings = {**MOVIELENS, **STOCK_MODELS[model], "checkpoint_dir": str(tmp_path / "saved")}
    stock_settings = {key: value for key, value in settings.items() if key != "dataset"}
    stock_model, stock_trainer, (train, valid, test) = parts(
        StockConfig(model, "ml-100k", config_dict=stock_settings), stock=True
    )
    evaluate = stock_trainer.evaluate

    def evaluate_apart(*args, **kwargs):
        """RecBole's BERT4Rec takes the masks of its evaluation from the sequence that training
        draws from.
        """
        with own_draws():
            return evaluate(*args, **kwargs)

    stock_trainer.evaluate = evaluate_apart
    stock_score, stock_valid = stock_trainer.fit(train, valid, verbose=False, show_progress=False)
    stock_test = stock_trainer.evaluate(test, show_progress=False)

    our_model, trainer, (train, valid, test) = parts(
        Config(model, config_dict={**settings, "time_order": "recbole"}), stock=False
    )
    score, best = trainer.fit(train, valid, verbose=False, show_progress=False)
    result = trainer.evaluate(test, show_progress=False)

    assert trainer.train_loss_dict == stock_trainer.train_loss_dict
    for name, tensor in stock_model.state_dict().items():
        assert torch.equal(tensor, our_model.state_dict()[name]), name
    assert list(result.items()) == [(name, float(value)) for name, value in stock_test.items()]
    assert list(best.items()) == [(name, float(value)) for name, value in stock_valid.items()]
    assert float(np.float64(score).round(4)) == stock_score


def test_recboles_evaluator_on_demand(tmp_path: Path, settings) -> None:
    """evaluator: recbole gives the same numbers, and metrics that ranks cannot give."""
    exact = run_small(settings("SASRec", metrics=["Recall", "NDCG"]))
    theirs = run_small(settings("SASRec", metrics=["Recall", "NDCG"], evaluator="recbole"))
    assert exact["test_result"] == theirs["test_result"]
    more = run_small(
        settings(
            "SASRec", metrics=["Recall", "NDCG", "ItemCoverage", "GiniIndex"], evaluator="recbole"
        )
    )
    assert {"itemcoverage@10", "giniindex@10"} <= set(more["test_result"])
    assert more["test_result"]["ndcg@10"] == exact["test_result"]["ndcg@10"]


def test_sampled_candidates_through_recbole(settings) -> None:
    result = run_small(settings("SASRec", eval_args={"mode": {"valid": "uni20", "test": "full"}}))
    assert set(result["test_result"]) == set(result["best_valid_result"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metrics": ["NDCG", "GAUC"]}, "evaluator: recbole"),
        ({"eval_args": {"mode": "uni20"}}, "evaluator: recbole"),
    ],
)
def test_what_ranks_cannot_give_is_refused(settings, stock_config, more, said) -> None:
    """Also when RecBole's own Config, which knows nothing of it, was used."""
    from recbole_precise.plugin.trainer import PreciseTrainer

    small = settings("SASRec", **more)
    config = stock_config(
        "SASRec",
        "ring",
        **{
            key: value
            for key, value in small.items()
            if key
            not in (
                "model",
                "dataset",
                "gpu_id",
                "checkpoint_dir",
                "show_progress",
                "train_neg_sample_args",
                "tensorboard",
            )
        },
    )
    with pytest.raises(ConfigError, match=said):
        PreciseTrainer(config, torch.nn.Linear(1, 1))


def test_models_that_rate_pairs_are_ranked_too(tmp_path: Path, settings) -> None:
    """DIN has no scores for all items at once."""
    small = settings(
        "DIN",
        metrics=["Recall", "NDCG"],
        epochs=1,
        mlp_hidden_size=[8],
        embedding_size=4,
        train_neg_sample_args={"distribution": "uniform", "sample_num": 1},
    )
    small["load_col"] = {"inter": ["user_id", "item_id", "timestamp"]}
    exact, theirs = run_small(small), run_small({**small, "evaluator": "recbole"})
    assert exact["test_result"] == theirs["test_result"]


def test_masked_history(settings) -> None:
    """Leaving out earlier items can only lift the rank of a target that is not among them."""
    from recbole_precise.evaluation.ranking import Ranks

    model, trainer, (train, valid, test) = ours(settings("SASRec", epochs=1))
    trainer.fit(train, valid, verbose=False)
    trainer.evaluate(test)
    plain: Ranks = trainer.ranks["test"]
    trainer.config["mask_history"] = True
    trainer.evaluate(test)
    masked: Ranks = trainer.ranks["test"]
    dataset = test._dataset
    row, item = dataset.history(np.arange(len(plain)))
    model.eval()
    interaction = dataset[np.arange(len(plain))]
    scores = model.full_sort_predict(interaction).detach().clone()
    scores[:, 0] = scores[row, item] = -math.inf
    own = scores.gather(1, torch.from_numpy(plain.target)[:, None])
    expected = torch.where(own[:, 0] == -math.inf, scores.shape[1], (scores >= own).sum(1))
    assert torch.equal(torch.from_numpy(masked.rank), expected)
    assert (masked.rank != plain.rank).any()


def test_training_mode_is_given_back(settings) -> None:
    model, trainer, (_train, _valid, test) = ours(settings("SASRec", epochs=1))
    for mode in (True, False):
        model.train(mode)
        trainer.evaluate(test, load_best_model=False)
        assert model.training is mode


def test_nothing_is_written_before_fit_saves(settings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    _model, trainer, (train, valid, test) = ours(settings("SASRec", epochs=1, tensorboard=True))
    trainer.fit(train, valid, verbose=False, saved=False)
    trainer.evaluate(test, load_best_model=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]
    trainer.fit(train, valid, verbose=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "saved"]
    assert any(path.name.startswith("events.") for path in Path(trainer.run_folder.path).iterdir())


def test_callback_and_progress_bars(settings, capsys) -> None:
    _model, trainer, (train, valid, _test) = ours(settings("SASRec", epochs=3))
    seen = []
    trainer.fit(
        train,
        valid,
        verbose=False,
        saved=False,
        show_progress=True,
        callback_fn=lambda epoch, score: seen.append((epoch, score)),
    )
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert [score for _, score in seen] == [
        record["valid_score"] for record in trainer.progress.history
    ]
    printed = capsys.readouterr().err
    assert "Train     2" in printed and "Evaluate" in printed


def test_best_weights_are_tested(settings) -> None:
    """What evaluate(load_best_model=True) ranks are the weights of the best epoch, not of
    the last.
    """
    model, trainer, (train, valid, _test) = ours(settings("SASRec", epochs=6, learning_rate=0.05))
    best, weights = -1.0, {}

    def keep(epoch: int, score: float) -> None:
        nonlocal best, weights
        if score >= best:
            best, weights = (
                score,
                {name: value.clone() for name, value in model.state_dict().items()},
            )

    score, _ = trainer.fit(train, valid, verbose=False, callback_fn=keep)
    trainer.evaluate(valid)
    assert score == best == trainer.results["valid"]["ndcg@10"]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


# --- Phases -----------------------------------------------------------------------------------


class _Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
        self.frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)


def test_phases_choose_parameters() -> None:
    model = _Net()
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert [p.shape for p in freeze_for(Phase("a", 1, trainable=("head.*",)), model, wanted)] == [
        torch.Size([1, 2]),
        torch.Size([1]),
    ]
    assert not model.encoder.weight.requires_grad
    assert len(freeze_for(Phase("b", 1), model, wanted)) == 4 and not model.frozen.requires_grad
    with pytest.raises(ConfigError, match="phase 'c': no parameter is named like 'tower"):
        freeze_for(Phase("c", 1, trainable=("tower.*",)), model, wanted)
    with pytest.raises(ConfigError, match="trains nothing"):
        freeze_for(Phase("d", 1, trainable=("frozen",)), model, wanted)
    with pytest.raises(ConfigError, match="two phases are named 'a'"):
        check_phases([Phase("a", 1), Phase("a", 2)])


def _with_phases(settings: dict, phases: list[Phase]):
    model, trainer, loaders = ours(settings)
    entered = []
    model.phases = lambda: phases
    model.set_phase = lambda phase: entered.append(phase.name)
    return model, trainer, loaders, entered


def test_phases_train_what_they_name_and_pass_the_best_on(settings) -> None:
    phases = [
        Phase("all", epochs=3, learning_rate=0.01),
        Phase("embedding", epochs=2, trainable=("item_embedding.weight",), validate=False),
        Phase("anew", epochs=1, starts_from=None, stopping_step=0),
    ]
    model, trainer, (train, valid, _test), entered = _with_phases(
        settings("SASRec", epochs=1), phases
    )
    first = {name: value.clone() for name, value in model.state_dict().items()}
    starts, ends = [], []
    original = trainer._train_epoch

    def watching(data, epoch, **kwargs):
        starts.append({name: value.clone() for name, value in model.state_dict().items()})
        result = original(data, epoch, **kwargs)
        ends.append({name: value.clone() for name, value in model.state_dict().items()})
        return result

    trainer._train_epoch = watching
    trainer.fit(train, valid, verbose=False, saved=False)
    assert entered == ["all", "embedding", "anew"]
    assert [(p["name"], p["epochs"]) for p in trainer.progress.phases] == [
        ("all", 3),
        ("embedding", 2),
        ("anew", 1),
    ]
    best = trainer.progress.phases[0]["best_epoch"]
    assert all(torch.equal(value, ends[best][name]) for name, value in starts[3].items())
    moved = {name for name in first if not torch.equal(starts[3][name], ends[4][name])}
    assert moved == {"item_embedding.weight"}
    assert all(torch.equal(value, first[name]) for name, value in starts[5].items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_without_phases_to_train_is_evaluated(settings) -> None:
    model, trainer, (train, valid, test), _ = _with_phases(settings("SASRec"), [])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    score, result = trainer.fit(train, valid, verbose=False)
    assert result["ndcg@10"] == pytest.approx(score, abs=5e-5) and trainer.progress.phases == []
    trainer.evaluate(test)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_learning_rate_schedule(settings) -> None:
    from recbole_precise.training.schedule import learning_rate_factor

    model, trainer, (train, valid, _test) = ours(
        settings("SASRec", epochs=2, lr_schedule="cosine", warmup_steps=3)
    )
    rates = []
    original = model.calculate_loss

    def watching(interaction):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return original(interaction)

    model.calculate_loss = watching
    trainer.fit(train, valid, verbose=False, saved=False)
    assert rates == [
        trainer.learning_rate * learning_rate_factor("cosine", step, 2 * len(train), 3)
        for step in range(2 * len(train))
    ]


# --- Steps ------------------------------------------------------------------------------------


def test_loss_sums_are_recboles() -> None:
    losses = [torch.rand(()) for _ in range(50)]
    expected = 0.0
    for loss in losses:
        expected += loss.item()
    total = LossSum(torch.device("cpu"), "epoch 0")
    for loss in losses[:20]:
        total.add(loss)
    resumed = LossSum(torch.device("cpu"), "epoch 0", total.state())
    for loss in losses[20:]:
        resumed.add(loss)
    assert resumed.total() == expected
    pairs = LossSum(torch.device("cpu"), "epoch 0")
    pairs.add((losses[0], losses[1]))
    pairs.add((losses[2], losses[3]))
    assert pairs.total() == (
        losses[0].item() + losses[2].item(),
        losses[1].item() + losses[3].item(),
    )
    assert LossSum(torch.device("cpu"), "epoch 0").total() is None


def test_diverged_training_names_epoch_and_learning_rate(settings, tmp_path: Path) -> None:
    small = settings(
        "SASRec", learning_rate=1e30, epochs=3, checkpoint_seconds=0, run_dir=str(tmp_path / "run")
    )
    with pytest.raises(DivergedError, match=r"NaN in epoch \d \(learning_rate 1e\+30\)"):
        run_small(small)
    assert issubclass(DivergedError, ValueError) and not (tmp_path / "run" / "result.json").exists()


def test_early_stopping_is_recboles() -> None:
    from recbole.utils import early_stopping

    generator = np.random.default_rng(0)
    for bigger in (True, False):
        for patience in (0, 2, 5):
            ours_, best, waited = EarlyStopping(patience, bigger), -np.inf if bigger else np.inf, 0
            for value in generator.integers(0, 6, 60) / 6:
                best, waited, stop, improved = early_stopping(value, best, waited, patience, bigger)
                assert ours_.update(value) == (improved, stop) and (ours_.best, ours_.waited) == (
                    best,
                    waited,
                )


def test_clipping_sees_unscaled_gradients() -> None:
    """With fp16's scaling the clipped step must be that of full precision, up to fp16's own
    rounding.
    """
    steps = {}
    for dtype in (None, "fp16", "bf16"):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1, bias=False)
        before = model.weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        stepper = Stepper(
            model, optimizer, torch.device("cpu"), amp_dtype=dtype, clip={"max_norm": 1e-4}
        )
        assert (stepper.scaler is not None) == (dtype == "fp16")
        stepper.step(lambda x: 1e-3 * (model(x).float() ** 2).mean(), torch.ones(8, 4))
        steps[dtype] = model.weight.detach() - before
    assert steps[None].norm() == pytest.approx(1e-4, rel=1e-3)
    assert torch.allclose(steps["fp16"], steps[None], rtol=1e-2, atol=0) and torch.allclose(
        steps["bf16"], steps[None], rtol=3e-2, atol=0
    )


def test_the_scale_is_kept_across_epochs_and_checkpoints() -> None:
    model = torch.nn.Linear(4, 1)
    stepper = Stepper(
        model, torch.optim.SGD(model.parameters(), lr=0.1), torch.device("cpu"), amp_dtype="fp16"
    )
    stepper.step(
        lambda x: model(x).float().mean() * math.inf, torch.ones(2, 4)
    )  # an overflow halves the scale and skips the step
    state = stepper.scaler_state()
    other = Stepper(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        torch.device("cpu"),
        amp_dtype="fp16",
        scaler_state=state,
    )
    assert other.scaler.get_scale() == state["scale"] == 2.0**15


@pytest.mark.parametrize("model", ["SASRec", "PRECISE-ID"])
def test_mixed_precision_trains(settings, model: str) -> None:
    trained = run_small(settings(model, enable_amp=True, amp_dtype="bf16"))
    assert 0 <= trained["test_result"]["ndcg@10"] <= 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("amp", [None, "bf16", "fp16"])
@pytest.mark.parametrize("model", ["SASRec", "PRECISE-ID"])
def test_on_a_gpu(settings, tmp_path: Path, model: str, amp: str | None) -> None:
    """Trains, is stopped, and goes on; on a GPU the bits may differ, the run must not."""
    more = {
        "gpu_id": "0",
        "checkpoint_seconds": 0,
        "epochs": 4,
        "enable_amp": amp is not None,
        "amp_dtype": amp or "bf16",
        "clip_grad_norm": {"max_norm": 5.0},
    }
    _trained, trainer, (train, valid, _test) = ours(
        settings(model, run_dir=str(tmp_path / "run"), **more)
    )

    def stop(epoch: int, score: float) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(train, valid, verbose=False, callback_fn=stop)
    result = run_small(settings(model, run_dir=str(tmp_path / "run"), resume=True, **more))
    assert math.isfinite(result["best_valid_score"]) and 0 <= result["test_result"]["ndcg@10"] <= 1


def test_loading_the_wrong_weights_is_told(settings, tmp_path: Path) -> None:
    run_small(settings("SASRec", run_dir=str(tmp_path / "a")))
    model, trainer, (train, valid, test) = ours(settings("SASRec", hidden_size=32))
    with pytest.raises(
        CheckpointError,
        match=r"tensor 'item_embedding.weight' has the shape \[41, 16\], but SASRec needs \[41, "
        r"32\]",
    ):
        trainer.evaluate(test, model_file=tmp_path / "a")
    with pytest.raises(CheckpointError, match="does not exist: train with saved=True first"):
        trainer.evaluate(test)
    _model, trainer, (_train, _valid, test) = ours(settings("GRU4Rec", hidden_size=32))
    with pytest.raises(CheckpointError, match="belongs to another model"):
        trainer.evaluate(test, model_file=tmp_path / "a" / "model.safetensors")
    weights = tmp_path / "a" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="model.safetensors' is damaged"):
        trainer.evaluate(test, model_file=tmp_path / "a")


def test_s3rec_keeps_its_own_trainer(settings, tmp_path: Path) -> None:
    """Pre-training and fine-tuning through RecBole's S3RecTrainer, with our run directory and
    evaluation.
    """
    small = settings(
        "S3Rec",
        hidden_size=16,
        inner_size=16,
        n_layers=1,
        epochs=1,
        pretrain_epochs=1,
        save_step=1,
        item_attribute="title",
        train_neg_sample_args=None,
    )
    small["load_col"] = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]}
    run_small({**small, "train_stage": "pretrain", "run_dir": str(tmp_path / "pre")})
    pretrained = tmp_path / "pre" / "S3Rec-ring-1.pth"
    assert pretrained.exists()
    result = run_small(
        {
            **small,
            "train_stage": "finetune",
            "pre_model_path": str(pretrained),
            "run_dir": str(tmp_path / "fine"),
        }
    )
    assert (tmp_path / "fine" / "model.safetensors").exists() and result["test_result"][
        "recall@10"
    ] >= 0
