"""What every model must hold, ours, RecBole's and a user's own.

One property a function, each on real data, rows and runs.

    check_model("HSTU", "my-shop", {"data_path": "dataset", "epochs": 2})

raises `Broken` with the model and the property, and says how every other property turned out. Where
RecBole's models deviate is in `DEVIATIONS`, with the reason; a deviation that is none any more
is reported too.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_precise import Config, create_dataset, data_preparation, run_recbole
from recbole_precise.runs.folder import RunFolder, load_into, read_weights
from recbole_precise.training.phases import Phase, freeze_for
from recbole_precise.training.views import phase_loaders

_ROWS = 16


class Broken(AssertionError):
    """A model does not hold a property of the contract."""


def _hold(true: Any, what: str) -> None:
    if not bool(true):
        raise Broken(what)


def _is_close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def _close(one: Tensor, other: Tensor, what: str) -> None:
    _hold(one.shape == other.shape, f"{what}: shapes {tuple(one.shape)} and {tuple(other.shape)}")
    _hold(
        _is_close(one, other),
        f"{what}: they differ by up to {(one - other).abs().max():.2g}",
    )


class Subject:
    """A model on a data set, with everything that the properties ask of it, made once.

    Args:
        model: name of a model, or its class. dataset: name of a data set. settings: of a short run
            (two epochs are enough).
    """

    def __init__(
        self, model: str | type, dataset: str, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.settings = {
            "gpu_id": "",
            "show_progress": False,
            "tensorboard": False,
            "state": "ERROR",
            **(settings or {}),
        }
        self.asked = model, dataset
        self.config = Config(model, dataset, config_dict=self.settings)
        self.name = self.config["model"]
        self.cls = self.config.model_class
        self.train, self.valid, self.test = data_preparation(
            self.config, create_dataset(self.config)
        )
        self.dataset = self.train._dataset
        self.n_items = self.dataset.item_num

    def model(self, seed: int = 0) -> Any:
        """Build a model with the first weights of a seed, in evaluation mode."""
        torch.manual_seed(seed)
        return self.cls(self.config, self.dataset).eval()

    @cached_property
    def rows(self) -> Any:
        """Some test rows, as the evaluation reads them."""
        dataset = self.test._dataset
        return self.test.transform(dataset, dataset[np.arange(min(_ROWS, len(dataset)))])

    def changed(self, rows: Any, **columns: Tensor) -> Any:
        """`rows` with other columns."""
        return type(rows)({**rows.interaction, **columns})

    def lengths(self, rows: Any) -> Tensor:
        """Return the lengths of the rows' histories."""
        return rows[self.config["ITEM_LIST_LENGTH_FIELD"]]

    @property
    def history(self) -> str:
        """Return the name of the column that holds the history."""
        return f"{self.config['ITEM_ID_FIELD']}{self.config['LIST_SUFFIX']}"

    @torch.no_grad()
    def scores(self, model: Any, rows: Any) -> Tensor:
        """`[rows, items]` without the padding item, which no score counts for."""
        return model.full_sort_predict(rows).view(len(rows), -1)[:, 1:]

    def phases(self, model: Any) -> list[Phase]:
        """Return the phases of a model, one of one epoch where it has none of its own."""
        return list(model.phases()) if hasattr(model, "phases") else [Phase("train", 1)]

    @cached_property
    def trained(self) -> list[tuple[str, dict[str, bool], dict[str, bool]]]:
        """Train a few steps of every phase on a model of its own.

        These are (phase, which trained tensors a gradient reached, which other tensors moved).
        """
        model = self.model()
        found = []
        wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
        for phase in self.phases(model):
            if hasattr(model, "set_phase"):
                model.set_phase(phase)
            trained = freeze_for(phase, model, wanted)
            names = {id(parameter): name for name, parameter in model.named_parameters()}
            reached = {names[id(parameter)]: False for parameter in trained}
            fixed = {
                name: tensor.clone()
                for name, tensor in _tensors_of(model).items()
                if name not in reached
            }
            optimizer = torch.optim.Adam(trained, lr=0.01)
            batches = list(phase_loaders(phase, self.train, self.valid)[0])
            model.train()
            for batch in (batches * 3)[:6]:
                loss = _loss_of(model, batch)
                optimizer.zero_grad()
                loss.backward()
                for parameter in trained:
                    reached[names[id(parameter)]] |= parameter.grad is not None and bool(
                        parameter.grad.any()
                    )
                optimizer.step()
            now = _tensors_of(model)
            found.append(
                (
                    phase.name,
                    reached,
                    {
                        name: not torch.equal(before, now[name])
                        for name, before in fixed.items()
                        if name in now
                    },
                )
            )
        return found


