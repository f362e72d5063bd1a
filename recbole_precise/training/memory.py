"""Memory that a training on a CPU frees and asks for again a moment later."""

from __future__ import annotations

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # parameters of glibc's mallopt (malloc.h)
_AHEAD = 64 * 2**20  # bytes asked of the system at a time


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next allocation.

    Returns whether the C library can.

    By default glibc gives every large block back to the system, and the system hands it out again
    page by page, filled with zeros: a transformer's step of a few thousand rows then spends as long
        on new pages as on arithmetic. Results do
    not change. The peak can be higher, by a quarter for RecBole's SASRec on MovieLens-100k, because
    holes between kept blocks are not given back.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, _AHEAD)])
