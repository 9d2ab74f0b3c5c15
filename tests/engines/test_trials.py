"""Engines and their options are tried in a child process before anything depends on them."""

from __future__ import annotations

import os

import pytest

from euclidesdb_server.engines import trials as trials_module
from euclidesdb_server.engines.annoy import AnnoyEngine, AnnoyOptions
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.engines.exact_disk import ExactDiskEngine
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.engines.faiss_build import smaller
from euclidesdb_server.engines.trials import COMMAND, Case, EngineTrials
from tests.builder.bad_engines import BadEngine, BadOptions, python_path
from tests.support.cases import each_as_subtest
from tests.support.disk_faults import DiskFaults


def faiss(index_type, **options):
    return FaissEngine(FaissOptions(index_type=index_type, **options))


def annoy(**options):
    return AnnoyEngine(AnnoyOptions(**options))


def refusal(engine, dim=32):
    return EngineTrials().refusals([Case(engine, dim)])[0]


def refusals(engines, dim=32):
    """Of each; those that crash no process share one."""
    return EngineTrials().refusals([Case(engine, dim) for engine in engines])


class CountedTrials(EngineTrials):
    """Notes how many processes were started."""

    def __init__(self, folder, *command):
        self._log = folder / "starts"
        # a shell that notes its start and becomes the child
        script = f'echo >> "{self._log}"; exec "$@"'
        super().__init__(["/bin/sh", "-c", script, "sh", *(command or COMMAND)])

    @property
    def starts(self):
        return len(self._log.read_bytes()) if self._log.exists() else 0


def test_what_can_never_work_is_refused_with_section_key_value_and_reason(subtests):
    reasons = [
        (faiss("HNSW0"), "killed by signal 6 (SIGABRT)"),
        (faiss("HNSW1"), "killed by signal 11 (SIGSEGV)"),
        (faiss("RR0,Flat"), "killed by signal 11 (SIGSEGV)"),
        (faiss("PQ8x0"), "invalid ProductQuantizer nbits=0"),
        (faiss("IVF0,Flat"), "'cur_nprobe > 0' failed"),
        (faiss("IVF16(PQ4),Flat"), "Number of training points (16) should be at least"),
        (faiss("HNSW1000000"), "bad_alloc"),
        (faiss("HNSW99999999999999999999"), "stoi"),
        (faiss("PQ7"), "should be a multiple of the number of subquantizers"),
        (faiss("Nonsense"), "could not parse index string"),
        (faiss("IDMap,Flat"), "IDMap is not supported"),
        (annoy(trees=1 << 40), "greater than maximum"),
    ]
    messages = refusals([engine for engine, _ in reasons])
    for (engine, reason), message in zip(reasons, messages, strict=True):
        value = getattr(engine.options, "index_type", None)
        named = f"[annoy] trees = {1 << 40}" if value is None else f"[faiss] index_type = {value!r}"
        with subtests.test(named):
            assert message.startswith(f"{named} cannot be used")
            assert reason in message


def test_search_parameters_are_tried_too(subtests):
    names = [
        (faiss("HNSW16", ef_search=1 << 40), f"index_type = 'HNSW16', ef_search = {1 << 40}"),
        (faiss("HNSW16", ef_search=(1 << 31) - 1), "ef_search = 2147483647"),
        (faiss("IVF16,Flat", nprobe=1 << 70), f"nprobe = {1 << 70}"),
        (annoy(search_k=1 << 40), f"[annoy] search_k = {1 << 40}"),
    ]
    messages = refusals([engine for engine, _ in names])
    for (_, named), message in zip(names, messages, strict=True):
        with subtests.test(named):
            assert f"{named} cannot be used for vectors of 32: " in message


@each_as_subtest("engine", [faiss("NSG0"), annoy(trees=1_000_000)])
def test_a_trial_that_never_ends_is_ended(engine, monkeypatch):
    monkeypatch.setattr(trials_module, "PROCESSOR_SECONDS", 1)
    assert "it took more than 1 s of processor time" in refusal(engine)


def test_a_trial_that_waits_for_ever_is_ended(monkeypatch):
    monkeypatch.setattr(trials_module, "TIMEOUT", 1)
    monkeypatch.setenv("PYTHONPATH", python_path())
    assert "it did not end within 1 s" in refusal(BadEngine(BadOptions(how="hangs")))


def test_what_works_with_enough_rows_is_not_refused(subtests):
    cases = [
        Case(faiss("Flat"), 1),
        Case(faiss("HNSW32"), 128),
        Case(faiss("HNSW32", metric="cosine", ef_search=500, rerank=1 << 40), 128),
        Case(faiss("HNSW16_SQ8"), 32),
        Case(faiss("NSG32"), 32),
        Case(faiss("IVF256,Flat", nprobe=100_000), 64),
        Case(faiss("IVF1000000000,Flat"), 64),
        Case(faiss("IVF65536_HNSW32,PQ32"), 768),
        Case(faiss("IVF65536(PQ4x10),Flat"), 32),
        Case(faiss("IVF4096(IVF256,Flat),Flat"), 32),
        Case(faiss("IMI2x14,PQ16"), 32),
        Case(faiss("OPQ16,IVF1024,PQ16"), 128),
        Case(faiss("OPQ64,IVF4096,PQ64"), 1024),  # 512 rows would be too few for it
        Case(faiss("PCA256,IVF4096,SQ8,RFlat"), 2048),
        Case(faiss("PQ16x12"), 32),
        Case(faiss("PQ32x4fs,RFlat", metric="inner_product"), 64),
        Case(faiss("RQ8x8"), 32),
        Case(faiss("LSQ4x8"), 32),
        Case(faiss("PRQ2x4x8"), 32),
        Case(faiss("IVF16,RaBitQ"), 32),
        Case(faiss("ITQ64,LSH"), 128),
        Case(faiss("L2norm,Flat"), 32),
        Case(annoy(), 2048),
        Case(annoy(trees=2000), 128),
        Case(annoy(metric="l2", search_k=1_000_000), 8),
    ]
    for case, message in zip(cases, EngineTrials().refusals(cases), strict=True):
        with subtests.test(case.key):
            assert message is None


