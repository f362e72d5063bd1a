"""The item towers of PAD's experts: an ID table, frozen text behind an MLP, and the aligned pair of both (PAD, Sec. 3.1 to 3.3).

Four embedding tables in all: two of IDs (one pre-trained, one aligned), and one frozen text matrix seen through two MLPs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout
from recbole_precise.nn.item_encoders import IdEncoder, principal_projection

FUSIONS = ("concat", "sum")


class FrozenText(nn.Module):
    """One fixed vector per item, centred and scaled as a whole so that its entries have mean square 1; zeros where there is no text.

    Args:
        vectors: float32 `[items, hidden]`, row 0 the padding; rows of zeros are items without text.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        super().__init__()
        values = torch.from_numpy(np.array(vectors, dtype=np.float32))
        there = values.abs().sum(1) > 0
        self.mean = values[there].mean(0) if there.any() else values.new_zeros(values.shape[1])
        self.scale = (values[there] - self.mean).pow(2).mean().sqrt().clamp_min(1e-12) if there.any() else values.new_ones(())
        self.register_buffer("vectors", self._scaled(values), persistent=False)

    def _scaled(self, values: Tensor) -> Tensor:
        there = values.abs().sum(1, keepdim=True) > 0
        return torch.where(there, (values - self.mean) / self.scale, 0.0)

    @property
    def hidden_size(self) -> int:
        return self.vectors.shape[1]

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Vectors of `item_ids [n]`, or of all items for None: `[n, hidden]`."""
        return self.vectors if item_ids is None else self.vectors[item_ids]

    def extend(self, vectors: np.ndarray) -> Tensor:
        """Add items by their texts' vectors; bool `[new]`, which of them have a text."""
        values = torch.from_numpy(np.array(vectors, dtype=np.float32))
        self.vectors = torch.cat([self.vectors, self._scaled(values).to(self.vectors)])
        return values.abs().sum(1) > 0


class TextMlp(nn.Module):
    """`hidden -> width`: Linear, GELU, then `n_layers` times Dropout, Linear, GELU, as in the authors' code (4 there).

    Without further layers (`n_layers` 0) it is the Linear alone, whose output may have either sign; it begins as the projection
    on the texts' principal directions, scaled to the root mean square `std`.
    """

    def __init__(self, text: FrozenText, width: int, n_layers: int, dropout: float, std: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(text.hidden_size, width)]
        there = text.vectors[text.vectors.abs().sum(1) > 0]
        if not n_layers and len(there):
            direction = principal_projection(there, width)
            with torch.no_grad():
                layers[0].weight.copy_(direction.t() * (std / (there @ direction).pow(2).mean().sqrt().clamp_min(1e-12)))
                layers[0].bias.zero_()
        if n_layers:
            layers.append(nn.GELU())
        for _ in range(n_layers):
            layers += [Dropout(dropout), nn.Linear(width, width), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, text: Tensor) -> Tensor:
        return self.layers(text)


class IdTower(nn.Module):
    """The ID expert's item: its row of a table."""

    def __init__(self, table: IdEncoder) -> None:
        super().__init__()
        self.table = table

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """`[n, width]` of `item_ids [n]`, or of all items for None; so with all towers."""
        return self.table.rows(item_ids)

    def extend(self, count: int) -> None:
        """Add items that were never trained; their texts are added to `FrozenText`."""
        self.table.extend(count)


class TextTower(nn.Module):
    """The text expert's item: its frozen text vector behind an MLP."""

    def __init__(self, text: FrozenText, mlp: TextMlp) -> None:
        super().__init__()
        self.text, self.project = text, mlp

    def rows(self, item_ids: Tensor | None) -> Tensor:
        return self.project(self.text.rows(item_ids))

    def extend(self, count: int) -> None:
        """Nothing of its own grows."""


class AlignedTower(nn.Module):
    """The aligned expert's item: an ID row and the text behind an MLP, the pair that alignment draws together, fused.

    `concat` is the authors' fusion, Dropout, Linear `2 width -> width` and GELU; `sum` adds the two.
    """

    def __init__(self, table: IdEncoder, text: FrozenText, mlp: TextMlp, fusion: str, dropout: float) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {FUSIONS}, not {fusion!r}")
        self.table, self.text, self.project = table, text, mlp
        width = table.table.embedding_dim
        self.fuse = nn.Sequential(Dropout(dropout), nn.Linear(2 * width, width), nn.GELU()) if fusion == "concat" else None

    def text_rows(self, item_ids: Tensor | None) -> Tensor:
        """The text side `[n, width]` of what is aligned."""
        return self.project(self.text.rows(item_ids))

    def id_rows(self, item_ids: Tensor | None) -> Tensor:
        """The ID side `[n, width]` of what is aligned."""
        return self.table.rows(item_ids)

    def rows(self, item_ids: Tensor | None) -> Tensor:
        ids, text = self.id_rows(item_ids), self.text_rows(item_ids)
        return ids + text if self.fuse is None else self.fuse(torch.cat([ids, text], 1))

    def extend(self, count: int) -> None:
        self.table.extend(count)
