import pytest
import torch

from recbole_precise.nn.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_drops_the_asked_share_independently_and_keeps_the_mean(p):
    torch.manual_seed(0)
    out = Dropout(p)(torch.ones(1000, 1003))
    kept = (out != 0).double()
    assert abs(kept.mean() - (1 - p)) < 4 * (p * (1 - p) / out.numel()) ** 0.5
    assert abs(out.double().mean() - 1) < 0.01
    assert len(out[out != 0].unique()) == 1
    flat = kept.flatten() - kept.mean()
    for lag in (1, 2, 3, 4, 8):  # lanes of one draw are as independent as draws
        assert abs((flat[:-lag] * flat[lag:]).mean()) < 5 * p * (1 - p) / out.numel() ** 0.5


def test_same_seed_same_mask_gradient_follows_it_and_eval_is_identity():
    dropout, x = Dropout(0.3), torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    first = dropout(x)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(x))
    first.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), first.detach())
    assert dropout.eval()(x) is x


def test_a_probability_of_one_is_refused():
    with pytest.raises(ValueError, match="below 1, not 1"):
        Dropout(1.0)