def _loss_of(model: Any, batch: Any) -> Tensor:
    """Compute the loss; RecBole's models may give its terms one by one."""
    loss = model.calculate_loss(batch)
    if not isinstance(loss, tuple):
        return loss
    total, *others = loss
    for term in others:
        total = total + term
    return total


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Collect every tensor that a model holds by name.

    Parameters, buffers, plain attributes, and rows of tables that stand for the padding.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for place, module in model.named_modules():
        for name, value in vars(module).items():
            if (
                isinstance(value, Tensor)
                and not name.startswith("_")
                and name not in ("last_usage",)
            ):
                tensors[f"{place}.{name}"] = value
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            tensors[f"{place}.weight[{module.padding_idx}]"] = module.weight[module.padding_idx]
    return {name: tensor.detach() for name, tensor in tensors.items()}


# --- Properties -------------------------------------------------------------------------------


def shapes(subject: Subject) -> None:
    """Check for a finite scalar loss, and a finite score of every item for every row."""
    model = subject.model()
    rows = subject.rows
    if subject.phases(model):
        loss = _loss_of(model, next(iter(subject.train)))
        _hold(
            loss.dim() == 0 and torch.isfinite(loss) and loss.requires_grad,
            f"the loss {loss} is no finite scalar with a gradient",
        )
    scores = subject.scores(model, rows)
    _hold(
        scores.shape == (len(rows), subject.n_items - 1),
        f"full_sort_predict gives {tuple(scores.shape)} for {len(rows)} rows and "
        f"{subject.n_items - 1} items",
    )
    _hold(torch.isfinite(scores).all(), "full_sort_predict gives scores that are not finite")
    _hold(model.predict(rows).shape == (len(rows),), "predict gives not one score a row")


def padding(subject: Subject) -> None:
    """Check that a row scores the same alone, among longer rows, and without its padding."""
    model = subject.model()
    rows = subject.rows
    shortest = int(subject.lengths(rows).argmin())
    expected = subject.scores(model, rows)[shortest]
    alone = rows[slice(shortest, shortest + 1)]
    _close(subject.scores(model, alone)[0], expected, "a row alone and among longer ones")
    length = int(subject.lengths(alone))
    longest = rows[subject.history].shape[1]
    _hold(length < longest, "the data set has no test row with padding to look at")
    cut = {
        name: value[:, :length]
        for name, value in alone.interaction.items()
        if value.dim() > 1 and value.shape[1] == longest
    }
    _close(
        subject.scores(model, subject.changed(alone, **cut))[0],
        expected,
        "a row with and without padding",
    )


def batch_order(subject: Subject) -> None:
    """Check that the order of a batch's rows is the order of their scores and nothing else."""
    model = subject.model()
    rows = subject.rows
    order = torch.arange(len(rows)).flip(0)
    _close(
        subject.scores(model, rows[order]),
        subject.scores(model, rows)[order],
        "scores in two orders of the rows",
    )


def causality(subject: Subject) -> None:
    """Check that nothing after a row's length is read.

    And that a sequence encoder that claims it sees nothing that comes later.
    """
    model = subject.model()
    rows = subject.rows
    history = rows[subject.history]
    shorter = (subject.lengths(rows) + 1) // 2
    name = subject.config["ITEM_LIST_LENGTH_FIELD"]
    beyond = subject.changed(rows, **{name: shorter})
    kept = torch.where(torch.arange(history.shape[1]) < shorter[:, None], history, 0)
    _close(
        subject.scores(model, beyond),
        subject.scores(model, subject.changed(beyond, **{subject.history: kept})),
        "scores with and without what comes later",
    )
    for phase in subject.phases(model):
        if hasattr(model, "set_phase"):
            model.set_phase(phase)
        for place, (encoder, (vectors, mask), context) in _encoder_calls(
            model, next(iter(phase_loaders(phase, subject.train, subject.valid)[0]))
        ).items():
            row = int(mask.sum(1).argmax())
            at = int(mask[row].sum()) // 2
            changed = vectors.clone()
            changed[row, at:] += torch.linspace(-1, 1, vectors.shape[2])
            with torch.no_grad():
                before, after = (encoder(v, mask, **context)[row] for v in (vectors, changed))
            _hold(
                not _is_close(before[at], after[at]),
                f"{place} does not see its own item",
            )
            same = _is_close(before[:at], after[:at])
            _hold(
                same == encoder.causal,
                f"{place} says causal = {encoder.causal}, but earlier states "
                f"{'do not ' if same else ''}change with a later item",
            )


def _encoder_calls(
    model: Any, batch: Any
) -> dict[str, tuple[Any, tuple[Tensor, Tensor], dict[str, Tensor]]]:
    """Record what each sequence encoder with `packed_states` was given for a training batch.

    By its name in the model.
    """
    calls: dict[str, tuple] = {}
    encoders: dict[str, Any] = {
        name: module for name, module in model.named_modules() if hasattr(module, "packed_states")
    }
    for name, module in encoders.items():
        packed_states: Any = module.packed_states

        def record(
            vectors, mask, *, _name=name, _original=packed_states, _module=module, **context
        ):
            calls.setdefault(_name, (_module, (vectors.detach(), mask), context))
            return _original(vectors, mask, **context)

        module.packed_states = record
    model.calculate_loss(batch)
    for module in encoders.values():
        del module.packed_states
    return calls


