"""MK-MMD against double sums written out, its gradient, its memory.

InfoNCE and the rows that are aligned.
"""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.nn.losses import MultiKernelMMD, alignment_rows, distance_kernels, info_nce

EVERY = ("gaussian", "laplacian", "linear", "cosine", "cosine_author")
COMBINATIONS = [(name,) for name in EVERY] + [("gaussian", "laplacian", "linear", "cosine")]


def two_clouds(n, m, width, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, width, dtype=torch.float64, generator=generator)
    y = 1.5 * torch.randn(m, width, dtype=torch.float64, generator=generator) + 0.3
    return x.to(dtype), y.to(dtype)


def bandwidth_by_loops(rows, name, how):
    if not isinstance(how, str):
        return how
    size = (
        (lambda a, b: float(((a - b) ** 2).sum()))
        if name == "gaussian"
        else (lambda a, b: float(np.abs(a - b).sum()))
    )
    if how == "mean":
        return sum(size(a, b) for a in rows for b in rows) / len(rows) ** 2
    pairs = sorted(size(rows[i], rows[j]) for i in range(len(rows)) for j in range(i))
    return pairs[(len(pairs) - 1) // 2]


def kernels_by_hand(x, y, kernels, multipliers, weights, how):
    """k(a, b) of two NumPy vectors, summed over every function."""
    rows = np.concatenate([x, y])
    functions = []
    for name in kernels:
        if name in ("gaussian", "laplacian"):
            width = bandwidth_by_loops(rows, name, how)
            for m in multipliers:
                if name == "gaussian":
                    functions.append(
                        lambda a, b, s=m * width: math.exp(-((a - b) ** 2).sum() / (2 * s))
                    )
                else:
                    functions.append(lambda a, b, s=m * width: math.exp(-np.abs(a - b).sum() / s))
        elif name == "linear":
            functions.append(lambda a, b: float(a @ b))
        else:
            cosine = lambda a, b: float(a @ b / math.sqrt((a @ a) * (b @ b)))
            functions.append(cosine if name == "cosine" else lambda a, b, c=cosine: 1 - c(a, b))
    weights = weights or [1.0] * len(functions)
    return lambda a, b: sum(w * k(a, b) for w, k in zip(weights, functions))


def mmd_by_loops(x, y, estimator, k):
    n, m = len(x), len(y)
    if estimator == "biased":
        return (
            sum(k(a, b) for a in x for b in x) / n**2
            + sum(k(a, b) for a in y for b in y) / m**2
            - 2 * sum(k(a, b) for a in x for b in y) / (n * m)
        )
    if estimator == "unbiased":
        return (
            sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
            + sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
            - 2 * sum(k(a, b) for a in x for b in y) / (n * m)
        )
    if estimator == "linear":
        return (
            sum(
                k(x[i], x[(i + 1) % n])
                + k(y[i], y[(i + 1) % n])
                - k(x[i], y[(i + 1) % n])
                - k(x[(i + 1) % n], y[i])
                for i in range(n)
            )
            / n
        )
    # the released code: one kernel matrix of the stacked rows times a matrix of signed shares, plus
    # a constant
    rows, share = np.concatenate([x, y]), np.zeros((2 * n, 2 * n))
    for i in range(2 * n):
        for j in range(2 * n):
            same = (i < n) == (j < n)
            share[i, j] = (0.0 if i == j else 1 / (n * (n - 1))) if same else -1 / n**2
    return sum(
        share[i, j] * k(rows[i], rows[j]) for i in range(2 * n) for j in range(2 * n)
    ) + 2 / (n - 1)


@pytest.mark.parametrize("how", ["mean", "median", 2.5])
@pytest.mark.parametrize("estimator", ["biased", "unbiased", "linear", "author"])
@pytest.mark.parametrize("kernels", COMBINATIONS, ids="+".join)
def test_equals_the_double_sum(kernels, estimator, how):
    n = 7
    m = n if estimator in ("linear", "author") else 5
    x, y = two_clouds(n, m, 3, seed=len(kernels))
    multipliers = (0.5, 0.125, 0.3, 1.0)  # in no order, some doubled and some not
    ours = MultiKernelMMD(kernels, estimator, how, multipliers, tile_bytes=100)
    weights = [0.5 + place for place in range(len(ours.functions))]
    for given_weights in (None, weights):
        loss = MultiKernelMMD(kernels, estimator, how, multipliers, given_weights, tile_bytes=100)(
            x, y
        )
        wanted = mmd_by_loops(
            x.numpy(),
            y.numpy(),
            estimator,
            kernels_by_hand(x.numpy(), y.numpy(), kernels, multipliers, given_weights, how),
        )
        assert abs(float(loss) - wanted) < 1e-10


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 9),
    m=st.integers(2, 9),
    width=st.integers(1, 5),
    tile=st.integers(1, 2000),
    kernels=st.sampled_from(COMBINATIONS),
    estimator=st.sampled_from(["biased", "unbiased"]),
    how=st.sampled_from(["mean", "median", 0.7]),
    seed=st.integers(0, 10**6),
)
def test_whatever_the_sizes_and_the_tile(n, m, width, tile, kernels, estimator, how, seed):
    x, y = two_clouds(n, m, width, seed)
    loss = MultiKernelMMD(kernels, estimator, how, tile_bytes=tile)(x, y)
    wanted = mmd_by_loops(
        x.numpy(),
        y.numpy(),
        estimator,
        kernels_by_hand(x.numpy(), y.numpy(), kernels, (1 / 8, 1 / 4, 1 / 2, 1, 2), None, how),
    )
    assert abs(float(loss) - wanted) < 1e-10


