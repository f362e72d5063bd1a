"""The item towers of PAD and its rivals: IDs, frozen text behind an MLP, both as one.

PAD, Sec. 3.1 to 3.3; DisCo.

PAD has four embedding tables in all: two of IDs (one pre-trained, one aligned), and one frozen text
matrix seen through two MLPs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout
from recbole_precise.nn.item_encoders import IdEncoder, ItemPart, Words, members
from recbole_precise.nn.text_vectors import FrozenText, principal_linear

FUSIONS = ("concat", "sum")


class TextMlp(nn.Module):
    """`hidden -> width`: Linear, GELU, then `n_layers` times Dropout, Linear, GELU.

    As in the authors' code (4 there).

    Without further layers (`n_layers` 0) it is the Linear alone, whose output may have either sign;
    it begins as a `principal_linear` of the root mean square `std`.
    """

    def __init__(
        self, text: FrozenText, width: int, n_layers: int, dropout: float, std: float
    ) -> None:
        super().__init__()
        some = text.vectors[text.has_text]
        layers: list[nn.Module] = [
            nn.Linear(text.hidden_size, width) if n_layers else principal_linear(some, width, std)
        ]
        if n_layers:
            layers.append(nn.GELU())
        for _ in range(n_layers):
            layers += [Dropout(dropout), nn.Linear(width, width), nn.GELU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, text: Tensor) -> Tensor:
        """Project text vectors."""
        return self.layers(text)


class FrozenView(ItemPart):
    """Frozen text vectors through a map `project` of the expert's own.

    Any other `ItemPart` may take its place, as a `TextEncoder` with token vectors of its own does.
    """

    def __init__(self, text: FrozenText, project: nn.Module) -> None:
        super().__init__()
        self.text = text
        self.project = project

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Project the texts of `item_ids [n]`, or of all items for None: `[n, width]`."""
        return self.project(self.text.rows(item_ids))

    def extend(self, count: int, words: Words | None = None) -> Tensor | None:
        """Do nothing: `FrozenText` grows, once for all views of it."""
        return None


class ItemTower(nn.Module):
    """Base of what gives an expert's vectors of items."""

    def rows(self, item_ids: Tensor | None, absent: Tensor | None = None) -> Tensor:
        """Encode `item_ids [n]`, or all items for None: `[n, width]`.

        The IDs of those that are `absent` (bool `[n]`) are left out.
        """
        raise NotImplementedError

    def extend(self, count: int, words: Words | None) -> Tensor | None:
        """Add `count` items that were never trained, by the `words` of their texts.

        Returns:
            bool `[count]`, which of them have a text that the tower reads; None where
            `FrozenText` knows it, or the tower reads none.
        """
        raise NotImplementedError


class IdTower(ItemTower):
    """The ID expert's item: its row of a table."""

    def __init__(self, table: IdEncoder) -> None:
        super().__init__()
        self.table = table

    def rows(self, item_ids: Tensor | None, absent: Tensor | None = None) -> Tensor:
        """Look the items up in the table; see `ItemTower.rows`."""
        return self.table.rows(item_ids, absent)

    def extend(self, count: int, words: Words | None) -> Tensor | None:
        """Add rows to the table; see `ItemTower.extend`."""
        self.table.extend(count)
        return None


class TextTower(ItemTower):
    """The text expert's item: its text, seen through a view."""

    def __init__(self, view: ItemPart) -> None:
        super().__init__()
        self.view = view

    def rows(self, item_ids: Tensor | None, absent: Tensor | None = None) -> Tensor:
        """Encode the items' texts; see `ItemTower.rows`."""
        return self.view.rows(item_ids)

    def extend(self, count: int, words: Words | None) -> Tensor | None:
        """Extend the view by `count` items; see `ItemTower.extend`."""
        return None if words is None else self.view.extend(count, words)


class AlignedTower(ItemTower):
    """The aligned expert's item: an ID row and the text through a view, fused.

    Alignment draws the two together.

    `concat` is the authors' fusion, Dropout, Linear `2 width -> width` and GELU; `sum` adds the
    two.
    """

    def __init__(self, table: IdEncoder, view: ItemPart, fusion: str, dropout: float) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion must be one of {FUSIONS}, not {fusion!r}")
        self.table = table
        self.view = view
        width = table.table.embedding_dim
        self.fuse = (
            nn.Sequential(Dropout(dropout), nn.Linear(2 * width, width), nn.GELU())
            if fusion == "concat"
            else None
        )

    def text_rows(self, item_ids: Tensor | None) -> Tensor:
        """Return the text side `[n, width]` of what is aligned."""
        return self.view.rows(item_ids)

    def id_rows(self, item_ids: Tensor | None) -> Tensor:
        """Return the ID side `[n, width]` of what is aligned."""
        return self.table.rows(item_ids)

    def rows(self, item_ids: Tensor | None, absent: Tensor | None = None) -> Tensor:
        """Join the ID and the text of the items; see `ItemTower.rows`."""
        ids = self.table.rows(item_ids, absent)
        text = self.text_rows(item_ids)
        return ids + text if self.fuse is None else self.fuse(torch.cat([ids, text], 1))

    def extend(self, count: int, words: Words | None) -> Tensor | None:
        """Extend the table and the view by `count` items; see `ItemTower.extend`."""
        self.table.extend(count)
        return None if words is None else self.view.extend(count, words)


class DisentangledTower(ItemTower):
    """DisCo's item (arXiv 2406.00011): parts of the ID alone, of the text alone, and shared.

    What ID and text share has two parts, one as either source gives it. Each part has a source of
    its own, a table or a view of the text, and a projection; side by side they go through a layer.
    Projections and layer begin orthogonal, which keeps the size of what they are given.

    Args:
        tables, views: two each, for the part that is unique and the one that is shared.
    """

    def __init__(self, tables: Sequence[IdEncoder], views: Sequence[ItemPart]) -> None:
        super().__init__()
        self.tables = nn.ModuleList(tables)
        self.views = nn.ModuleList(views)
        width = tables[0].width
        self.project = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(4))
        self.fuse = nn.Linear(4 * width, width)
        for layer in members((*self.project, self.fuse), nn.Linear):
            nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(self.fuse.bias)

    def parts(self, item_ids: Tensor | None, absent: Tensor | None = None) -> Tensor:
        """Return `[n, 4, width]`: ID alone, ID shared, text alone, text shared."""
        sources = [table.rows(item_ids, absent) for table in members(self.tables, IdEncoder)]
        sources += [view.rows(item_ids) for view in members(self.views, ItemPart)]
        return torch.stack([layer(source) for layer, source in zip(self.project, sources)], 1)

    def rows(self, item_ids: Tensor | None, absent: Tensor | None = None) -> Tensor:
        """Fuse the four parts of the items; see `ItemTower.rows`."""
        return self.fuse(self.parts(item_ids, absent).flatten(1))

    def extend(self, count: int, words: Words | None) -> Tensor | None:
        """Extend all tables and views by `count` items; see `ItemTower.extend`."""
        for table in members(self.tables, IdEncoder):
            table.extend(count)
        if words is None:
            return None
        return [view.extend(count, words) for view in members(self.views, ItemPart)][-1]
