"""Nested Python values as JSON plus tensors, and back, exactly.

No pickle, and nothing is run when a file is read.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import sparse

from recbole_precise.errors import CheckpointError

_MARKS = (
    "__tensor__",
    "__numpy__",
    "__sparse__",
    "__tuple__",
    "__pairs__",
    "__float__",
    "__bytes__",
)


def pack(value: Any, tensors: dict[str, torch.Tensor], path: str = "") -> Any:
    """Pack `value` as plain JSON and tensors.

    Tensors go into `tensors` under their paths (`optimizer/state/0/exp_avg`).

    Dictionaries (of any plain keys), lists, tuples, numbers, text, bytes, tensors, numeric arrays
    and SciPy's sparse matrices are kept; NumPy's numbers become Python's. Anything else is a
    CheckpointError that names its path.
    """
    if isinstance(value, torch.Tensor):
        return {"__tensor__": _put(value.detach(), tensors, path)}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"__numpy__": _put(torch.from_numpy(np.ascontiguousarray(value)), tensors, path)}
    if sparse.issparse(value):
        rows = value.tocsr()
        arrays = {name: getattr(rows, name) for name in ("data", "indices", "indptr")}
        return {"__sparse__": [value.format, list(value.shape), pack(arrays, tensors, path)]}
    if isinstance(value, np.generic):
        return pack(value.item(), tensors, path)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        # json writes repr(x), which reads back to the same bits; what is not finite has no JSON.
        return value if math.isfinite(value) else {"__float__": repr(value)}
    if isinstance(value, bytes):
        return {"__bytes__": value.hex()}
    if isinstance(value, Mapping):
        keys = list(value)
        if all(isinstance(key, str) for key in keys) and not any(key in _MARKS for key in keys):
            return {
                key: pack(value[key], tensors, f"{path}/{key}" if path else key) for key in keys
            }
        return {
            "__pairs__": [
                [pack(key, tensors, path), pack(value[key], tensors, f"{path}/{key}")]
                for key in keys
            ]
        }
    if isinstance(value, (list, tuple)):
        items = [pack(item, tensors, f"{path}/{index}") for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"__tuple__": items}
    raise CheckpointError(
        f"'{path}' is a {type(value).__name__}, which cannot be saved without pickle."
    )


def unpack(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Restore the value that `pack` was given."""
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((mark, content),) = value.items()
        if mark == "__tensor__":
            return tensors[content]
        if mark == "__numpy__":
            return tensors[content].numpy()
        if mark == "__sparse__":
            kind, shape, arrays = content
            arrays = unpack(arrays, tensors)
            matrix = sparse.csr_matrix(
                (arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape
            )
            matrix.check_format(full_check=True)  # SciPy would read beyond arrays by wrong indices
            return matrix.asformat(kind)
        if mark == "__tuple__":
            return tuple(unpack(item, tensors) for item in content)
        if mark == "__pairs__":
            return {unpack(key, tensors): unpack(item, tensors) for key, item in content}
        if mark == "__float__":
            return float(content)
        if mark == "__bytes__":
            return bytes.fromhex(content)
    return {key: unpack(item, tensors) for key, item in value.items()}


def _put(tensor: torch.Tensor, tensors: dict[str, torch.Tensor], path: str) -> str:
    name = path
    number = 1
    while name in tensors:
        number += 1
        name = f"{path}#{number}"
    tensors[name] = tensor
    return name


def rng_state(generators: Mapping[str, torch.Generator | None] | None = None) -> dict[str, Any]:
    """Return the state of every source of randomness.

    torch's (CPU and CUDA), NumPy's and Python's global ones, and `generators`.
    """
    legacy: dict[str, Any] = np.random.get_state(legacy=False)
    version, numbers, gauss_next = random.getstate()
    return {
        "torch": _hex(torch.get_rng_state()),
        "cuda": [_hex(state) for state in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_available()
        else [],
        "numpy": {
            "name": legacy["bit_generator"],
            "keys": legacy["state"]["key"].tobytes().hex(),
            "position": legacy["state"]["pos"],
            "has_gauss": legacy["has_gauss"],
            "gauss": legacy["gauss"],
        },
        "python": {
            "version": version,
            "numbers": np.asarray(numbers, dtype=np.uint32).tobytes().hex(),
            "gauss": gauss_next,
        },
        "generators": {
            key: _hex(generator.get_state())
            for key, generator in (generators or {}).items()
            if generator is not None
        },
    }


def set_rng_state(
    state: Mapping[str, Any], generators: Mapping[str, torch.Generator | None] | None = None
) -> None:
    """Put every source of randomness back to where `rng_state` found it.

    A GPU more or fewer than then is left alone.
    """
    torch.set_rng_state(_tensor(state["torch"]))
    if torch.cuda.is_available():
        for device, cuda_state in zip(range(torch.cuda.device_count()), state["cuda"]):
            torch.cuda.set_rng_state(_tensor(cuda_state), device)
    legacy = state["numpy"]
    keys = np.frombuffer(bytes.fromhex(legacy["keys"]), dtype=np.uint32)
    np.random.set_state(
        (legacy["name"], keys, legacy["position"], legacy["has_gauss"], legacy["gauss"])
    )
    python = state["python"]
    numbers = np.frombuffer(bytes.fromhex(python["numbers"]), dtype=np.uint32).tolist()
    random.setstate((python["version"], tuple(numbers), python["gauss"]))
    for key, generator in (generators or {}).items():
        if generator is not None and key in state["generators"]:
            generator.set_state(_tensor(state["generators"][key]))


def generator_state(generator: torch.Generator | None) -> str | None:
    """One generator's state as text, for JSON."""
    return None if generator is None else _hex(generator.get_state())


def set_generator_state(generator: torch.Generator | None, state: str | None) -> None:
    """Undo `generator_state`."""
    if generator is not None and state is not None:
        generator.set_state(_tensor(state))


def _hex(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _tensor(state: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(state), dtype=torch.uint8)
