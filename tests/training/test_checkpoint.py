"""Checkpoints: exact, atomic, and honest about damage."""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recbole_precise.errors import CheckpointError
from recbole_precise.runs.checkpoint import (
    CheckpointStore,
    differing_key,
    load_tensors,
    write_json,
    write_tensors,
)
from recbole_precise.runs.packing import pack, rng_state, set_rng_state, unpack

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(plain)
def test_values_survive_json(value) -> None:
    tensors: dict[str, torch.Tensor] = {}
    assert unpack(json.loads(json.dumps(pack(value, tensors))), tensors) == value


@pytest.mark.parametrize(
    "value", [{"__tensor__": "x"}, {"__tuple__": [1]}, {"a": {"__pairs__": 3}}]
)
def test_values_that_look_like_marks_survive(value) -> None:
    assert unpack(json.loads(json.dumps(pack(value, {}))), {}) == value


def test_others_may_read_weights_as_the_umask_says(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_tensors(tmp_path / "w.safetensors", {"w": torch.ones(2)})
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("kind", ["csr", "coo", "lil"])
def test_sparse_matrices_survive(kind: str) -> None:
    matrix = sparse.random(7, 5, density=0.4, random_state=1, dtype=np.float32).asformat(kind)
    tensors: dict[str, torch.Tensor] = {}
    loaded = unpack(json.loads(json.dumps(pack({"m": matrix}, tensors))), tensors)["m"]
    assert loaded.format == kind and loaded.dtype == matrix.dtype and (loaded != matrix).nnz == 0


def test_not_a_number_survives() -> None:
    assert math.isnan(unpack(json.loads(json.dumps(pack(math.nan, {}))), {}))


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.uint8,
        torch.bool,
    ],
)
def test_tensors_keep_their_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    bits = torch.randint(0, 256, (96,), dtype=torch.uint8)
    tensor = bits.view(dtype).reshape(2, -1) if dtype != torch.bool else (bits > 127).reshape(2, -1)
    store = CheckpointStore(tmp_path)
    store.save(
        {
            "p": {
                "t": tensor,
                "scalar": tensor[0, 0],
                "view": tensor[:, :1],
                "array": np.arange(5, dtype=np.int16),
            }
        }
    )
    loaded = CheckpointStore(tmp_path).load()["p"]
    assert loaded["t"].dtype == dtype and loaded["scalar"].shape == ()
    as_bytes = (
        (lambda x: x) if dtype == torch.bool else (lambda x: x.contiguous().view(torch.uint8))
    )
    assert torch.equal(as_bytes(loaded["t"]), as_bytes(tensor))
    assert torch.equal(as_bytes(loaded["view"]), as_bytes(tensor[:, :1]))
    assert loaded["array"].dtype == np.int16 and loaded["array"].tolist() == list(range(5))


def _trained(optimizer_class, **settings):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1)
    )
    optimizer = optimizer_class(model.parameters(), **settings)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize(
    ("optimizer_class", "options"),
    [
        (torch.optim.Adam, {"lr": 0.1 / 3, "weight_decay": 1e-5}),
        (torch.optim.AdamW, {"lr": 1e-3}),
        (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (torch.optim.Adagrad, {"lr": 0.1}),
        (torch.optim.RMSprop, {"lr": 0.1}),
    ],
)
def test_optimizers_go_on_bit_for_bit(tmp_path: Path, optimizer_class, options) -> None:
    model, optimizer = _trained(optimizer_class, **options)
    CheckpointStore(tmp_path).save(
        {
            "p": {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "rng": rng_state(),
            }
        }
    )

    def go_on(model, optimizer) -> torch.Tensor:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(5, 3)).square().sum().backward()
            optimizer.step()
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    straight = go_on(model, optimizer)
    other, other_optimizer = _trained(optimizer_class, lr=0.5)
    part = CheckpointStore(tmp_path).load()["p"]
    other.load_state_dict(part["model"])
    other_optimizer.load_state_dict(part["optimizer"])
    set_rng_state(part["rng"])
    assert torch.equal(go_on(other, other_optimizer), straight)


def test_every_source_of_randomness_goes_on() -> None:
    generator = torch.Generator().manual_seed(5)
    random.gauss(0, 1), np.random.randn(), torch.randn(3)  # leaves half a pair behind in each
    state = json.loads(json.dumps(rng_state({"train": generator})))

    def draw() -> list:
        return [
            torch.randn(4).tolist(),
            np.random.randn(3).tolist(),
            random.gauss(0, 1),
            random.random(),
            torch.rand(2, generator=generator).tolist(),
        ]

    first = draw()
    set_rng_state(state, {"train": generator})
    assert draw() == first


def test_tied_weights_are_written(tmp_path: Path) -> None:
    tied = torch.nn.Linear(3, 3, bias=False)
    model = torch.nn.ModuleDict({"a": tied, "b": tied})
    write_tensors(tmp_path / "w.safetensors", model.state_dict())
    loaded = load_tensors(tmp_path / "w.safetensors")
    assert torch.equal(loaded["a.weight"], tied.weight) and torch.equal(
        loaded["b.weight"], tied.weight
    )


