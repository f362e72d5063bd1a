"""What an alignment phase adds to the loss: how far an item's text is from its ID.

PAD, Sec. 3.2; CTRL; docs/pad.md.
"""

from __future__ import annotations

from torch import Tensor, nn

from recbole_precise.nn.losses import MultiKernelMMD, info_nce


class Alignment(nn.Module):
    """Squared MMD of two clouds of vectors under one kind of kernel, or InfoNCE of their pairs.

    MMD compares the clouds as wholes: which text belongs to which ID it does not know, the
    recommendation loss beside it does.

    Args:
        kernel: a kernel of `MultiKernelMMD`, or `infonce`. estimator, bandwidth: of the MMD.
            temperature, symmetric: of InfoNCE.
        sub_vectors: more than 1: InfoNCE sees each side through a linear map, as that many
            sub-vectors (CTRL's fine-grained alignment).
        width: of the vectors, a multiple of `sub_vectors`.

    Raises ValueError for an invalid width, and for sub-vectors with an MMD, which knows no
    pairs.
    """

    def __init__(
        self,
        kernel: str,
        estimator: str,
        bandwidth: str,
        temperature: float,
        *,
        symmetric: bool = False,
        sub_vectors: int = 1,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.symmetric = symmetric
        self.sub_vectors = sub_vectors
        self.mmd = (
            None
            if kernel == "infonce"
            else MultiKernelMMD(kernels=(kernel,), estimator=estimator, bandwidth=bandwidth)
        )
        self.maps = nn.ModuleList()
        if sub_vectors > 1:
            if self.mmd is not None or not width or width % sub_vectors:
                raise ValueError(
                    f"{sub_vectors} sub-vectors need infonce and a width that they share evenly, "
                    f"not {kernel} and {width}"
                )
            self.maps = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in ("text", "ids"))

    def forward(self, text: Tensor, ids: Tensor) -> Tensor:
        """`[n, width]` each, row i of both being item i's -> scalar.

        0 for fewer than two items, which make no clouds.
        """
        if len(text) < 2:
            return (text.sum() + ids.sum()) * 0.0
        if self.mmd is not None:
            return self.mmd(text, ids)
        sides = (text.float(), ids.float())
        if self.maps:
            sides = tuple(
                through(side).unflatten(1, (self.sub_vectors, -1))
                for through, side in zip(self.maps, sides)
            )
        return info_nce(*sides, self.temperature, self.symmetric)
