import pytest
import torch

from recbole_precise.nn.precision import autocast_dtype, product_dtype


def test_autocast_type_is_seen_only_inside_autocast():
    assert autocast_dtype("cpu") is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert autocast_dtype("cpu") == torch.bfloat16


def test_asked_precision_is_given_and_a_misspelt_one_refused():
    cpu = torch.device("cpu")
    assert (
        product_dtype("float32", cpu) == torch.float32
        and product_dtype("bf16", cpu) == torch.bfloat16
    )
    assert product_dtype("auto", cpu) in (torch.bfloat16, None)
    with pytest.raises(ValueError, match="loss_precision"):
        product_dtype("half", cpu)