@pytest.mark.parametrize("estimator", ["biased", "unbiased", "linear", "author"])
@pytest.mark.parametrize("kernels", COMBINATIONS, ids="+".join)
def test_gradcheck(kernels, estimator):
    x, y = (rows.requires_grad_() for rows in two_clouds(5, 5, 3, seed=3))
    loss = MultiKernelMMD(kernels, estimator, 1.7, tile_bytes=80)
    assert torch.autograd.gradcheck(loss, (x, y))
    assert torch.autograd.gradcheck(
        lambda x: loss(x, y.detach()), (x,)
    ) and torch.autograd.gradcheck(lambda y: loss(x.detach(), y), (y,))


def naive(x, y, multipliers, distance, how, estimator="biased"):
    """The same loss from one `[rows, rows, width]` tensor of differences, bandwidth detached, by
    autograd.
    """
    rows = torch.cat([x, y])
    gap = rows[:, None] - rows
    sizes = gap.square().sum(-1) if distance == "gaussian" else gap.abs().sum(-1)
    among = sizes.detach()[tuple(torch.triu_indices(len(rows), len(rows), 1))]
    width = sizes.detach().mean() if how == "mean" else among.median()
    factor = 2 if distance == "gaussian" else 1
    kernel = sum(torch.exp(-sizes / (factor * m * width)) for m in multipliers)
    n = len(x)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("name", ["gaussian", "laplacian"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-11), (torch.float32, 2e-6)])
