"""The configuration that a command line selects."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from euclidesdb_server.config.server import Config

SHIPPED_MODELS: Final = "digits"


def shipped_models() -> Path:
    """The folder of the models that come with the package."""
    return Path(str(resources.files("euclidesdb_models")))


def configuration(
    file: Path | None,
    *,
    address: str | None = None,
    data: Path | None = None,
    models: Path | None = None,
) -> Config:
    """The configuration in `file`, or the default one, with the values given here.

    Raises ConfigError.
    """
    # Imported late: this takes a while, in which `serve` would not react to signals.
    import platformdirs  # noqa: PLC0415

    from euclidesdb_server.config import server as config  # noqa: PLC0415
    from euclidesdb_server.engines.registry import engine_names  # noqa: PLC0415

    if file is not None:
        settings = config.load_config(file.resolve(), engine_names())
    else:
        home = Path(platformdirs.user_data_dir("euclidesdb", appauthor=False))
        settings = config.default_config(models=shipped_models(), names=SHIPPED_MODELS, data=home)
    return config.override(settings, address=address, data=data, models=models)
