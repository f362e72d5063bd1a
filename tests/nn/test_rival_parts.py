"""HSTU's layers, the original SASRec block, the GRU, gBCE and text vectors, each beside a slow
computation written from its formula.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.nn.hstu import TIME_BUCKETS, HSTUEncoder, time_buckets
from recbole_precise.nn.losses import gbce_beta, gbce_loss
from recbole_precise.nn.query_norm import QueryNormTransformer
from recbole_precise.nn.recurrent import Recurrent
from recbole_precise.nn.text_vectors import FrozenText, TextVectors

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def batch(seed: int, width: int = 8, longest: int = 7):
    """Rows of all lengths from 1, in float64, with times."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randperm(longest, generator=generator)[:4] + 1
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    vectors = torch.randn(*mask.shape, width, dtype=torch.float64, generator=generator)
    times = torch.randint(0, 10**6, mask.shape, generator=generator).double().cumsum(1)
    return vectors, mask, times


def rows_of(vectors, mask):
    return [vectors[row, : int(mask[row].sum())] for row in range(len(mask))]


def norm(x):
    """LayerNorm without weights, of one vector."""
    return (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-6)


def bucket(a: float, b: float) -> int:
    return min(int(math.log(max(abs(a - b), 1.0)) / 0.301), 128)


def slow_hstu_layer(layer, xs, asked, times, n_heads, query_size, value_size):
    """One row, position by position and head by head: `x_i + W_o (u_i * LN(sum_{j<=i} SiLU(q_i.k_j
    + p + tau) / N v_j))`.
    """
    u_size, q_size = n_heads * value_size, n_heads * query_size
    projected = [F.silu(layer.project.weight @ norm(x)) for x in xs]
    out = []
    for i, x in enumerate(xs):
        gate, query = projected[i][:u_size], projected[i][2 * u_size : 2 * u_size + q_size]
        mixed = []
        for head in range(n_heads):
            total = torch.zeros(value_size, dtype=torch.float64)
            for j in range(i + 1):
                value = projected[j][u_size : 2 * u_size][
                    head * value_size : (head + 1) * value_size
                ]
                key = projected[j][2 * u_size + q_size :][
                    head * query_size : (head + 1) * query_size
                ]
                score = (
                    query[head * query_size : (head + 1) * query_size] @ key
                    + layer.position_bias[i - j]
                )
                if layer.time_bias is not None:
                    score = score + layer.time_bias[bucket(float(asked[i]), float(times[j]))]
                total = total + F.silu(score) / layer.max_length * value
            mixed.append(total)
        out.append(x + layer.out.weight @ (gate * norm(torch.cat(mixed))) + layer.out.bias)
    return out


@pytest.mark.parametrize(
    ("timed", "n_heads", "query_size", "value_size"),
    [(True, 2, 3, 5), (False, 2, 3, 5), (True, 1, 4, 4)],
)
def test_hstu_is_its_formula(timed, n_heads, query_size, value_size):
    torch.manual_seed(1)
    encoder = (
        HSTUEncoder(
            8,
            9,
            n_layers=2,
            n_heads=n_heads,
            query_size=query_size,
            value_size=value_size,
            dropout=0.3,
            timed=timed,
        )
        .double()
        .eval()
    )
    with torch.no_grad():
        for parameter in encoder.parameters():  # first values are too small to show a mistake
            parameter.normal_()
    vectors, mask, times = batch(3)
    asked = times + 777
    states = encoder(vectors, mask, times=times, asked=asked) if timed else encoder(vectors, mask)
    for row, xs in enumerate(rows_of(vectors, mask)):
        xs = [math.sqrt(8) * x + encoder.input.position.weight[i] for i, x in enumerate(xs)]
        for layer in encoder.layers:
            xs = slow_hstu_layer(layer, xs, asked[row], times[row], n_heads, query_size, value_size)
        torch.testing.assert_close(states[row, : len(xs)], torch.stack(xs), **EXACT)
    assert not states[~mask].any()


