"""Randomness of an evaluation: none is taken from training, and all of it follows from the seed.

Training draws from the global generators of torch, NumPy and Python. An evaluation may draw from
the same ones: RecBole samples candidates, its transforms mask and crop sequences, and a model may
sample while it predicts. `own_draws` gives the generators back as it found them, and `seed_block`
makes the draws of a block of rows a function of the run's seed and of the block's number, so that
every evaluation of a split meets the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_draws(*generators: torch.Generator | None) -> Iterator[None]:
    """Restore every source of randomness at the end.

    These are the global generators of torch (CPU, CUDA, MPS), NumPy and Python, and `generators`.

    Args:
        generators: further ones, such as those of loaders; None is skipped.
    """
    kept = [generator for generator in generators if generator is not None]
    states = [generator.get_state() for generator in kept]
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state()
    # A device that nothing has used yet has no state to lose, and asking for it would start it.
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
        for generator, state in zip(kept, states):
            generator.set_state(state)


def seed_block(seed: int, number: int) -> None:
    """Seed every global generator for block `number` of an evaluation; only inside `own_draws`."""
    sequence = np.random.SeedSequence([int(seed) & 0xFFFFFFFFFFFFFFFF, number])
    drawn = int(sequence.generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    # Not torch.manual_seed: before CUDA is started it would leave a seed behind for later.
    torch.default_generator.manual_seed(drawn)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(drawn)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(drawn)
