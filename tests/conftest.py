"""Fixtures shared by all tests, the selection of slow and long ones, and slow ones first."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.models import save_model

TESTS = Path(__file__).parent

# A shell lets what it starts in the background ignore Ctrl-C, and nohup a hangup; and so would what
# the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

SLOW = (
    # These start servers, workers or other processes, which takes seconds each.
    "backup",
    "builder",
    "client/test_searches_without_models.py",
    "client/typing",
    "commands",
    "contract",
    "database/test_database_searches.py",
    "database/test_database_writes.py",
    "database/test_default_models.py",
    "database/test_database_payloads.py",
    "database/test_database_repeats.py",
    "database/test_model_lifecycle.py",
    "database/test_model_table.py",
    "database/test_version_drops.py",
    "demo/test_digits.py",
    "demo/test_text_tour.py",
    "demo/test_tour.py",
    "export",
    "inference/test_changed_files.py",
    "inference/test_isolation.py",
    "inference/test_model_registry.py",
    "inference/test_ready_made_vectors.py",
    "inference/test_resnet18_export.py",
    "inference/test_served_workers.py",
    "inference/test_server_imports.py",
    "inference/test_shared_workers.py",
    "inference/test_shipped_digits.py",
    "inference/test_unusable_engines.py",
    "inference/test_vector_spaces_served.py",
    "project/test_documentation.py",
    "project/test_examples.py",
    "project/test_wheel.py",
    "rpc/test_add_item_stream.py",
    "rpc/test_backup_call.py",
    "rpc/test_abandoned_searches.py",
    "rpc/test_departed_callers.py",
    "rpc/test_embedding_jobs.py",
    "rpc/test_embedding_states.py",
    "rpc/test_every_engine.py",
    "rpc/test_http2_attacks.py",
    "rpc/test_http2_stream_attacks.py",
    "rpc/test_item_transfers.py",
    "rpc/test_legacy_service.py",
    "rpc/test_lost_replies.py",
    "rpc/test_model_changes.py",
    "rpc/test_model_outages.py",
    "rpc/test_model_versions.py",
    "rpc/test_odd_items.py",
    "rpc/test_parsed_size.py",
    "rpc/test_reply_sizes.py",
    "rpc/test_rewrite_memory.py",
    "rpc/test_search_options.py",
    "rpc/test_shutdown_call.py",
    "rpc/test_streams.py",
    "rpc/test_transfers_of_versions.py",
    "rpc/test_transports.py",
    "rpc/test_v1_requests.py",
    "rpc/test_waiting_calls.py",
    # These repeat a random history, or compute a lot.
    "database/test_database_concurrency.py",
    "database/test_database_recovery.py",
    "engines/test_contract.py",
    "engines/test_faiss.py",
    "engines/test_masked_recall.py",
    "engines/test_scan.py",
    "engines/test_trials.py",
    "index/test_single_searches.py",
    "proofs",
    "store/test_checkpoint.py",
    "store/test_formats.py",
    "worker/test_exported_programs.py",
    "worker/test_input_classes.py",
)
"""Folders and modules whose tests are all marked `slow`. Single tests carry the marker."""


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one model, `tiny`: images of any size, 12 features, 3 predictions."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder)
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tests too (an hour)")
    parser.addoption(
        "--docker", action="store_true", help="run those that need a Docker engine too"
    )


def pytest_configure() -> None:
    missing = [name for name in SLOW if not (TESTS / name).exists()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py lists slow tests that do not exist: {missing}")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [TESTS / name for name in SLOW]
    for item in items:
        if any(item.path.is_relative_to(path) for path in slow):
            item.add_marker(pytest.mark.slow)
    for marker in ("long", "docker"):
        if not config.getoption(f"--{marker}"):
            left_out = [item for item in items if item.get_closest_marker(marker)]
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
    # what the last test process runs while the others are idle is short
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
