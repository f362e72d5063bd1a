"""What stands near the last item, counted slowly: the reference of `neighbour_transitions` and
`neighbour_texts`.
"""

import itertools

import numpy as np
import torch
from torch import Tensor


def near_items(dataset, rows, n_items: int, *, transitions: float, texts: float) -> Tensor:
    """The bonus `[rows, n_items]` of every item after each row's last one, from the training
    sequences within five places, and the texts.
    """
    items, offsets, _ = (np.asarray(part) for part in dataset.train_sequences())
    near = np.zeros((len(rows), n_items))
    last = [int(seq[length - 1]) for seq, length in zip(rows["item_id_list"], rows["item_length"])]
    for first, end in itertools.pairwise(offsets):
        events = items[first:end].tolist()
        for place, item in enumerate(events):
            for row in [row for row, before in enumerate(last) if before == item]:
                for k in range(1, 6):
                    if place + k < len(events):
                        near[row, events[place + k]] += 1 / k
    assert near.max() > 1
    vectors = torch.nn.functional.normalize(
        torch.as_tensor(dataset.token_states().pooled()).float(), dim=1
    )
    return (
        transitions * torch.as_tensor(np.log1p(near), dtype=torch.float32)
        + texts * vectors[last] @ vectors.t()
    )
