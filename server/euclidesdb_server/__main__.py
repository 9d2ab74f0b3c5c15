"""The command line: `euclidesdb serve`, `models`, `model ...`, `verify`, `demo`.

Installed with the client alone, it can still print its help, and names the extra that a
command needs.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Final

DEFAULT_ADDRESS: Final = "127.0.0.1:50000"

COMMANDS: Final = {
    "serve": ("euclidesdb_server.commands.serve", "server"),
    "models": ("euclidesdb_server.commands.models", "server"),
    "model check": ("euclidesdb_server.commands.model_check", "server"),
    "model compare": ("euclidesdb_server.commands.model_compare", "server"),
    "model export": ("euclidesdb_server.commands.export", "export"),
    "model load": ("euclidesdb_server.commands.model_serving", "server"),
    "model reload": ("euclidesdb_server.commands.model_serving", "server"),
    "model unload": ("euclidesdb_server.commands.model_serving", "server"),
    "verify": ("euclidesdb_server.commands.verify", "server"),
    "demo": ("euclidesdb_server.commands.demo", "demo"),
    "demo-text": ("euclidesdb_server.commands.demo_text", "export"),
}
"""Of each command: the module whose `run(options)` does it, and the extra that it needs."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 well, 1 an error, 2 a wrong usage."""
    options = _parser().parse_args(arguments)
    command = f"model {options.action}" if options.command == "model" else options.command
    module, extra = COMMANDS[command]
    try:
        code: int = import_module(module).run(options)
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
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="euclidesdb",
        description="A machine-learning feature database: your items and your PyTorch models in, "
        "nearest neighbors out.",
    )
    version = metadata.version("euclidesdb")
    parser.add_argument("--version", action="version", version=f"euclidesdb {version}")
    commands = parser.add_subparsers(dest="command", required=True)

    serve = commands.add_parser("serve", help="run the server")
    serve.add_argument("-c", "--config", type=Path, help="an EuclidesDB configuration file")
    serve.add_argument("--address", help=f"host:port to listen on (default {DEFAULT_ADDRESS})")
    serve.add_argument("--data", type=Path, help="the data folder (default: one in your home)")
    serve.add_argument("--models", type=Path, help="the models folder (default: those shipped)")
    serve.add_argument("--strict", action="store_true", help="fail if a model cannot be served")

    models = commands.add_parser("models", help="list the models of a running server")
    models.add_argument("--address", default=DEFAULT_ADDRESS, help="default %(default)s")

    _add_model_commands(commands.add_parser("model", help="check, compare, export, load models"))

    verify = commands.add_parser(
        "verify", help="read all of a data folder that no server has open, and say what is wrong"
    )
    verify.add_argument("-c", "--config", type=Path, help="the server's configuration file")
    verify.add_argument("--data", type=Path, help="the data folder (default: one in your home)")
    verify.add_argument(
        "--repair",
        action="store_true",
        help="put what cannot be read aside, and the rest right; the old store is kept",
    )

    demo = commands.add_parser("demo", help="run the main job on real handwritten digits")
    demo.add_argument(
        "--output", type=Path, default=Path("demo.png"), help="the picture (default %(default)s)"
    )
    demo.add_argument("--items", type=int, default=1500, help="100 to 1500 (default %(default)s)")
    demo.add_argument(
        "--keep-data", type=Path, metavar="FOLDER", help="leave the database here afterwards"
    )
    commands.add_parser("demo-text", help="search real sentences by what they mean")
    return parser


def _add_model_commands(model: argparse.ArgumentParser) -> None:
    actions = model.add_subparsers(dest="action", required=True)

    check = actions.add_parser("check", help="load a model folder as the server does; how fast?")
    check.add_argument("folder", type=Path)
    check.add_argument("--device", help="cpu, cuda:0, ... (default: as model.conf says)")
    check.add_argument("--threads", type=int, default=0, help="default: as model.conf says, or all")

    compare = actions.add_parser("compare", help="do two model folders give the same vectors?")
    compare.add_argument("first", type=Path, metavar="A")
    compare.add_argument("second", type=Path, metavar="B")
    compare.add_argument(
        "--items", type=Path, required=True, metavar="DIR",
        help="images, .npy arrays, or text files with an item a line",
    )  # fmt: skip
    compare.add_argument(
        "--tolerance", type=float, default=1e-3, help="of a vector's largest value (%(default)s)"
    )

    export = actions.add_parser("export", help="make a model folder of a published model")
    export.add_argument(
        "source", help="a transformers checkpoint (folder or hub name), torchvision:NAME, timm:NAME"
    )
    export.add_argument("folder", type=Path, help="the model folder to make")
    export.add_argument("--name", help="the model's name (default: the folder's)")
    export.add_argument(
        "--format", choices=("pt2", "torchscript"), default="pt2", help="default %(default)s"
    )
    export.add_argument("--tower", choices=("image", "text"), help="of a model that has both")
    export.add_argument("--pooling", choices=("mean", "cls"), help="of a text encoder")
    export.add_argument("--random", action="store_true", help="random weights, for measurements")
    export.add_argument("--seed", type=int, default=0, help="of the random weights")

    for action, takes, does in (
        ("load", "FOLDER", "serve a folder of the models folder, new or in place of what it was"),
        ("reload", "NAME", "load a model's folder again"),
        ("unload", "NAME", "stop serving a model; its items stay"),
    ):
        change = actions.add_parser(action, help=f"{does} (a running server)")
        change.add_argument("name", metavar=takes)
        change.add_argument("--address", default=DEFAULT_ADDRESS, help="default %(default)s")


if __name__ == "__main__":
    sys.exit(main())