def test_the_bandwidth_has_no_gradient(name, how, dtype, tolerance):
    x, y = (rows.requires_grad_() for rows in two_clouds(40, 25, 8, seed=9, dtype=dtype))
    loss, wanted = (
        MultiKernelMMD([name], bandwidth=how, tile_bytes=3000)(x, y),
        naive(x, y, (1 / 8, 1 / 4, 1 / 2, 1, 2), name, how),
    )
    assert loss.dtype == dtype and abs(loss.item() - wanted.item()) < tolerance
    for mine, theirs in zip(
        torch.autograd.grad(3 * loss, (x, y)), torch.autograd.grad(3 * wanted, (x, y))
    ):
        torch.testing.assert_close(
            mine, theirs, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=tolerance
        )


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 60),
    width=st.integers(1, 6),
    kernels=st.sampled_from(COMBINATIONS[:4] + COMBINATIONS[5:]),
    how=st.sampled_from(["mean", "median"]),
    seed=st.integers(0, 10**6),
)
def test_equal_sets_have_none_and_other_sets_some(n, width, kernels, how, seed):
    x, _ = two_clouds(n, 1, width, seed)
    loss = MultiKernelMMD(kernels, "biased", how)
    shuffled = x[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    assert abs(float(loss(x, shuffled))) < 1e-12 * (1 + float(x.square().sum()))
    assert float(loss(x, x + 5 * x.abs().max() + 1)) > 1e-3 or kernels == ("cosine",)


@settings(max_examples=30, deadline=None)
@given(
    kernels=st.sampled_from(COMBINATIONS),
    estimator=st.sampled_from(["biased", "unbiased", "author"]),
    how=st.sampled_from(["mean", "median"]),
    seed=st.integers(0, 10**6),
)
def test_the_order_of_rows_does_not_matter(kernels, estimator, how, seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = two_clouds(30, 30, 4, seed)
    loss = MultiKernelMMD(kernels, estimator, how, tile_bytes=2000)
    swapped = loss(
        x[torch.randperm(30, generator=generator)], y[torch.randperm(30, generator=generator)]
    )
    torch.testing.assert_close(swapped, loss(x, y), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss(y, x), loss(x, y), rtol=1e-12, atol=1e-12)


def test_only_characteristic_kernels_see_more_than_the_mean():
    """Two clouds of one mean and other spreads; the mean direction is equal too."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(200, 4, dtype=torch.float64, generator=generator)
    x = torch.cat([x, -x])
    y = 3 * x
    for name, seen in (
        ("gaussian", True),
        ("laplacian", True),
        ("linear", False),
        ("cosine", False),
    ):
        assert (float(MultiKernelMMD([name])(x, y)) > 0.05) == seen


def test_the_authors_cosine_drives_the_clouds_apart():
    x, y = two_clouds(20, 20, 4, seed=1)
    for estimator in ("biased", "unbiased", "linear"):
        torch.testing.assert_close(
            MultiKernelMMD(["cosine_author"], estimator)(x, y),
            -MultiKernelMMD(["cosine"], estimator)(x, y),
        )


def test_the_unbiased_estimate_is_0_on_average_and_the_biased_is_not():
    values = {"unbiased": [], "biased": [], "linear": []}
    for seed in range(200):
        rows = torch.randn(
            40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        for estimator, found in values.items():
            found.append(
                float(MultiKernelMMD(estimator=estimator, bandwidth=6.0)(rows[:20], rows[20:]))
            )
    error = {name: np.std(found) / math.sqrt(len(found)) for name, found in values.items()}
    assert (
        abs(np.mean(values["unbiased"])) < 4 * error["unbiased"]
        and abs(np.mean(values["linear"])) < 4 * error["linear"]
    )
    assert min(values["biased"]) > 0 and np.mean(values["biased"]) > 10 * error["biased"]


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("name", ["gaussian", "laplacian", "cosine"])
def test_rows_that_coincide_give_finite_values_and_gradients(name, how):
    same = torch.zeros(6, 3, requires_grad=True)
    loss = MultiKernelMMD([name], bandwidth=how)
    value = loss(same, torch.zeros(6, 3))
    assert abs(value.item()) < 1e-6 and torch.isfinite(torch.autograd.grad(value, same)[0]).all()
    mostly = torch.zeros(6, 3)  # the median of the distances is 0
    mostly[0] = 1.0
    mostly.requires_grad_()
    value = loss(mostly, torch.zeros(6, 3))
    assert value.item() > 0 and torch.isfinite(torch.autograd.grad(value, mostly)[0]).all()


def test_far_from_the_origin_float32_keeps_its_digits():
    x, y = two_clouds(30, 30, 16, seed=5)
    near, far = MultiKernelMMD()(x, y), MultiKernelMMD()((x + 100).float(), (y + 100).float())
    assert abs(near.item() - far.item()) < 1e-4


def test_autocast_and_half_precision_compute_in_float32():
    x, y = two_clouds(30, 30, 8, seed=5, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = MultiKernelMMD(["gaussian", "laplacian", "linear"])(x, y)
    assert torch.equal(inside, MultiKernelMMD(["gaussian", "laplacian", "linear"])(x, y))
    half = x.bfloat16().requires_grad_()
    loss = MultiKernelMMD()(half, y)
    assert (
        loss.dtype == torch.float32 and torch.autograd.grad(loss, half)[0].dtype == torch.bfloat16
    )


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True), (False, False)])
def test_tiles_of_city_block_distances_equal_the_flat_array(wanted):
    """What runs on a GPU, run here: `cdist` in tiles beside `pdist`."""
    x, y = two_clouds(23, 17, 4, seed=8)
    rows, weights = torch.cat([x, y]), distance_kernels.PairWeights(0.3, 0.2, -0.7)
    flat, flat_gradient = distance_kernels._over_flat(
        rows, 23, (1.0, 2.0, 3.0), (0.5, 1.0, 2.0), weights, wanted
    )
    tiled, tiled_gradient = distance_kernels._over_city_block(
        rows, 23, (1.0, 2.0, 3.0), (0.5, 1.0, 2.0), weights, wanted, 900
    )
    torch.testing.assert_close(tiled, flat, rtol=1e-12, atol=1e-12)
    if any(wanted):
        torch.testing.assert_close(tiled_gradient, flat_gradient, rtol=1e-10, atol=1e-12)
    else:
        assert tiled_gradient is None and flat_gradient is None


def test_gradients_twice_from_one_graph():
    x, y = (rows.requires_grad_() for rows in two_clouds(9, 9, 3, seed=2))
    loss = MultiKernelMMD(["gaussian", "laplacian"])(x, y)
    once = torch.autograd.grad(loss, (x, y), retain_graph=True)
    again = torch.autograd.grad(loss, (x, y))
    assert all(torch.equal(a, b) for a, b in zip(once, again))


MEMORY = """
import resource, sys, torch
from recbole_precise.nn.losses import MultiKernelMMD
torch.set_num_threads(1)
n, width = 1000, 256
torch.manual_seed(0)
def step(n, multipliers):
    x, y = torch.randn(n, width, requires_grad=True), torch.randn(n, width, requires_grad=True)
    kernels = sys.argv[1].split("+")
    MultiKernelMMD(kernels, bandwidth=sys.argv[2], multipliers=multipliers)(x, y).backward()
step(50, [1.0])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step(n, [2.0**k for k in range(-5, int(sys.argv[3]) - 5)])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * n * n))
"""


@pytest.mark.parametrize(
    "kernels, how", [("gaussian", "mean"), ("gaussian+laplacian+linear+cosine", "median")]
)
def test_memory_is_of_pairs_once(kernels, how):
    """Peak memory in units of one `[n, n]` matrix.

    A width of 256 would be 256 (1,024 for the stacked rows), ten kernels ten a tensor.
    """
    used = [
        float(
            subprocess.run(
                [sys.executable, "-c", MEMORY, kernels, how, str(n)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n in (1, 10)
    ]
    assert max(used) < 16
    assert used[1] < used[0] + 2


@pytest.mark.parametrize("wrong, words", [
    ({"kernels": ["gauss"]}, "kernels must be"), ({"kernels": []}, "kernels must be"),
    ({"kernels": ["linear", "linear"]}, "kernels must be"),
    ({"estimator": "v"}, "estimator must be"), ({"bandwidth": "mode"}, "bandwidth must be"),
    ({"bandwidth": 0.0}, "bandwidth must be"),
    ({"multipliers": [1.0, -1.0]}, "multipliers must be"), ({"multipliers": []},
        "multipliers must be"), ({"weights": [1.0]}, "weights must be 5 numbers"),
    ({"weights": [1, 1, 1, 1, -1]}, "weights must be"),
])  # fmt: skip
def test_wrong_arguments_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        MultiKernelMMD(**wrong)


def test_shapes_that_an_estimator_cannot_take():
    x = torch.randn(4, 3)
    for estimator, other in (
        ("author", torch.randn(5, 3)),
        ("linear", torch.randn(5, 3)),
        ("unbiased", torch.randn(1, 3)),
        ("biased", torch.randn(4, 2)),
        ("biased", torch.randn(0, 3)),
    ):
        with pytest.raises(ValueError):
            MultiKernelMMD(estimator=estimator)(x, other)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 12), temperature=st.floats(0.05, 2), seed=st.integers(0, 10**6))
def test_info_nce_is_minus_log_of_the_partners_share(n, temperature, seed):
    x, y = two_clouds(n, n, 4, seed)
    shares = []
    for i in range(n):
        likeness = [
            math.exp(float(F.cosine_similarity(x[i], y[j], dim=0)) / temperature) for j in range(n)
        ]
        shares.append(-math.log(likeness[i] / sum(likeness)))
    assert abs(float(info_nce(x, y, temperature)) - sum(shares) / n) < 1e-9


def test_info_nce_pairs_where_mmd_does_not():
    """The same cloud in another order: no discrepancy, but the wrong partners."""
    x, _ = two_clouds(20, 1, 8, seed=6)
    turned = x.roll(1, 0)
    assert abs(MultiKernelMMD()(x, turned).item()) < 1e-12
    assert info_nce(x, turned) > info_nce(x, x) + 1
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: info_nce(x, turned, 0.3), (x,))
    with pytest.raises(ValueError):
        info_nce(x, turned[:5])
    with pytest.raises(ValueError):
        info_nce(x, turned, 0.0)


def test_rows_of_the_released_code_are_places_and_their_negatives():
    items = torch.tensor([[0, 0, 5, 6], [7, 5, 8, 9]])
    negatives = torch.tensor([[0, 3, 4], [1, 2, 3]])
    wanted = [0, 0, 0, 3, 5, 4, 6, 0, 7, 1, 5, 2, 8, 3, 9, 0]
    assert alignment_rows(items, negatives, "author").tolist() == wanted
    padded = torch.cat([negatives, torch.zeros(2, 1, dtype=torch.int64)], 1)
    assert alignment_rows(items, padded, "author").tolist() == wanted
    assert (
        len(
            alignment_rows(
                torch.zeros(16, 21, dtype=torch.int64),
                torch.zeros(16, 20, dtype=torch.int64),
                "author",
            )
        )
        == 672
    )
    assert alignment_rows(items, None, "author").tolist() == [0, 0, 5, 6, 7, 5, 8, 9]
    with pytest.raises(ValueError, match="one negative a place"):
        alignment_rows(items, torch.zeros(2, 7, dtype=torch.int64), "author")
    with pytest.raises(ValueError, match="mmd_rows"):
        alignment_rows(items, negatives, "all")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 8), st.integers(1, 40))
def test_unique_real_rows_are_the_batchs_items_without_padding(seed, batch, length, n_items):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(0, n_items + 1, (batch, length), generator=generator)
    negatives = torch.randint(0, n_items + 1, (batch, 3, 2), generator=generator)
    assert alignment_rows(items, negatives).tolist() == sorted(
        {*items.flatten().tolist(), *negatives.flatten().tolist()} - {0}
    )
    assert alignment_rows(items).tolist() == sorted(set(items.flatten().tolist()) - {0})
