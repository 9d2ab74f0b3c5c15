"""The load check: whether a program does what its model.conf declares. It is also the warm-up.

Two inputs embedded together must equal the same inputs embedded one by one, shapes must be those
of model.conf, and values must be finite. That finds a wrong feature_dim, a softmax over the batch,
dropout left on.
"""

from __future__ import annotations

from typing import Final

import torch

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.program import BadOutput, Module, Outputs, Program

RELATIVE_TOLERANCE: Final = 1e-3
ABSOLUTE_TOLERANCE: Final = 1e-4
"""As a share of the largest value: in a batch, sums are computed in another order."""

HALF_TOLERANCE: Final = 100.0
"""The factor on both tolerances for arithmetic with 8 or 11 bits of precision instead of 24."""


CONSTANT_TOLERANCE: Final = 1e-6
CONSTANT: Final = (
    "its features are the same for two different inputs: if they do not depend on the item, a "
    "search returns any items"
)


def check_program(program: Program, *, batches: bool) -> str:
    """Run the load check. batches: the program takes more than one item at once.

    Returns a warning about a program that can be served all the same, or an empty string. Raises
    ModelLoadError.
    """
    separate, pair = _first_accepted(program)
    for name, values in zip(Outputs._fields, separate, strict=True):
        if not torch.isfinite(values).all():
            raise ModelLoadError(f"the program's {name} are not finite (NaN or infinity)")
    repeated = _run_separately(program, pair)
    _compare(program, separate, repeated, "change from one run to the next: is it in eval mode?")
    first, second = separate.features
    scale = float(separate.features.abs().max())
    is_constant = torch.allclose(first, second, rtol=0, atol=CONSTANT_TOLERANCE * scale)
    warning = CONSTANT if is_constant else ""
    if not batches:
        return warning
    try:
        together = program.forward(pair)
    except Exception as error:  # foreign code
        raise ModelLoadError(
            f"the program takes one item but not two together ({_short(error)}); export it "
            "with a free batch dimension, or set [model] max_batch_size = 1"
        ) from error
    _compare(
        program,
        separate,
        together,
        "of an item change when another shares its batch (a softmax over dim 0, perhaps); correct "
        "the program, or set [model] max_batch_size = 1",
    )
    return warning


def keeps_outputs(program: Program, module: Module, *, batches: bool) -> bool:
    """Whether `module` has the outputs of the program's module, on samples, within tolerance.

    If so, it replaces that module.
    """
    separate, pair = _first_accepted(program)
    before = program.module
    program.module = module
    try:
        # more than once: TorchScript compiles anew for shapes that it has seen before
        for _ in range(3):
            _compare(program, separate, _run_separately(program, pair), "change")
            if batches:
                _compare(program, separate, program.forward(pair), "change")
    except Exception:  # foreign code, or an optimizer that does not support it
        program.module = before
        return False
    return True


def _first_accepted(program: Program) -> tuple[Outputs, list[torch.Tensor]]:
    """The outputs for the first pair of samples that the program takes, run one by one."""
    try:
        pair = program.sample()
        return _run_separately(program, pair), pair
    except BadOutput as error:
        raise ModelLoadError(f"the program does not match model.conf: {error}") from error
    except Exception as error:  # foreign code
        raise ModelLoadError(
            f"the program fails on sample inputs ({_short(error)}); does [model] declare what it "
            "takes (input, image_size, image_mode, input_shape)?"
        ) from error


def _run_separately(program: Program, pair: list[torch.Tensor]) -> Outputs:
    outputs = [program.forward([item]) for item in pair]
    return Outputs(*(torch.cat(values) for values in zip(*outputs, strict=True)))


def _compare(program: Program, expected: Outputs, actual: Outputs, complaint: str) -> None:
    factor = 1.0 if program.dtype == torch.float32 else HALF_TOLERANCE
    for name, left, right in zip(Outputs._fields, expected, actual, strict=True):
        scale = float(left.abs().max()) if left.numel() else 0.0
        if not torch.allclose(
            left, right, rtol=RELATIVE_TOLERANCE * factor, atol=ABSOLUTE_TOLERANCE * factor * scale
        ):
            largest = float((left - right).abs().max())
            raise ModelLoadError(f"the program's {name} {complaint} (by up to {largest:.3g})")


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