@given(st.lists(st.tuples(st.floats(0, 2e9), st.floats(0, 2e9)), min_size=1, max_size=8))
def test_time_buckets_are_powers_of_a_factor(pairs):
    asked, times = (torch.tensor([part], dtype=torch.float64) for part in zip(*pairs))
    found = time_buckets(asked, times)[0]
    assert found.tolist() == [[bucket(a, t) for t in times[0].tolist()] for a in asked[0].tolist()]
    assert found.max() <= TIME_BUCKETS


def test_hstu_reads_times_and_only_earlier_ones():
    torch.manual_seed(0)
    encoder = (
        HSTUEncoder(
            8, 9, n_layers=1, n_heads=2, query_size=4, value_size=4, dropout=0.0, timed=True
        )
        .double()
        .eval()
    )
    with torch.no_grad():
        encoder.layers[0].time_bias.normal_()
    vectors, mask, times = batch(5)
    row, last = int(mask.sum(1).argmax()), int(mask.sum(1).max()) - 1
    moved = times.clone()
    moved[row, last] += 10**8
    before = encoder(vectors, mask, times=times, asked=times)[row]
    after = encoder(vectors, mask, times=moved, asked=moved)[row]
    torch.testing.assert_close(after[:last], before[:last], rtol=0, atol=0)
    assert (after[last] - before[last]).abs().max() > 1e-6


def test_the_original_block_is_its_formula():
    torch.manual_seed(2)
    encoder = (
        QueryNormTransformer(8, 9, n_layers=2, n_heads=2, inner_size=5, dropout=0.4).double().eval()
    )
    vectors, mask, _ = batch(4)
    states = encoder(vectors, mask)
    for row, xs in enumerate(rows_of(vectors, mask)):
        xs = [math.sqrt(8) * x + encoder.input.position.weight[i] for i, x in enumerate(xs)]
        for block in encoder.blocks:
            normed = [norm(x) for x in xs]
            query = [block.query.weight @ x + block.query.bias for x in normed]
            both = [block.key_value.weight @ x + block.key_value.bias for x in xs]
            out = []
            for i in range(len(xs)):
                heads = []
                for head in (slice(0, 4), slice(4, 8)):
                    scores = torch.stack(
                        [query[i][head] @ both[j][:8][head] / 2 for j in range(i + 1)]
                    )
                    heads.append(
                        sum(w * both[j][8:][head] for j, w in enumerate(scores.softmax(0)))
                    )
                y = norm(normed[i] + block.out.weight @ torch.cat(heads) + block.out.bias)
                out.append(
                    y
                    + block.outer.weight @ F.relu(block.inner.weight @ y + block.inner.bias)
                    + block.outer.bias
                )
            xs = out
        torch.testing.assert_close(states[row, : len(xs)], torch.stack(xs), **EXACT)


def test_the_gru_is_its_formula():
    torch.manual_seed(3)
    encoder = Recurrent(4, hidden_size=6, n_layers=1, dropout=0.2).double().eval()
    vectors, mask, _ = batch(6, width=4)
    states = encoder(vectors, mask)
    w_ih, w_hh = encoder.gru.weight_ih_l0, encoder.gru.weight_hh_l0
    for row, xs in enumerate(rows_of(vectors, mask)):
        hidden = torch.zeros(6, dtype=torch.float64)
        for i, x in enumerate(xs):
            (r_x, z_x, n_x), (r_h, z_h, n_h) = (w_ih @ x).split(6), (w_hh @ hidden).split(6)
            reset, update = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
            hidden = (1 - update) * torch.tanh(n_x + reset * n_h) + update * hidden
            torch.testing.assert_close(states[row, i], encoder.out(hidden), **EXACT)


