"""The training loop by itself: a plain module and plain batches, without RecBole."""

from __future__ import annotations

import pytest
import torch

from recbole_precise.training.loop import Evaluated, TrainingLoop
from recbole_precise.training.phases import Phase
from recbole_precise.training.settings import LoopSettings

SETTINGS = LoopSettings(
    epochs=2,
    learning_rate=0.1,
    weight_decay=0.0,
    stopping_step=5,
    eval_step=1,
    valid_metric="fit",
    valid_metric_bigger=True,
)
BATCHES = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])]


class Line(torch.nn.Module):
    """Learns to map every batch to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1, bias=False)
        torch.nn.init.zeros_(self.layer.weight)

    def calculate_loss(self, batch: torch.Tensor) -> torch.Tensor:
        return (self.layer(batch) - 1).square().mean()


class Loader(list):
    """Batches in their order, over a data set without names."""

    _dataset = None


def sgd(*, params, learning_rate, weight_decay):
    return torch.optim.SGD(params, lr=learning_rate, weight_decay=weight_decay)


def loop_of(model, **more):
    return TrainingLoop(
        model=model,
        device=torch.device("cpu"),
        settings=SETTINGS,
        build_optimizer=sgd,
        **more,
    )


def test_steps_are_those_of_the_optimizer():
    model, by_hand = Line(), Line()
    loop = loop_of(model)
    loop.fit(Loader(BATCHES), None)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    for _ in range(2):
        for batch in BATCHES:
            optimizer.zero_grad()
            by_hand.calculate_loss(batch).backward()
            optimizer.step()
    assert torch.equal(model.layer.weight, by_hand.layer.weight)
    assert [phase["epochs"] for phase in loop.progress.phases] == [2]
    assert loop.train_losses[1] < loop.train_losses[0]
    assert loop.phase is None


def test_the_best_weights_are_kept_and_the_next_phase_starts_from_them():
    model = Line()
    scores = iter([1.0, 3.0, 2.0, 0.0])
    seen = []

    def evaluate(loader, show_progress):
        seen.append(model.layer.weight.detach().clone())
        score = next(scores)
        return Evaluated({"fit": round(score)}, {"fit": score})

    loop = loop_of(model, evaluate=evaluate)
    phases = [Phase("first", epochs=3), Phase("second", epochs=1, learning_rate=0.0)]
    score, result = loop.fit(Loader(BATCHES), Loader(BATCHES), phases=phases, verbose=False)
    assert (score, result) == (0.0, {"fit": 0})  # of the last phase
    assert loop.progress.phases[0]["best_epoch"] == 1
    assert torch.equal(seen[3], seen[1]) and not torch.equal(seen[1], seen[2])
    assert torch.equal(loop.best.weights["layer.weight"], seen[3])


def test_what_the_model_froze_is_frozen_again_after_a_fit_that_fails():
    model = Line()

    def fails(loader, epoch, *, show_progress):
        raise KeyboardInterrupt

    loop = loop_of(model, train_epoch=fails)
    model.layer.weight.requires_grad_(True)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(Loader(BATCHES), None)
    assert model.layer.weight.requires_grad and loop.phase is None