@pytest.mark.parametrize(
    ("index_type", "tried"),
    [
        ("IVF65536_HNSW32,PQ32x12", "IVF16_HNSW32,PQ32x10"),
        ("IVF4096(PQ4x12),Flat", "IVF1100(PQ4x10),Flat"),
        ("IVF8,PQ8x4fs", "IVF8,PQ8x4fs"),
        ("IMI2x14,PQ16", "IMI2x4,PQ16"),
        ("PRQ2x16x12", "PRQ2x16x10"),
        ("PQ8x0", "PQ8x0"),
        ("HNSW32", "HNSW32"),
    ],
)
def test_a_trial_has_fewer_lists_and_bits(index_type, tried):
    assert smaller(index_type) == tried


def test_engines_that_build_nothing_are_not_tried(tmp_path):
    trials = CountedTrials(tmp_path)
    assert trials.refusals([Case(ExactEngine(), 3), Case(ExactDiskEngine(), 3)]) == [None, None]
    assert trials.starts == 0


def test_a_case_is_tried_once_and_several_share_a_process(tmp_path):
    trials = CountedTrials(tmp_path)
    cases = [Case(faiss("HNSW8"), 8), Case(faiss("PQ3"), 8), Case(annoy(), 8)]
    first = trials.refusals([*cases, Case(faiss("HNSW8"), 8)])
    assert [reason is None for reason in first] == [True, False, True, True]
    assert trials.starts == 1
    assert trials.refusals(cases) == first[:3]
    assert trials.starts == 1
    trials.refusals([Case(faiss("HNSW8"), 9), Case(faiss("HNSW8", nprobe=3), 8)])
    assert trials.starts == 2


def test_a_crash_ends_no_other_trial(tmp_path):
    trials = CountedTrials(tmp_path)
    cases = [Case(faiss(index_type), 8) for index_type in ("HNSW8", "HNSW0", "SQ8", "HNSW1", "PQ3")]
    outcomes = [reason is None for reason in trials.refusals(cases)]
    assert outcomes == [True, False, True, False, False]
    assert trials.starts == 3


def test_an_engine_of_another_package_is_tried(monkeypatch, subtests):
    monkeypatch.setenv("PYTHONPATH", python_path())
    ways = ["aborts", "raises", "leaves the process", "cannot load", "ignores masks"]
    works, *messages = refusals([BadEngine(), *(BadEngine(BadOptions(how=how)) for how in ways)])
    assert works is None
    for how, message in zip(ways, messages, strict=True):
        with subtests.test(how):
            assert message.startswith(
                f"[bad] how = {how!r} cannot be used for vectors of 32: a trial build"
            )


def test_what_could_not_be_tried_is_not_refused_and_tried_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PYTHONPATH", python_path())
    assert EngineTrials(["/nonexistent"]).refusals([Case(faiss("HNSW0"), 8)]) == [None]
    assert "search engines could not be tried" in caplog.text
    caplog.clear()
    trials = CountedTrials(tmp_path)
    for starts in (1, 2):  # as the kernel does where memory runs out
        assert trials.refusals([Case(BadEngine(BadOptions(how="is killed")), 8)]) == [None]
        assert trials.starts == starts
    message = (
        "[bad] how = 'is killed' for vectors of 8 could not be tried: it was killed by signal 9"
    )
    assert caplog.text.count(message) == 2


@pytest.mark.parametrize(
    ("index_type", "growth"),
    [
        ("HNSW8", 4.0),
        *(pytest.param(each, 1.0, marks=pytest.mark.long) for each in ("HNSW8", "PCA4,SQ8")),
    ],
)
def test_a_full_disk_at_any_step_refuses_nothing(tmp_path, monkeypatch, caplog, index_type, growth):
    faults = DiskFaults(tmp_path / "disk", tmp_path / "control")
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "disk"))
    monkeypatch.setattr("tempfile.tempdir", None)
    step = 0
    while step < 100:
        step = max(step + 1, int(step * growth))
        caplog.clear()
        faults.fill(step)
        assert EngineTrials().refusals([Case(faiss(index_type), 8)]) == [None]
        faults.make_room()
        if not caplog.records:
            break
        assert f"index_type = '{index_type}' for vectors of 8 could not be tried" in caplog.text
    assert step > 1, "no call of the child was seen"
    faults.close()


def test_a_trial_that_fills_the_disk_is_ended(monkeypatch):
    monkeypatch.setattr(trials_module, "FILE_MIB", 1)
    assert "it wrote a file of more than 1 MiB" in refusal(annoy(trees=2000), 128)


def test_trials_leave_no_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    EngineTrials().refusals([Case(faiss("SQ8"), 8), Case(faiss("HNSW0"), 8)])
    assert os.listdir(tmp_path) == []  # noqa: PTH208  # the simplest