def authors_gbce(positive, negative, n_items: int, t: float):
    """As gSASRec's authors compute it: the positive score is transformed so that its sigmoid is
    sigmoid ** beta; then plain BCE.
    """
    alpha = negative.shape[1] / (n_items - 1)
    beta = alpha * ((1 - 1 / alpha) * t + 1 / alpha)
    adjusted = torch.sigmoid(positive).clamp(1e-10, 1 - 1e-10).pow(-beta).clamp_min(1 + 1e-10)
    transformed = torch.log(1 / (adjusted - 1))
    logits = torch.cat([transformed[:, None], negative], 1)
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1
    return F.binary_cross_entropy_with_logits(logits, labels)


@given(st.integers(0, 10**6), st.integers(1, 20), st.sampled_from([0.0, 0.25, 0.75, 1.0]))
def test_gbce_is_the_authors(seed, k, t):
    generator = torch.Generator().manual_seed(seed)
    positive, negative = (
        torch.randn(5, dtype=torch.float64, generator=generator),
        torch.randn(5, k, dtype=torch.float64, generator=generator),
    )
    ours = gbce_loss(positive, negative, gbce_beta(k, 100, t))
    torch.testing.assert_close(ours, authors_gbce(positive, negative, 100, t), rtol=1e-6, atol=1e-8)


def test_gbce_without_calibration_is_bce_and_leaves_forbidden_negatives_out():
    positive, negative = torch.randn(3), torch.randn(3, 4)
    assert [gbce_beta(4, 50, 0.0), gbce_beta(49, 50, 1.0), gbce_beta(7, 50, 1.0)] == pytest.approx(
        [1, 1, 1 / 7]
    )
    forbidden = torch.tensor([[True, False, False, False], [False] * 4, [True] * 4])
    expected = (
        sum(
            F.softplus(-p) + F.softplus(n[~f]).sum()
            for p, n, f in zip(positive, negative, forbidden)
        )
        / 5
        / 3
    )
    torch.testing.assert_close(gbce_loss(positive, negative, 1.0, forbidden), expected)
    with pytest.raises(ValueError, match="between 1 and 9 negatives from 10 items, not 256"):
        gbce_beta(256, 10, 0.75)


def test_text_vectors_are_frozen_and_begin_as_a_rotation():
    rng = np.random.default_rng(0)
    pooled, has_text = rng.normal(size=(40, 6)).astype(np.float32), np.arange(40) % 5 > 0
    pooled[~has_text] = 0
    encoder = TextVectors(FrozenText(pooled, scaled=False), width=6, std=0.1)
    rows = encoder.rows(None)
    assert abs(rows[torch.from_numpy(has_text)].pow(2).mean().sqrt().item() - 0.1) < 1e-5
    centred = torch.from_numpy(pooled[has_text] - pooled[has_text].mean(0))
    ours = rows.detach()[torch.from_numpy(has_text)]
    torch.testing.assert_close(
        F.normalize(ours) @ F.normalize(ours).t(),
        F.normalize(centred) @ F.normalize(centred).t(),
        rtol=1e-3,
        atol=1e-3,
    )
    torch.testing.assert_close(encoder.rows(torch.tensor([3, 5, 3])), rows[[3, 5, 3]])
    assert set(dict(encoder.named_parameters())) == {"adapter.weight", "no_text"} and not list(
        encoder.buffers()
    )


def test_text_vectors_of_new_items_are_those_of_old_items_with_their_text():
    rng = np.random.default_rng(1)
    states, offsets = rng.normal(size=(12, 6)).astype(np.float16), np.array([0, 0, 3, 7, 12])
    pooled = np.stack(
        [
            states[a:b].astype(np.float32).mean(0) if b > a else np.zeros(6, np.float32)
            for a, b in itertools.pairwise(offsets)
        ]
    )
    encoder = TextVectors(FrozenText(pooled, scaled=False), width=3, std=0.1).eval()
    before = encoder.rows(None)
    readable = encoder.extend(2, (states[3:7], np.zeros(4, int), np.array([0, 4, 4])))
    assert readable.tolist() == [True, False]
    after = encoder.rows(None)
    torch.testing.assert_close(after[:4], before)
    torch.testing.assert_close(after[4], before[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(after[5], encoder.no_text)
