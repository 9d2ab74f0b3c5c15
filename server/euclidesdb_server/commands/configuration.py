"""The configuration that a command line selects."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from euclidesdb_server.errors import ConfigError

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
    allow_anonymous: bool = False,
) -> Config:
    """The configuration in `file`, or the default one, with the values given here.

    Raises ConfigError.
    """
    # Imported late: this takes a while, in which `serve` would not react to signals.
    from euclidesdb_server.config import server as config  # noqa: PLC0415
    from euclidesdb_server.config.paths import resolved  # noqa: PLC0415
    from euclidesdb_server.engines.registry import engine_names  # noqa: PLC0415

    if file is not None:
        settings = config.load_config(resolved(file), engine_names())
    else:
        folder = _data_in_home() if data is None else data
        settings = config.default_config(models=shipped_models(), names=SHIPPED_MODELS, data=folder)
    return config.override(
        settings, address=address, data=data, models=models, allow_anonymous=allow_anonymous
    )


def _data_in_home() -> Path:
    """The data folder of a server without a configuration. Raises ConfigError."""
    import platformdirs  # noqa: PLC0415  for this alone

    try:
        folder = Path(platformdirs.user_data_dir("euclidesdb", appauthor=False))
    except RuntimeError:  # there is no home folder
        folder = Path()
    if not folder.is_absolute():
        raise ConfigError(
            "the home folder, and with it the data folder in it, is unknown: give --data, or set "
            "HOME"
        )
    return folder
