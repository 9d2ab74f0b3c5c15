"""The load check: whether a program does as its model.conf says. It is also the warm-up."""

from __future__ import annotations

from typing import Final

import torch

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.worker.program import BadOutput, Module, Program, Row

RELATIVE_TOLERANCE: Final = 1e-3
ABSOLUTE_TOLERANCE: Final = 1e-4
"""Of the largest value: sums come out in another order in a batch than alone."""

HALF_TOLERANCE: Final = 100.0
"""So many times further apart may be what is computed with 8 or 11 bits instead of 24."""


def check_program(program: Program, *, batches: bool) -> None:
    """Run the load check, which is also the warm-up. Raises ModelLoadError.

    Two inputs embedded together must equal the two apart, shapes must be model.conf's and
    values finite. That finds a wrong feature_dim, a softmax over the batch, dropout left on.
    """
    apart, pair = _first_accepted(program)
    for name, values in zip(("predictions", "features"), apart, strict=True):
        if not torch.isfinite(values).all():
            raise ModelLoadError(f"the program's {name} are not finite (NaN or infinity)")
    again = _apart(program, pair)
    _compare(program, apart, again, "change from one run to the next: is it in eval mode?")
    if not batches:
        return
    try:
        together = program.forward(pair)
    except Exception as error:  # foreign code
        raise ModelLoadError(
            f"the program takes one item but not two together ({_short(error)}); export it "
            "with a free batch dimension, or set [model] max_batch_size = 1"
        ) from error
    _compare(
        program,
        apart,
        together,
        "of an item change when another shares its batch (a softmax over dim 0, perhaps); mend "
        "the program, or set [model] max_batch_size = 1",
    )


def _first_accepted(program: Program) -> tuple[Row, list[torch.Tensor]]:
    try:
        pair = program.sample()
        return _apart(program, pair), pair
    except BadOutput as error:
        raise ModelLoadError(f"the program does not do as model.conf says: {error}") from error
    except Exception as error:  # foreign code
        raise ModelLoadError(
            f"the program fails on sample inputs ({_short(error)}); does [model] say what it "
            "takes (input, image_size, image_mode, input_shape)?"
        ) from error


def _apart(program: Program, pair: list[torch.Tensor]) -> Row:
    rows = [program.forward([item]) for item in pair]
    return torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])


def keeps_outputs(program: Program, module: Module, *, batches: bool) -> bool:
    """Whether `module` gives what the program gives, on samples, within tolerance.

    It runs in the program's place from then on, if so.
    """
    apart, pair = _first_accepted(program)
    before = program.module
    program.module = module
    try:
        # more than once: TorchScript compiles anew for what it met before
        for _ in range(3):
            _compare(program, apart, _apart(program, pair), "change")
            if batches:
                _compare(program, apart, program.forward(pair), "change")
    except Exception:  # foreign code, or an optimizer that cannot do it
        program.module = before
        return False
    return True


def _compare(program: Program, expected: Row, got: Row, complaint: str) -> None:
    wider = 1.0 if program.dtype == torch.float32 else HALF_TOLERANCE
    for name, left, right in zip(("predictions", "features"), expected, got, strict=True):
        scale = float(left.abs().max()) if left.numel() else 0.0
        if not torch.allclose(
            left, right, rtol=RELATIVE_TOLERANCE * wider, atol=ABSOLUTE_TOLERANCE * wider * scale
        ):
            most = float((left - right).abs().max())
            raise ModelLoadError(f"the program's {name} {complaint} (by up to {most:.3g})")


def _short(error: Exception | None) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
