"""Model folders that hold only a model.conf: spaces of ready-made vectors."""

from __future__ import annotations

from pathlib import Path


def save_vector_space(
    folder: Path, name: str = "given", *, feature_dim: int = 3, more: str = ""
) -> Path:
    """Write `folder/name/model.conf`; `more` adds keys and sections. Returns the folder."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    head = f"[model]\nname = {name}\ninput = vector\nfeature_dim = {feature_dim}\n"
    (target / "model.conf").write_text(head + more)
    return target
