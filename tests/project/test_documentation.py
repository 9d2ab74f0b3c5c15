"""The documentation is complete and true: everything is described, samples run, links resolve."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from euclidesdb._filter_text import MAX_CHARACTERS
from euclidesdb._filters import filter_message
from euclidesdb_protos.legacy import euclidesproto_pb2
from euclidesdb_protos.v1 import database_pb2
from euclidesdb_server.commands.command_line import command_line
from euclidesdb_server.config.server import SECTIONS, load_config
from euclidesdb_server.engines.registry import create_engine, engine_names
from euclidesdb_server.errors import DatabaseError, StartupError
from euclidesdb_server.inference.input_kinds import ImageConf
from euclidesdb_server.inference.model_folder import CONF_CLASSES, read_model_folder
from euclidesdb_server.rpc.v1_fields import MAX_NAME_CHARACTERS
from euclidesdb_server.rpc.v1_filters import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES
from tests.support.cases import each_as_subtest
from tests.support.images import noise
from tests.support.servers import start_server

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "server" / "euclidesdb_server"
README = ROOT / "README.md"
API = ROOT / "docs" / "api.md"
CLIENT = ROOT / "docs" / "client.md"
COMMANDS = ROOT / "docs" / "commands.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
FILTERS = ROOT / "docs" / "filters.md"
MODELS = ROOT / "docs" / "models.md"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("models/*/README.md")),
    ROOT / "protos" / "README.md",
    SERVER / "store" / "FORMAT.md",
]
MAX_README_LINES = 130

LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def documented_keys(page: Path) -> set[str]:
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return {key for row in rows for key in re.findall(r"`([a-z_]+)`", row.rsplit("|", 3)[0])}


def in_code_style(page: Path) -> set[str]:
    """Every word that the page sets in code style."""
    spans = re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8"))
    return {word for span in spans for word in re.findall(r"\w+", span)}


def headings(page: Path) -> list[str]:
    return HEADING.findall(re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S))


def anchor(heading: str) -> str:
    """The name that GitHub and the site give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def subclasses(kind: type[DatabaseError]) -> set[type[DatabaseError]]:
    return {kind}.union(*map(subclasses, kind.__subclasses__()))


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, those in groups as "model check"."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        elif command is not None:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize("kind", SECTIONS.values(), ids=lambda kind: kind.__name__)
def test_every_key_of_the_configuration_is_documented(kind):
    assert {field.name for field in dataclasses.fields(kind)} <= documented_keys(CONFIGURATION)


@pytest.mark.parametrize("name", engine_names())
def test_every_option_of_an_engine_is_documented(name):
    engine: Any = create_engine(name, {}, file=None)
    keys = {field.name for field in dataclasses.fields(engine.Options)}
    assert keys <= documented_keys(CONFIGURATION)


@pytest.mark.parametrize("kind", CONF_CLASSES.values(), ids=lambda kind: kind.__name__)
def test_every_key_of_a_model_conf_is_documented(kind):
    assert {field.name for field in dataclasses.fields(kind)} <= documented_keys(MODELS)


@each_as_subtest(
    "method",
    list(database_pb2.DESCRIPTOR.services_by_name["FeatureDatabase"].methods),
    ids=lambda method: method.name,
)
def test_every_rpc_is_documented_with_its_fields(method):
    text = API.read_text(encoding="utf-8")
    _, _, after = text.partition(f"\n### {method.name}\n")
    assert after, f"{API} has no section {method.name}"
    section = re.split(r"^##", after, maxsplit=1, flags=re.MULTILINE)[0]
    words = {word for span in re.findall(r"`([^`\n]+)`", section) for word in span.split(".")}
    assert {field.name for field in method.input_type.fields} <= words


def test_every_rpc_of_euclidesdb_is_documented():
    methods = euclidesproto_pb2.DESCRIPTOR.services_by_name["Similar"].methods
    assert {method.name for method in methods} <= in_code_style(API)


def test_every_error_reason_is_documented():
    sent = subclasses(DatabaseError) - subclasses(StartupError)
    assert {kind.reason for kind in sent} <= documented_keys(API)


@each_as_subtest(("name", "command"), list(commands(command_line())), ids=str)
def test_every_command_is_documented_with_its_options(name, command):
    text = COMMANDS.read_text(encoding="utf-8")
    common, _, _ = text.partition("\n## ")
    _, _, after = text.partition(f"\n### {name}\n")
    assert after, f"{COMMANDS} has no section {name}"
    section = re.split(r"^##", after, maxsplit=1, flags=re.MULTILINE)[0]
    spans = re.findall(r"`([^`\n]+)`|^    (euclidesdb .*)$", section, re.MULTILINE)
    written = {word for pair in spans for span in pair for word in span.split()}
    if name not in COMMANDS_OF_SERVERS:
        written |= set(re.findall(r"`(--[a-z-]+)", common))
    options = {each for option in command.params for each in option.opts if each[0] == "-"}
    assert options - {"--help"} <= written


COMMANDS_OF_SERVERS = ("serve",)
"""Their --address is that to listen on."""


def test_the_sample_configuration_is_valid(tmp_path):
    (sample,) = code_blocks(CONFIGURATION, "ini")
    file = tmp_path / "euclidesdb.conf"
    file.write_text(sample)
    config = load_config(file, engine_names())
    assert config.server.search_engine == "faiss"
    assert config.database.db_path == tmp_path / "data"


