"""Connect the processes that train one model together, by torch.distributed alone.

With one process every call is a plain value.

What a clock, a file or a floating-point sum decides is decided in process 0 and sent to all, so
that no two of them ever take different turns. Numbers of a step go through the group that RecBole's
launch made (NCCL on GPUs); Python values go through a gloo group of their own, which needs no GPU
memory.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from recbole_precise.errors import UserError

_Value = TypeVar("_Value")
#: One process may read texts or save weights for hours while the others wait; one that dies is
#: noticed at once all the same.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """The position of this process among those of the run.

    Attributes:
        rank: 0 .. count - 1, over all machines; 0 writes the files.
        count: how many there are.
        device: where tensors that are exchanged must be.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def joined(cls, device: torch.device) -> Processes:
        """Those of the process group that this process has joined.

        Args:
            device: of this process.
        """
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Return whether this is process 0."""
        return self.rank == 0

    def agree(self, value: _Value) -> _Value:
        """Process 0's value, in every process."""
        if self.count == 1:
            return value
        box: list[Any] = [value if self.first else None]
        distributed.broadcast_object_list(box, 0, group=_values(distributed.group.WORLD))
        return box[0]

    def first_does(self, work: Callable[[], _Value]) -> _Value:
        """Return what `work()` gives in process 0 alone, in every process.

        A UserError there is one everywhere.
        """
        if self.count == 1:
            return work()
        outcome: Any = None
        if self.first:
            try:
                outcome = (work(), None)
            except UserError as error:
                outcome = (None, error)
        value, fault = self.agree(outcome)
        if fault is not None:
            raise fault
        return value

    def gather(self, value: _Value) -> list[_Value]:
        """Return the values of all processes in the order of their ranks, in every process."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value, group=_values(distributed.group.WORLD))
        return values

    def total(self, counts: np.ndarray) -> np.ndarray:
        """Sum over the processes of an int64 array, exactly."""
        if self.count == 1:
            return counts
        tensor = torch.from_numpy(counts).to(self.device)
        distributed.all_reduce(tensor)
        return tensor.cpu().numpy()

    def mean(self, losses: Any) -> Any:
        """Mean over the processes of a loss, or of each part of a tuple of them.

        None stays None.
        """
        if self.count == 1 or losses is None:
            return losses
        parts = losses if isinstance(losses, tuple) else (losses,)
        # Added in the order of the ranks: the same bits in every process and in every repetition.
        means = tuple(sum(values) / self.count for values in zip(*self.gather(parts)))
        return means if isinstance(losses, tuple) else means[0]

    def join(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return a model as all processes train it together, with the weights of process 0.

        Each process built it with a seed of its own. On GPUs, batch normalisation is over the
        batches of all.
        """
        if self.count == 1:
            return model
        if device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.share([*model.parameters(), *model.buffers()])
        return model

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Put process 0's values into the tensors of all, given in the same order everywhere."""
        if self.count == 1:
            return
        for tensor in tensors:
            if tensor.is_sparse or not tensor.numel():
                continue
            received = tensor.detach().contiguous().clone().reshape(-1)
            distributed.broadcast(
                received.view(torch.uint8), 0
            )  # as bytes: backends differ in the types that they know
            if not self.first:
                tensor.copy_(
                    received.view_as(tensor)
                )  # not in place of the copy: who caches by version must see the change


@functools.lru_cache(maxsize=1)
def _values(world: Any) -> Any:
    """Return a gloo group over all processes of `world`, for Python values."""
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)


def leave() -> None:
    """Leave the process group, if there is one."""
    if distributed.is_available() and distributed.is_initialized():
        _values.cache_clear()
        distributed.destroy_process_group()


class _Call(nn.Module):
    """A model whose forward is any function of it.

    DistributedDataParallel averages gradients of its own forward alone.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[[Any], Any], batch: Any) -> Any:
        return function(batch)


def averaged(model: nn.Module, processes: Processes) -> Callable[[Any, Any], Any]:
    """Return `call(loss_function, batch)`: the loss function of `model`.

    Its gradients are averaged over the processes by `backward`.

    It holds for the parameters that are trained now: another phase needs another one.
    """
    if processes.count == 1:
        return lambda function, batch: function(batch)
    # Which parameters a step leaves out is not known beforehand: PRECISE's head has no part in
    # universal training, experts are chosen by the batch, and RecBole's models keep unused layers.
    # Looking for them costs a walk over the graph, and leaves the gradient of a parameter that no
    # process used at None, as in one process. Buffers are shared once an epoch (`share`), not at
    # every step: tables of token ids are among them.
    parallel: Any = nn.parallel.DistributedDataParallel
    buffers = (
        "forward_sync_buffers"
        if "forward_sync_buffers" in inspect.signature(parallel.__init__).parameters
        else "broadcast_buffers"
    )  # torch 2.12's name
    return parallel(_Call(model), find_unused_parameters=True, **{buffers: False})


class RareQuestion:
    """A question that process 0 answers about the clock.

    It is asked seldom enough that asking costs nothing beside the steps between.

    After a yes it asks after 1, 2, 4, ... steps, and every `longest` steps at last. In one process
    it asks each time.
    """

    def __init__(self, processes: Processes, longest: int = 32) -> None:
        self._processes = processes
        self._longest = longest
        self._gap = self._left = 1

    def ask(self, answer: Callable[[], bool]) -> bool:
        """Process 0's answer, the same in all; no without asking while it is too early.

        Every process must call this once a step.
        """
        if self._processes.count == 1:
            return answer()
        self._left -= 1
        if self._left:
            return False
        said = self._processes.agree(self._processes.first and answer())
        self._gap = 1 if said else min(2 * self._gap, self._longest)
        self._left = self._gap
        return said


#: A process that works by itself.
ALONE = Processes()
