"""The command line: `euclidesdb serve`, `models`, `model ...`, `verify`, `demo`, `demo-text`.

With only the client installed it still prints its help, and names the extra that a command needs.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Final

from euclidesdb_server.config.paths import given_path
from euclidesdb_server.errors import ConfigError

DEFAULT_ADDRESS: Final = "127.0.0.1:50000"

COMMANDS: Final = {
    "serve": ("euclidesdb_server.commands.serve", "server"),
    "models": ("euclidesdb_server.commands.models", "server"),
    "model check": ("euclidesdb_server.commands.model_check", "server"),
    "model compare": ("euclidesdb_server.commands.model_compare", "server"),
    "model drop": ("euclidesdb_server.commands.model_serving", "server"),
    "model export": ("euclidesdb_server.commands.export", "export"),
    "model load": ("euclidesdb_server.commands.model_serving", "server"),
    "model reload": ("euclidesdb_server.commands.model_serving", "server"),
    "model unload": ("euclidesdb_server.commands.model_serving", "server"),
    "verify": ("euclidesdb_server.commands.verify", "server"),
    "demo": ("euclidesdb_server.commands.demo", "demo"),
    "demo-text": ("euclidesdb_server.commands.demo_text", "export"),
}
"""For each command, the module whose `run(options)` implements it, and the extra it needs."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0 for success, 1 for an error, 2 for wrong usage."""
    if arguments is None:
        _ensure_utf8()
    options = _parser().parse_args(arguments)
    command = f"model {options.action}" if options.command == "model" else options.command
    module, extra = COMMANDS[command]
    try:
        code: int = import_module(module).run(options)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("euclidesdb"):
            raise
        print(
            f"euclidesdb {command} needs {error.name!r}: pip install 'euclidesdb[{extra}]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, `head` for example, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _path(text: str) -> Path:
    try:
        return given_path(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _ensure_utf8() -> None:
    """Start again in Python's UTF-8 mode if the locale has another encoding.

    Configurations and names of models are UTF-8: a path or a name that the locale cannot encode
    could be neither opened nor printed.
    """
    if sys.getfilesystemencoding() != "utf-8" and "utf8" not in sys._xoptions:
        os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
        command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, command)  # noqa: S606  our own command line
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may have bytes of any encoding
        sys.stdout.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="euclidesdb",
        description="A machine-learning feature database: it embeds your items with your PyTorch "
        "models and finds the nearest neighbors.",
    )
    version = metadata.version("euclidesdb")
    parser.add_argument("--version", action="version", version=f"euclidesdb {version}")
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument("-c", "--config", type=_path, help="a configuration file")
    serve.add_argument(
        "--address", help=f"host, host:port or unix:path (default {DEFAULT_ADDRESS})"
    )
    serve.add_argument("--data", type=_path, help="the data folder (default: in your home folder)")
    serve.add_argument(
        "--models", type=_path, help="the models folder (default: the shipped models)"
    )
    serve.add_argument("--strict", action="store_true", help="exit if a model cannot be served")

    models = commands.add_parser("models", help="list the models of a running server")
    models.add_argument("--address", default=DEFAULT_ADDRESS, help="default %(default)s")

    _add_model_commands(
        commands.add_parser("model", help="check, compare, export, load, drop models")
    )

    verify = commands.add_parser(
        "verify", help="check all data in a folder that no server is using"
    )
    verify.add_argument("-c", "--config", type=_path, help="the server's configuration file")
    verify.add_argument("--data", type=_path, help="the data folder (default: in your home folder)")
    verify.add_argument(
        "--repair",
        action="store_true",
        help="set aside what cannot be read and repair the rest; the old store is kept",
    )

    demo = commands.add_parser("demo", help="add, search and remove real handwritten digits")
    demo.add_argument(
        "--output",
        type=_path,
        default=Path("demo.png"),
        help="the PNG file to write (default %(default)s)",
    )
    demo.add_argument("--items", type=int, default=1500, help="100 to 1500 (default %(default)s)")
    demo.add_argument(
        "--keep-data", type=_path, metavar="FOLDER", help="keep the database in this folder"
    )
    commands.add_parser("demo-text", help="search real sentences by meaning")
    return parser


def _add_model_commands(model: argparse.ArgumentParser) -> None:
    actions = model.add_subparsers(dest="action", required=True)

    check = actions.add_parser(
        "check", help="load a model folder as the server does, and measure its speed"
    )
    check.add_argument("folder", type=_path)
    check.add_argument("--device", help="cpu, cuda:0, ... (default: that in model.conf)")
    check.add_argument(
        "--threads", type=int, default=0, help="default: those in model.conf, or all cores"
    )

    compare = actions.add_parser("compare", help="compare the vectors of two model folders")
    compare.add_argument("first", type=_path, metavar="A")
    compare.add_argument("second", type=_path, metavar="B")
    compare.add_argument(
        "--items", type=_path, required=True, metavar="DIR",
        help="images, .npy arrays, or text files with one item per line",
    )  # fmt: skip
    compare.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="relative to a vector's largest value (default %(default)s)",
    )

    export = actions.add_parser("export", help="make a model folder from a published model")
    export.add_argument(
        "source", help="a transformers checkpoint (folder or hub name), torchvision:NAME, timm:NAME"
    )
    export.add_argument("folder", type=_path, help="the model folder to make")
    export.add_argument("--name", help="the model's name (default: the folder's)")
    export.add_argument(
        "--format", choices=("pt2", "torchscript"), default="pt2", help="default %(default)s"
    )
    export.add_argument(
        "--tower", choices=("image", "text"), help="the tower to export, for a model with both"
    )
    export.add_argument("--pooling", choices=("mean", "cls"), help="for a text encoder")
    export.add_argument(
        "--random", action="store_true", help="use random weights, for measurements"
    )
    export.add_argument("--seed", type=int, default=0, help="for the random weights")

    for action, takes, does in (
        ("load", "FOLDER", "serve a folder of the models folder, as a new model or a new version"),
        ("reload", "NAME", "load a model's folder again"),
        ("unload", "NAME", "stop serving a model; its items stay"),
        ("drop", "NAME@FINGERPRINT", "delete a superseded version; its items stay"),
    ):
        change = actions.add_parser(action, help=f"on a running server, {does}")
        change.add_argument("name", metavar=takes)
        change.add_argument("--address", default=DEFAULT_ADDRESS, help="default %(default)s")


if __name__ == "__main__":
    sys.exit(main())