@pytest.mark.parametrize("page", [README, MODELS], ids=lambda page: page.name)
def test_the_sample_model_conf_has_only_existing_keys(page):
    sample = code_blocks(page, "ini")[0]
    parser = configparser.ConfigParser()
    parser.read_string(sample)
    assert set(parser["model"]) <= {field.name for field in dataclasses.fields(ImageConf)}


def test_the_sample_space_of_vectors_is_valid(tmp_path):
    _, sample = code_blocks(MODELS, "ini")
    (tmp_path / "model.conf").write_text(sample)
    folder = read_model_folder(tmp_path)
    assert (folder.conf.name, folder.conf.feature_dim) == ("products", 384)
    assert (folder.engine.name, folder.engine.build_options["index_type"]) == ("faiss", "HNSW32")


@pytest.fixture(scope="module")
def run_sample(tmp_path_factory):
    """Runs a Python sample against a server of `digits`, in a folder with two images."""
    folder = tmp_path_factory.mktemp("samples")
    for name in ("shoe.png", "boot.png"):
        noise(0, size=8, mode="L").save(folder / name)
    with (
        start_server(folder / "data", ROOT / "models", models_config={"names": "digits"}) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(folder)
        yield lambda sample: exec(sample.replace("localhost:50000", server.address), {})


def test_the_sample_in_the_readme_runs(run_sample, capsys):
    (sample,) = code_blocks(README, "python")
    run_sample(sample)
    assert capsys.readouterr().out == "sku-1 0.0 {'brand': 'acme'}\n"


def test_the_samples_of_the_client_run(run_sample, capsys):
    single, asynchronous, stored_items, many, states, stream = code_blocks(CLIENT, "python")
    run_sample(single)
    neighbor, stored = capsys.readouterr().out.splitlines()
    assert neighbor == "sku-1 0.0"
    assert stored.startswith("{'brand': 'acme'} ")
    run_sample(asynchronous)
    assert "sku-1" in capsys.readouterr().out.splitlines()
    run_sample(stored_items)
    changed, exists, item, missing, dry_run, removed = capsys.readouterr().out.splitlines()
    assert (changed, exists, item) == ("{'brand': 'acme'}", "True", "sku-1 {'brand': 'acme'}")
    assert missing == "('sku-2', 'sku-3')"
    assert dry_run == "Removal(removed=1, missing=('sku-2', 'sku-3'), refused=())"
    assert removed == "1"
    run_sample(many)
    refused, *answers = capsys.readouterr().out.splitlines()
    assert refused == "missing.png not_sent [Errno 2] No such file or directory: 'missing.png'"
    assert [answer.split(",")[0] for answer in answers] == [f"('v{row}'" for row in range(100)]
    run_sample(states)
    failed, state, counts = capsys.readouterr().out.splitlines()
    assert failed == "0"
    assert state.startswith("(ItemState(model='digits', ")
    assert counts.split()[1] == "done"
    run_sample(stream)
    assert capsys.readouterr().out.splitlines() == [
        "0 shoe.png is on disk",
        "1 boot.png is on disk",
        "2 missing.png not_sent",
    ]


def test_the_sample_of_the_api_runs(run_sample, capsys):
    for item in ("sku-1", "sku-2"):
        run_sample(
            "import euclidesdb\n"
            "with euclidesdb.Client('localhost:50000') as db:\n"
            f"    db.add({item!r}, image='shoe.png', models=['digits'])\n"
        )
    (sample,) = code_blocks(API, "python")
    run_sample(sample)
    assert "digits sku-2 0.0" in capsys.readouterr().out.splitlines()


def test_each_filter_of_the_tables_means_the_same_as_a_dict_and_as_a_text():
    text = FILTERS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\{.+?\})` \| `(.+?)` \|", text, re.MULTILINE)
    assert len(rows) == 20
    for as_dict, as_text in rows:
        assert filter_message(ast.literal_eval(as_dict)) == filter_message(as_text), as_text


def test_the_limits_of_filters_are_those_of_the_server():
    _, _, limits = FILTERS.read_text(encoding="utf-8").partition("\n## Limits\n")
    for limit in (MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, MAX_NAME_CHARACTERS, MAX_CHARACTERS):
        assert f"{limit:,}" in limits


@each_as_subtest("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page):
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for target in filter(None, (found[1] or found[2] for found in LINK.finditer(text))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f"{page} links to {target}"
        if fragment:
            assert fragment in map(anchor, headings(linked)), f"{page} links to {target}"


@each_as_subtest("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`([\w./]+/[\w./]+\.(?:py|proto|md|conf|c|toml|txt|yaml))`", text)
    bases = [ROOT, SERVER, page.parent]
    invented = (
        "/etc/",
        "models/shoes/",
        "engines/NAME",
        "commands/NAME",
        "inference/input_kinds/audio.",
        "worker/inputs/audio.",
    )
    missing = [
        name
        for name in named
        if not name.startswith(invented) and not any((base / name).is_file() for base in bases)
    ]
    assert not missing


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    command += ["-d", tmp_path / "doctrees", "-c", "docs", ".", tmp_path / "site"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    for page in ("index.html", "README.html", "docs/internals/architecture.html"):
        assert (tmp_path / "site" / page).is_file()