def determinism(subject: Subject) -> None:
    """One seed: the same first weights, the same loss and gradients, the same scores."""
    one = subject.model(3)
    other = subject.model(3)
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values()):
        _hold(torch.equal(a, b), f"the first values of {name} differ under one seed")
    _hold(
        torch.equal(subject.scores(one, subject.rows), subject.scores(other, subject.rows)),
        "scores differ under one seed",
    )
    _hold(
        torch.equal(subject.scores(one, subject.rows), subject.scores(one, subject.rows)),
        "scoring twice gives two results",
    )
    if not subject.phases(one):
        return
    batch = next(iter(subject.train))
    gradients = []
    for model in (one, other):
        torch.manual_seed(5)
        loss = _loss_of(model.train(), batch)
        loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    _hold(
        all((a is None and b is None) or torch.equal(a, b) for a, b in zip(*gradients)),
        "gradients differ under one seed",
    )


def save_and_load(subject: Subject) -> None:
    """Weights written and read give the same scores, whatever the model began with."""
    one = subject.model(1)
    other = subject.model(2)
    beside = {
        name: value
        for name, value in (one.other_parameter() or {}).items()
        if not isinstance(value, nn.Module)
    }
    with tempfile.TemporaryDirectory() as folder:
        RunFolder(Path(folder)).save_final(one.state_dict(), beside, {})
        weights, read = read_weights(folder)
    load_into(other, weights, "the saved weights")
    other.load_other_parameter(read)
    _hold(
        torch.equal(subject.scores(one, subject.rows), subject.scores(other.eval(), subject.rows)),
        "scores change by saving and loading",
    )


def resume(subject: Subject) -> None:
    """Check that a run that is killed and resumed leaves the bits of one that is not.

    It is killed in the middle of training.
    """
    with tempfile.TemporaryDirectory() as folder:
        straight = Path(folder, "straight")
        stopped = Path(folder, "stopped")
        with _stop_after(subject, None) as calls:
            _run(subject, straight)
        if calls[0]:
            with _stop_after(subject, (calls[0] + 1) // 2), contextlib.suppress(_PowerCut):
                _run(subject, stopped)
            _hold(not (stopped / "result.json").exists(), "the run was not stopped")
        _run(subject, stopped)
        for name, read in (
            ("model.safetensors", Path.read_bytes),
            ("ranks.npz", _arrays),
            ("result.json", _metrics),
        ):
            _hold(
                read(straight / name) == read(stopped / name),
                f"{name} of a resumed run is not that of a straight one",
            )


class _PowerCut(Exception):
    """Nothing of the run goes on after it."""


@contextlib.contextmanager
def _stop_after(subject: Subject, count: int | None) -> Iterator[list[int]]:
    """Within it the model's loss ends a run at its `count`-th step (None: never).

    Gives the number of steps made.
    """
    cls = subject.cls
    calls = [0]
    original = cls.calculate_loss

    def counted(self, *args, **kwargs):
        if count is not None and calls[0] == count:
            raise _PowerCut
        calls[0] += 1
        return original(self, *args, **kwargs)

    own = "calculate_loss" in vars(cls)
    cls.calculate_loss = counted
    try:
        yield calls
    finally:
        if own:
            cls.calculate_loss = original
        else:
            del cls.calculate_loss


def _run(subject: Subject, folder: Path) -> None:
    run_recbole(
        *subject.asked,
        config_dict={
            **subject.settings,
            "run_dir": str(folder),
            "resume": True,
            "checkpoint_seconds": 0,
        },
    )


def _arrays(path: Path) -> dict[str, list]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].tolist() for name in arrays.files}


def _metrics(path: Path) -> list:
    result = json.loads(path.read_text(encoding="utf-8"))
    return [result["valid"], result["test"], [phase["best_epoch"] for phase in result["phases"]]]


def predict(subject: Subject) -> None:
    """`predict` gives what `full_sort_predict` gives, for the target and for any other item."""
    model = subject.model()
    rows = subject.rows
    item = subject.config["ITEM_ID_FIELD"]
    others = torch.randint(
        1, subject.n_items, (len(rows),), generator=torch.Generator().manual_seed(0)
    )
    for items in (rows[item], others):
        asked = subject.changed(rows, **{item: items})
        with torch.no_grad():
            _close(
                model.predict(asked).float(),
                subject.scores(model, asked).gather(1, items[:, None] - 1)[:, 0].float(),
                "predict and full_sort_predict",
            )


