"""Gates that weigh several experts' scores of an item by how often the item was trained.

PAD, Sec. 3.3; docs/pad.md.

Items come in frequency buckets: 1 holds the most frequent items, `n_buckets` the rarest, 0 is the
padding. A gate that knows the item's bucket alone gives each item constant weights, which fold into
its vector (`nn/gated_items.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GATES = ("bucket", "author", "mlp", "expert_output", "global", "none")

#: First values of the authors' gate over the padding and the buckets, before the sigmoid: from the
#: first to the last.
_AUTHOR = {"id": (1.0, 0.0), "aligned": (-4.0, -5.0), "text": (0.0, 1.0)}
_VECTOR = 16  # width of the learned vectors of buckets and experts


class TableGate(nn.Module):
    """Weights that depend on the bucket alone: `table() -> [n_buckets + 1, experts]`.

    Rows are not negative and sum to 1 (those of `NoGate` are ones).
    """

    def table(self) -> Tensor:
        """Weights of the experts in each bucket, the padding first."""
        raise NotImplementedError

    def forward(self, bucket: Tensor, states: Tensor | None = None) -> Tensor:
        """int64 `bucket [...]` -> `[..., experts]`; `states` are not read."""
        return self.table()[bucket]

    def begin(self, weights: Sequence[float]) -> None:
        """Set the weights of every bucket to `weights`, divided by their sum.

        They are positive, one an expert.

        Raises ValueError for a gate whose weights are no free numbers (`FREE_GATES` are).
        """
        raise ValueError(f"the weights of a {type(self).__name__} cannot be set")


class NoGate(TableGate):
    """Every expert weighs 1: the score is the plain sum. One expert alone needs no other gate."""

    ones: Tensor

    def __init__(self, n_experts: int, n_buckets: int) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(n_buckets + 1, n_experts), persistent=False)

    def table(self) -> Tensor:
        """Return ones."""
        return self.ones


class FreeGate(TableGate):
    """Softmax over free numbers, `logits [..., experts]`."""

    logits: nn.Parameter

    @torch.no_grad()
    def begin(self, weights: Sequence[float]) -> None:
        """Set the weights of every bucket to `weights`; see `TableGate.begin`."""
        self.logits.copy_(torch.tensor(weights).log())


class BucketGate(FreeGate):
    """One free number for each expert and bucket, softmax over the experts.

    All experts weigh the same at first.
    """

    def __init__(self, n_experts: int, n_buckets: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_buckets + 1, n_experts))

    def table(self) -> Tensor:
        """Return the softmax of each bucket's numbers; see `TableGate.table`."""
        return self.logits.softmax(1)


class AuthorGate(TableGate):
    """As in the authors' code: sigmoids of free numbers, divided by their sum.

    Its first values nearly switch the aligned expert off.
    """

    def __init__(self, experts: Sequence[str], n_buckets: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(
            torch.stack([torch.linspace(*_AUTHOR[name], n_buckets + 1) for name in experts], 1)
        )

    def table(self) -> Tensor:
        """Return sigmoids divided by their sum; see `TableGate.table`."""
        open_ = torch.sigmoid(self.logits)
        return open_ / open_.sum(1, keepdim=True)


class GlobalGate(FreeGate):
    """One free number for each expert, whatever the bucket.

    The paper's model without frequencies.
    """

    def __init__(self, n_experts: int, n_buckets: int) -> None:
        super().__init__()
        self.n_buckets = n_buckets
        self.logits = nn.Parameter(torch.zeros(n_experts))

    def table(self) -> Tensor:
        """Return the same weights for every bucket; see `TableGate.table`."""
        return self.logits.softmax(0).expand(self.n_buckets + 1, -1)


class MlpGate(TableGate):
    """Softmax over an MLP of a learned vector of the bucket and one of the expert.

    The weights are still constant in each bucket.
    """

    def __init__(self, n_experts: int, n_buckets: int) -> None:
        super().__init__()
        self.bucket = nn.Embedding(n_buckets + 1, _VECTOR)
        self.expert = nn.Parameter(torch.randn(n_experts, _VECTOR))
        self.inner = nn.Linear(2 * _VECTOR, _VECTOR)
        self.outer = nn.Linear(_VECTOR, 1)

    def table(self) -> Tensor:
        """Return the softmax over the MLP of each bucket; see `TableGate.table`."""
        n_buckets = self.bucket.num_embeddings
        n_experts = len(self.expert)
        pairs = torch.cat(
            [
                self.bucket.weight[:, None].expand(-1, n_experts, -1),
                self.expert.expand(n_buckets, -1, -1),
            ],
            2,
        )
        return self.outer(F.gelu(self.inner(pairs)))[..., 0].softmax(1)


class ExpertOutputGate(nn.Module):
    """Softmax over an MLP of the bucket's vector and each expert's own user state.

    Every user has weights of their own.

    `table(states) -> [users, n_buckets + 1, experts]`.
    """

    def __init__(self, n_experts: int, n_buckets: int, width: int) -> None:
        super().__init__()
        self.bucket = nn.Embedding(n_buckets + 1, _VECTOR)
        self.state = nn.ModuleList(nn.Linear(width, _VECTOR) for _ in range(n_experts))
        self.outer = nn.Linear(_VECTOR, 1)

    def table(self, states: Tensor) -> Tensor:
        """`states [users, experts, width]` -> weights of the experts in each bucket."""
        read = torch.stack([layer(states[:, k]) for k, layer in enumerate(self.state)], 1)
        hidden = F.gelu(read[:, None] + self.bucket.weight[None, :, None])
        return self.outer(hidden)[..., 0].softmax(2)

    def forward(self, bucket: Tensor, states: Tensor) -> Tensor:
        """int64 `bucket [users, n]` -> `[users, n, experts]`."""
        table = self.table(states)
        return table.gather(1, bucket[..., None].expand(-1, -1, table.shape[2]))


#: Made from the numbers of experts and buckets alone.
_BY_SIZE: dict[str, type[BucketGate] | type[MlpGate] | type[GlobalGate]] = {
    "bucket": BucketGate,
    "mlp": MlpGate,
    "global": GlobalGate,
}
#: Gates whose weights can be set (`TableGate.begin`).
FREE_GATES = tuple(kind for kind, gate in _BY_SIZE.items() if issubclass(gate, FreeGate))


def build_gate(
    kind: str, experts: Sequence[str], n_buckets: int, width: int
) -> TableGate | ExpertOutputGate:
    """Build the gate `kind` over `experts` (their names); `width` is that of a user state.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in GATES:
        raise ValueError(f"gate must be one of {GATES}, not {kind!r}")
    if kind == "none" or len(experts) == 1:
        return NoGate(len(experts), n_buckets)
    if kind == "author":
        return AuthorGate(experts, n_buckets)
    if kind == "expert_output":
        return ExpertOutputGate(len(experts), n_buckets, width)
    return _BY_SIZE[kind](len(experts), n_buckets)
