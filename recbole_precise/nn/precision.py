"""Which arithmetic is fast on the machine at hand."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch

PRECISIONS = ("auto", "float32", "bf16")


@functools.cache
def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 products (AVX512-BF16, AMX or Arm's BF16).

    Elsewhere they are emulated and slow.
    """
    if platform.system() != "Linux":
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """Return the type that autocast computes in on `device_type`, None where it is off.

    torch 2.2 and later.
    """
    if hasattr(torch, "get_autocast_dtype"):
        return (
            torch.get_autocast_dtype(device_type)
            if torch.is_autocast_enabled(device_type)
            else None
        )
    if device_type == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def product_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Type of the factors in the loss's matrix products; None leaves it to autocast.

    `auto` is bfloat16 on a CPU that multiplies it (five times float32's speed where this was
    measured, sums stay float32) and autocast's choice elsewhere.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"loss_precision must be one of {PRECISIONS}, not {precision!r}")
    if precision == "auto":
        return torch.bfloat16 if device.type == "cpu" and cpu_multiplies_bf16() else None
    return torch.bfloat16 if precision == "bf16" else torch.float32
