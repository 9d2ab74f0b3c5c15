"""torch's tensors, as NumPy takes them.

torch is never imported: a tensor exists only if it is loaded.
"""

from __future__ import annotations

import sys
from typing import Any


def is_tensor(value: object) -> bool:
    """Whether `value` is a torch tensor."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def widened(value: Any) -> Any:
    """`value`, with bfloat16 as float32, which has all of its values: NumPy has no bfloat16.

    value: anything; a tensor or a list of tensors may change.
    """
    if is_tensor(value):
        return value.float() if str(value.dtype) == "torch.bfloat16" else value
    if isinstance(value, list | tuple) and any(map(is_tensor, value)):
        return [widened(part) for part in value]
    return value
