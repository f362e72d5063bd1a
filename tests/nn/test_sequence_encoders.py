"""The transformer: causal, blind to padding, equal to a plain reference."""

import pytest
import torch
import torch.nn.functional as F

from recbole_precise.nn.sequence_encoders import Transformer


def make(causal=True, norm_first=False):
    torch.manual_seed(0)
    return Transformer(
        8,
        10,
        n_layers=2,
        n_heads=2,
        inner_size=16,
        hidden_dropout=0.0,
        attn_dropout=0.0,
        causal=causal,
        norm_first=norm_first,
    ).eval()


def mask_of(lengths, length):
    return torch.arange(length) < torch.tensor(lengths)[:, None]


def reference(model, row):
    """One unpadded sequence `[length, width]` through hand-written attention."""
    x = model.input_norm(row + model.position.weight[: len(row)])
    for block in model.blocks:

        def attention(h):
            q, k, v = (t.view(len(row), 2, 4).transpose(0, 1) for t in block.qkv(h).chunk(3, -1))
            scores = q @ k.transpose(1, 2) / 2.0
            if model.causal:
                scores = scores.masked_fill(
                    torch.ones(len(row), len(row)).triu(1).bool(), -torch.inf
                )
            return block.out((scores.softmax(-1) @ v).transpose(0, 1).reshape(len(row), 8))

        feed = lambda h: block.outer(F.gelu(block.inner(h)))
        if block.norm_first:
            x = x + attention(block.attention_norm(x))
            x = x + feed(block.feed_forward_norm(x))
        else:
            x = block.attention_norm(x + attention(x))
            x = block.feed_forward_norm(x + feed(x))
    return model.output_norm(x)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_equals_a_plain_reference_on_every_row(causal, norm_first):
    model = make(causal, norm_first)
    vectors, lengths = torch.randn(4, 7, 8), [7, 1, 4, 6]
    states = model(vectors, mask_of(lengths, 7))
    for row, n in enumerate(lengths):
        torch.testing.assert_close(
            states[row, :n], reference(model, vectors[row, :n]), rtol=1e-4, atol=1e-5
        )
        assert states[row, n:].abs().sum() == 0
    torch.testing.assert_close(
        model.user_vector(vectors, mask_of(lengths, 7)),
        torch.stack([states[i, n - 1] for i, n in enumerate(lengths)]),
    )


def test_no_state_before_a_changed_item_changes():
    model = make()
    vectors, mask = torch.randn(3, 10, 8), mask_of([10, 10, 10], 10)
    before = model(vectors, mask)
    for j in range(10):
        changed = vectors.clone()
        changed[:, j] += torch.randn(8)
        after = model(changed, mask)
        assert torch.equal(after[:, :j], before[:, :j])
        assert (after[:, j] - before[:, j]).abs().max() > 1e-4


def test_without_the_causal_mask_earlier_states_do_change():
    model = make(causal=False)
    vectors, mask = torch.randn(1, 5, 8), mask_of([5], 5)
    changed = vectors.clone()
    changed[:, 4] += torch.randn(8)
    assert (model(changed, mask)[:, 0] - model(vectors, mask)[:, 0]).abs().max() > 1e-5


def test_padding_and_batch_order_change_nothing():
    model = make()
    vectors, lengths = torch.randn(4, 6, 8), [3, 6, 2, 5]
    states = model(vectors, mask_of(lengths, 6))
    wider = torch.cat([vectors, torch.randn(4, 3, 8)], 1)
    torch.testing.assert_close(model(wider, mask_of(lengths, 9))[:, :6], states)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model(vectors[order], mask_of(lengths, 6)[order]), states[order])


def test_width_must_fit_the_heads():
    with pytest.raises(ValueError, match="multiple of n_heads"):
        Transformer(10, 5, n_heads=4)
