"""The constants that deployed clients and servers depend on have not changed."""

from euclidesdb_protos.v1 import wire


def test_the_key_of_an_errors_reason_has_not_changed():
    assert wire.REASON_KEY == "euclidesdb-reason"


def test_the_types_of_arrays_have_not_changed():
    assert wire.DTYPES == {
        1: "<f4",
        2: "<f8",
        3: "<f2",
        4: "i1",
        5: "<i2",
        6: "<i4",
        7: "<i8",
        8: "u1",
        9: "?",
    }
