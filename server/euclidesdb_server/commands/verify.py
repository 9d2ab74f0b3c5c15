"""`euclidesdb verify`: checks everything in the data folder of a stopped server, and can repair it.

A repair writes a new store with all records that are valid, and puts it in place of the old one,
which is kept in `damaged-<time>` together with the records that could not be kept. Segments that
cannot be used are deleted: the server rebuilds them. Records are read one by one, twice: the memory
needed does not depend on the size of payloads.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import closing, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, Final

from euclidesdb_server.commands.configuration import configuration
from euclidesdb_server.commands.printing import print_json
from euclidesdb_server.errors import DataFolderError, StartupError, StorageError, disk_error
from euclidesdb_server.index.verify import StoredSpace, check_segments, read_spaces
from euclidesdb_server.store.format_version import FORMAT_VERSION, check_version
from euclidesdb_server.store.layout import SEGMENTS_FOLDER, STORE_FOLDER
from euclidesdb_server.store.leveldb_folder import REPAIRED
from euclidesdb_server.store.parsed_records import StoreReport
from euclidesdb_server.store.records import RecordScan, StoreInUse, repaired_copy, write_records
from euclidesdb_server.store.repair import Repair, write_discarded
from euclidesdb_server.store.verify import check_store
from euclidesdb_server.system.allocator import give_large_blocks_back
from euclidesdb_server.system.fsync import sync

COPY: Final = "copy"
"""In the backup folder: a copy of a store that cannot be opened, while it is repaired."""


def run(*, config: Path | None, data: Path | None, repair: bool, as_json: bool = False) -> int:
    """Verify; returns 0 if there is no problem or it has been repaired, otherwise 1.

    as_json: print an object, and everything else on standard error.
    """
    if not as_json:
        return _run({}, config=config, data=data, repair=repair)
    result: dict[str, Any] = {}
    with redirect_stdout(sys.stderr):
        code = _run(result, config=config, data=data, repair=repair)
    if result:
        print_json({**result, "healthy": not result["problems"]})
    return code


def _run(result: dict[str, Any], *, config: Path | None, data: Path | None, repair: bool) -> int:
    """result: receives what is printed as JSON."""
    give_large_blocks_back()
    try:
        database = configuration(config, data=data).database
        if not database.db_path.is_dir():
            raise DataFolderError(f"there is no data folder {database.db_path}")
        return _verify(database.db_path, result, repair=repair)
    except OSError as error:
        print(f"euclidesdb: {disk_error(error, 'verifying')}", file=sys.stderr)
    except (StartupError, StorageError) as error:
        print(f"euclidesdb: {error}", file=sys.stderr)
    return 1


def _verify(folder: Path, result: dict[str, Any], *, repair: bool) -> int:
    store = folder / STORE_FOLDER
    if repair:
        _finish_earlier_repair(store)
    backup = folder / time.strftime("damaged-%Y%m%dT%H%M%S")
    findings: list[str] = []
    records = _open_store(store, findings, backup if repair else None)
    if records is None:
        _report(folder, StoreReport(), findings, result)
        return 1
    with closing(records):
        report = _check_store(records, read_spaces(folder / SEGMENTS_FOLDER), findings)
        store_is_damaged = bool(findings)
        unusable = _report(folder, report, findings, result)
        if not repair:
            return 1 if findings else 0
        if store_is_damaged:
            if report.format_version is None:
                raise DataFolderError(
                    f"{store} has no record of its format, so it is left unchanged"
                )
            _write_repaired(records, report.repair, store.with_name(REPAIRED), backup)
    if store_is_damaged:
        _exchange(store, backup)
        result["backup"] = str(backup)
        print(
            "the store has been repaired; the old one, and the records that could not be kept, "
            f"are in {backup}"
        )
    for path in unusable:
        shutil.rmtree(path, ignore_errors=True)
    if unusable:
        print(f"deleted {len(unusable)} segments: the server rebuilds them")
    return 0


def _open_store(store: Path, findings: list[str], backup: Path | None) -> RecordScan | None:
    """The store; if it cannot be opened, what LevelDB recovers from a copy.

    findings: receives why it cannot be opened. backup: the folder in which the copy may be made;
    None: nothing may be written, so None is returned.
    """
    try:
        return RecordScan.open(store)
    except StoreInUse:
        raise
    except DataFolderError as error:
        if not store.is_dir():
            raise
        findings.append(str(error))
        if backup is None:
            print("the store cannot be read; --repair tries to recover it from a copy")
            return None
        return repaired_copy(store, backup / COPY)


def _check_store(
    records: RecordScan, spaces: Mapping[int, list[Any]], findings: list[str]
) -> StoreReport:
    """Check the store; adds what is wrong to `findings`. spaces: as known from the segments."""
    report = check_store(records, spaces)
    check_version(records.folder, report.format_version or FORMAT_VERSION)
    findings += records.damage
    if report.format_version is None:
        findings.append(
            f"{records.folder} has no record of its format: another program may have made it"
        )
    findings += report.findings
    return report


def _stored_spaces(report: StoreReport) -> dict[int, StoredSpace]:
    """What the store knows of the spaces that have segments."""
    return {
        number: StoredSpace(
            segments,
            report.live_labels.get(number, {}),
            report.deleted_labels.get(number, set()),
            {
                generation: chunks
                for (space, generation), chunks in report.deleted_rows.items()
                if space == number
            },
        )
        for number, segments in report.segments.items()
        if number not in report.dropped_spaces
    }


def _report(
    folder: Path, report: StoreReport, findings: list[str], result: dict[str, Any]
) -> list[Path]:
    """Check the segments and print all findings; returns the segments that cannot be used."""
    segments = [*check_segments(folder / SEGMENTS_FOLDER, _stored_spaces(report))]
    findings += [f"{path}: {reason}" for path, reason in segments]
    for finding in findings:
        print(finding)
    vectors = sum(map(len, report.live_labels.values()))
    result |= {
        "items": report.items,
        "vectors": vectors,
        "spaces": len(report.live_labels),
        "problems": findings,
        "backup": None,
    }
    print(
        f"{report.items:,} items with {vectors:,} vectors in {len(report.live_labels)} spaces: "
        + (f"{len(findings)} problems" if findings else "all is well")
    )
    return [path for path, _ in segments]


def _write_repaired(records: RecordScan, repair: Repair, repaired: Path, backup: Path) -> None:
    """Write the repaired store, and the records that could not be kept to `backup`."""
    shutil.rmtree(repaired, ignore_errors=True)
    backup.mkdir(exist_ok=True)
    discarded = backup / "records.jsonl"
    try:
        with discarded.open("w", encoding="utf-8") as stream:
            write_records(repaired, repair.applied_to(records, partial(write_discarded, stream)))
        sync(discarded)
    except BaseException:
        shutil.rmtree(repaired, ignore_errors=True)
        raise


def _exchange(store: Path, backup: Path) -> None:
    """Put the repaired store in place of the old one, which moves to `backup`."""
    shutil.rmtree(backup / COPY, ignore_errors=True)
    # Between these two renames a server refuses to start, and the next repair continues here.
    store.rename(backup / STORE_FOLDER)
    sync(backup)
    store.with_name(REPAIRED).rename(store)
    sync(store.parent)


def _finish_earlier_repair(store: Path) -> None:
    repaired = store.with_name(REPAIRED)
    if repaired.is_dir() and not store.exists():
        repaired.rename(store)
        sync(store.parent)
        print("finished an earlier repair that was interrupted")
