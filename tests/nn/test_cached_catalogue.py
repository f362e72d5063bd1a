"""Vectors that follow from weights are computed when a weight has changed, and only then."""

from __future__ import annotations

import torch

from recbole_precise.nn.cached_catalogue import CachedCatalogue


def test_computed_again_only_after_a_change():
    layer = torch.nn.Linear(2, 3, bias=False)
    cache, calls = CachedCatalogue(), []

    def compute():
        calls.append(1)
        return layer.weight.detach() * 2

    for _ in range(2):
        assert torch.equal(cache.get(layer.parameters(), compute), layer.weight.detach() * 2)
    assert len(calls) == 1
    with torch.no_grad():
        layer.weight.add_(1.0)
    assert torch.equal(cache.get(layer.parameters(), compute), layer.weight.detach() * 2)
    assert len(calls) == 2
    cache.get(layer.parameters(), compute, also=7)
    cache.get(layer.parameters(), compute, also=7, renew=True)
    assert len(calls) == 4
    cache.forget()
    cache.get(layer.parameters(), compute, also=7)
    assert len(calls) == 5


def test_new_items_are_appended_to_what_is_kept():
    cache, tensors = CachedCatalogue(), [torch.zeros(1)]
    cache.append(torch.ones(1, 2))  # nothing is kept yet
    assert cache.get(tensors, lambda: torch.zeros(3, 2)).shape == (3, 2)
    cache.append(torch.ones(1, 2))
    kept = cache.get(tensors, lambda: torch.full((9, 2), torch.nan))
    assert torch.equal(kept, torch.tensor([[0.0, 0.0]] * 3 + [[1.0, 1.0]]))
