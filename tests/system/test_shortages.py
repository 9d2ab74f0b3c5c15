"""A lack of memory is told apart from the faults of a model, in whatever words it is reported."""

from __future__ import annotations

import errno

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.system.shortages import lacks_memory
from tests.support.cases import each_as_subtest

SHORTAGES = {
    "python": MemoryError(),
    "a system call": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "no descriptor": OSError(errno.EMFILE, "Too many open files"),
    "the linker": ImportError("libtorch_cpu.so: failed to map segment: Cannot allocate memory"),
    "torch": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 67108864 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "CUDA": RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    "C++": RuntimeError("std::bad_alloc"),
    "threads": RuntimeError("can't start new thread"),
}


@each_as_subtest("error", SHORTAGES.values(), ids=SHORTAGES)
def test_a_lack_of_memory_is_recognized(error):
    assert lacks_memory(error)
    wrapped = ModelLoadError("program.pt is not a TorchScript program")
    wrapped.__cause__ = error
    assert lacks_memory(wrapped)


FAULTS = {
    "the load check": ModelLoadError("feature_dim = 512 in model.conf, but it returned (1, 12)"),
    "a missing file": FileNotFoundError(errno.ENOENT, "No such file or directory"),
    "the program": RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
}


@each_as_subtest("error", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_model_is_not_a_lack_of_memory(error):
    assert not lacks_memory(error)