def cold_items(subject: Subject) -> None:
    """Check what the model says an item that was never trained is ranked by.

    `cold_items`: text or nothing.
    """
    model = subject.model()
    claim = getattr(model, "cold_items", None)
    _hold(
        claim in ("text", "nothing"),
        "it says nothing of items that were never trained (cold_items)",
    )
    before = subject.scores(model, subject.rows)
    never = torch.nonzero(~subject.dataset.trained_items()[1:]).squeeze(1)
    if not hasattr(model, "extend_catalogue"):
        _hold(len(never), "the data set has no item without training to look at")
        last = (before[:, never] <= before.amin(1, keepdim=True)).all()
        _hold(
            last == (claim == "nothing"),
            f"cold_items is {claim}, but items without training are "
            f"{'' if last else 'not '}behind all others",
        )
        return
    tokens = subject.dataset.token_states()
    readable = model.extend_catalogue(
        tokens.select(np.array([int(np.argmax(tokens.lengths)), -1]))
    )  # a text that is there, and none
    after = subject.scores(model, subject.rows)
    _hold(
        readable.tolist() == [claim == "text", False],
        f"cold_items is {claim}, but of a new item with a text and one without it reads "
        f"{readable.tolist()}",
    )
    _close(
        after[:, :-2], before, "scores of the items that were there, before and after new ones came"
    )
    _hold(torch.isfinite(after).all(), "new items have scores that are not finite")
    _hold(
        torch.allclose(after[:, -2], after[:, -1]) == (claim == "nothing"),
        f"cold_items is {claim}, but a new item's text does "
        f"{'not ' if claim == 'text' else ''}move it",
    )


def gradients(subject: Subject) -> None:
    """In every phase a gradient reaches every tensor that the phase trains."""
    for phase, reached, _ in subject.trained:
        silent = [name for name, found in reached.items() if not found]
        _hold(not silent, f"phase {phase}: no gradient reaches {', '.join(silent)}")


def frozen(subject: Subject) -> None:
    """No phase changes a tensor that it does not train, nor a row that stands for the padding."""
    for phase, _, moved in subject.trained:
        changed = [name for name, found in moved.items() if found]
        _hold(not changed, f"phase {phase} changes {', '.join(changed)}, which it should not")


PROPERTIES: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        shapes,
        padding,
        batch_order,
        causality,
        determinism,
        save_and_load,
        resume,
        predict,
        cold_items,
        gradients,
        frozen,
    )
}

_PADDING_IS_A_CLASS = (
    "its softmax has the padding item as a class, so that the padding's vector is trained"
)
_NO_COLD = (
    "RecBole ranks an item that was never trained by its first random vector and says nothing of it"
)
#: (model, property) -> why RecBole's model does not hold it, as it comes.
DEVIATIONS: dict[tuple[str, str], str] = {
    **{(model, "cold_items"): _NO_COLD for model in ("SASRec", "GRU4Rec", "BERT4Rec", "Caser")},
    **{
        (model, "frozen"): _PADDING_IS_A_CLASS
        for model in ("SASRec", "GRU4Rec", "BERT4Rec", "Caser")
    },
    (
        "Caser",
        "padding",
    ): "its convolutions are as long as MAX_ITEM_LIST_LENGTH and read the padding as items",
    ("Caser", "causality"): "it convolves over the whole window and does not read a row's length",
    (
        "BERT4Rec",
        "causality",
    ): "it reads both directions: what stands after the masked place is seen",
}


def check_property(subject: Subject, name: str) -> str | None:
    """Return the reason of a known deviation, None where the property holds.

    Raises Broken when it does not hold, or when it holds where a deviation is known.
    """
    known = DEVIATIONS.get((subject.name, name))
    try:
        PROPERTIES[name](subject)
    except (Broken, RuntimeError, IndexError) as error:
        if known is None:
            raise Broken(f"{subject.name} · {name}: {error}") from error
        return known
    if known is not None:
        raise Broken(
            f"{subject.name} · {name} holds, but is listed as a deviation ({known}): strike it off"
        )
    return None


def check_model(
    model: str | type, dataset: str, settings: Mapping[str, Any] | None = None
) -> dict[str, str | None]:
    """Check all properties of a model on a data set.

    Gives property -> None, or why a model of RecBole deviates.

    Args: as `Subject`. A data set for it is small and has test rows shorter than
        MAX_ITEM_LIST_LENGTH, an item without training events and, for models with text, an item
        without text.

    Raises Broken: naming every property that does not hold.
    """
    subject = Subject(model, dataset, settings)
    results = {}
    faults = []
    for name in PROPERTIES:
        try:
            results[name] = check_property(subject, name)
        except Broken as error:
            faults.append(str(error))
    if faults:
        raise Broken("\n".join(faults))
    return results