def test_same_weights_same_bytes(tmp_path: Path) -> None:
    tensors = {f"layer{i}": torch.full((i + 1,), float(i)) for i in range(20)}
    write_tensors(tmp_path / "a.safetensors", tensors)
    write_tensors(tmp_path / "b.safetensors", dict(reversed(tensors.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def _store_of_three(folder: Path) -> CheckpointStore:
    store = CheckpointStore(folder)
    for number in range(3):
        best = {"best": {"t": torch.full((50,), -1.0)}} if number == 0 else {}
        store.save(
            {"training": {"number": number, "t": torch.full((100,), float(number))}, **best},
            reuse={"best"} if number else (),
        )
    return store


def test_two_are_kept_and_the_best_is_shared(tmp_path: Path) -> None:
    _store_of_three(tmp_path)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == [
        "best-000001.safetensors", "state-000002.json", "state-000003.json",
        "training-000002.safetensors", "training-000003.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["state-000003.json", "training-000003.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_a_damaged_newest_falls_back(tmp_path: Path, name: str, damage: str) -> None:
    _store_of_three(tmp_path)
    _damage(tmp_path / name, damage)
    warnings: list[str] = []
    loaded = CheckpointStore(tmp_path).load(warnings.append)
    assert loaded["training"]["number"] == 1 and torch.equal(
        loaded["training"]["t"], torch.ones(100)
    )
    if not (
        name.endswith("json") and damage == "gone"
    ):  # without its state file a checkpoint was never committed
        assert len(warnings) == 1 and name in warnings[0]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_none_good_is_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    _store_of_three(tmp_path)
    _damage(tmp_path / "best-000001.safetensors", damage)
    with pytest.raises(
        CheckpointError, match="best-000001.safetensors.*(missing|damaged).*Delete the folder"
    ):
        CheckpointStore(tmp_path).load()


def _damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    elif how == "flip":
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        file.write_bytes(b"" if how == "empty" else content[: len(content) * 2 // 3])


def test_nothing_yet_is_none(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "absent").load() is None


def test_going_on_after_a_fallback_writes_over_nothing_good(tmp_path: Path) -> None:
    _store_of_three(tmp_path)
    _damage(tmp_path / "training-000003.safetensors", "cut")
    store = CheckpointStore(tmp_path)
    store.load()
    store.save({"training": {"number": 9}}, reuse={"best"})
    loaded = CheckpointStore(tmp_path).load()
    assert loaded["training"]["number"] == 9 and torch.equal(
        loaded["best"]["t"], torch.full((50,), -1.0)
    )


def test_clear_leaves_nothing(tmp_path: Path) -> None:
    store = _store_of_three(tmp_path / "c")
    store.clear()
    assert not (tmp_path / "c").exists() and store.load() is None


def test_what_needs_pickle_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'training/layer' is a Linear"):
        pack({"training": {"layer": torch.nn.Linear(1, 1)}}, {})


def test_no_room_says_where_and_keeps_the_last(tmp_path: Path) -> None:
    """The operating system itself refuses: for a moment this process may not write files above 64
    KiB.
    """
    store = CheckpointStore(tmp_path / "c")
    store.save({"p": {"t": torch.ones(10)}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(CheckpointError, match="No space left in '.*c' for a checkpoint"):
            store.save({"p": {"t": torch.ones(1 << 16)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "c").glob(".*.tmp"))
    assert torch.equal(CheckpointStore(tmp_path / "c").load()["p"]["t"], torch.ones(10))


def _save_for_ever(folder: Path) -> None:
    store = CheckpointStore(folder)
    loaded = store.load()
    number = loaded["a"]["number"] if loaded else 0
    while True:
        number += 1
        store.save(
            {
                "a": {"number": number, "t": torch.full((40000,), float(number))},
                "b": {"t": torch.full((9,), float(number))},
            }
        )


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    # A process forked from this one could wait for ever for a thread of torch's that it does not
    # have.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recbole_precise.runs.checkpoint"])
    chance, last = random.Random(7), 0
    for _ in range(6):
        child = context.Process(target=_save_for_ever, args=(tmp_path / "c",), daemon=True)
        child.start()
        while not any(int(file.stem[-6:]) > last for file in (tmp_path / "c").glob("state-*.json")):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        child.kill()
        child.join()
        loaded = CheckpointStore(tmp_path / "c").load(pytest.fail)
        number = loaded["a"]["number"]
        assert number > last
        assert torch.equal(loaded["a"]["t"], torch.full((40000,), float(number))) and torch.equal(
            loaded["b"]["t"], torch.full((9,), float(number))
        )
        last = number


def test_json_is_plain_and_exact(tmp_path: Path) -> None:
    value = {"x": 0.1 + 0.2, "n": 1e-310, "text": "Amélie — 東京"}
    write_json(tmp_path / "r.json", value)
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8")) == value


def test_differing_key() -> None:
    assert differing_key({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}) is None
    assert differing_key({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == "b.c: 2 then, 3 now"
    assert (
        differing_key({}, {"a": None}) is None
        and differing_key({"a": None, "b": 1}, {"b": 1}) is None
    )
    assert differing_key({}, {"a": 0}) == "a: absent then, 0 now"
