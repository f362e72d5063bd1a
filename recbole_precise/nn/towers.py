"""The item towers of PAD and its rivals: an ID table, frozen text behind an MLP, and both as one (PAD, Sec. 3.1 to 3.3; DisCo).

PAD has four embedding tables in all: two of IDs (one pre-trained, one aligned), and one frozen text matrix seen through two MLPs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout
from recbole_precise.nn.item_encoders import IdEncoder
from recbole_precise.nn.text_vectors import FrozenText, principal_linear

FUSIONS = ("concat", "sum")


class TextMlp(nn.Module):
    """`hidden -> width`: Linear, GELU, then `n_layers` times Dropout, Linear, GELU, as in the authors' code (4 there).

    Without further layers (`n_layers` 0) it is the Linear alone, whose output may have either sign; it begins as a
    `principal_linear` of the root mean square `std`.
    """

    def __init__(self, text: FrozenText, width: int, n_layers: int, dropout: float, std: float) -> None:
        super().__init__()
        some = text.vectors[text.has_text]
        layers: list[nn.Module] = [nn.Linear(text.hidden_size, width) if n_layers else principal_linear(some, width, std)]
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


class DisentangledTower(nn.Module):
    """DisCo's item (arXiv 2406.00011): what is the ID's alone, what ID and text share as either tells it, what is the text's alone.

    Each part has a source of its own, a table or an MLP of the frozen text, and a projection; side by side they go through a
    layer. Projections and layer begin orthogonal, which keeps the size of what they are given.

    Args:
        tables, mlps: two each, for the part that is unique and the one that is shared.
    """

    def __init__(self, tables: Sequence[IdEncoder], text: FrozenText, mlps: Sequence[TextMlp]) -> None:
        super().__init__()
        self.tables, self.text, self.mlps = nn.ModuleList(tables), text, nn.ModuleList(mlps)
        width = tables[0].width
        self.project = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(4))
        self.fuse = nn.Linear(4 * width, width)
        for layer in (*self.project, self.fuse):
            nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(self.fuse.bias)

    def parts(self, item_ids: Tensor | None) -> Tensor:
        """`[n, 4, width]`: ID alone, ID shared, text alone, text shared."""
        text = self.text.rows(item_ids)
        sources = [table.rows(item_ids) for table in self.tables] + [mlp(text) for mlp in self.mlps]
        return torch.stack([layer(source) for layer, source in zip(self.project, sources)], 1)

    def rows(self, item_ids: Tensor | None) -> Tensor:
        return self.fuse(self.parts(item_ids).flatten(1))

    def extend(self, count: int) -> None:
        for table in self.tables:
            table.extend(count)
