"""The keys of the store: LevelDB's order is ours, and FORMAT.md lists every kind."""

from __future__ import annotations

import re
from pathlib import Path

import euclidesdb_server.store
from euclidesdb_server.store import keys
from euclidesdb_server.store.format_version import FORMAT_VERSION
from tests.support.cases import each_as_subtest

FORMAT = Path(euclidesdb_server.store.__file__).with_name("FORMAT.md").read_text("utf-8")
KINDS = {name: value for name, value in vars(keys).items() if re.fullmatch("[A-Z_]+", name)}
ONE_BYTE = {
    name: value for name, value in KINDS.items() if isinstance(value, bytes) and value[1:] == b""
}


def test_every_kind_of_key_stands_in_the_format_description():
    rows = re.findall(r"^\| `([0-9a-f]{2})` \|", FORMAT, re.MULTILINE)
    assert len(ONE_BYTE) >= 9
    assert sorted(rows) == sorted(kind.hex() for kind in ONE_BYTE.values())


def test_no_two_kinds_share_a_byte():
    assert len(set(ONE_BYTE.values())) == len(ONE_BYTE)


def test_the_kind_bytes_of_format_2_never_change():
    assert FORMAT_VERSION == 2
    assert {name: value.hex() for name, value in ONE_BYTE.items()} == {
        "DATABASE": "01",
        "LABELS_RESERVED": "02",
        "SPACE": "03",
        "ITEM": "04",
        "LABEL": "05",
        "VECTOR": "06",
        "PREDICTIONS": "07",
        "TOMBSTONE": "08",
        "PAYLOAD": "09",
        "SEGMENTS": "0a",
        "DELETED_ROWS": "0b",
        "DROPPED_SPACE": "0c",
        "COLUMNS": "0d",
        "FAILURE": "0e",
        "REQUESTS": "0f",
        "JOB": "10",
    }


def test_keys_are_a_kind_byte_and_big_endian_numbers():
    assert keys.space_key(258).hex() == "03" + "00000102"
    assert keys.label_key(258).hex() == "05" + "0000000000000102"
    assert keys.payload_key(258).hex() == "09" + "0000000000000102"
    assert keys.row_key(keys.VECTOR, 3, 258).hex() == "06" + "00000003" + "0000000000000102"
    assert keys.item_key("é") == b"\x04\xc3\xa9"


@each_as_subtest("label", [0, 1, 255, 256, (1 << 32) + 1, keys.MAX_LABEL])
def test_what_a_key_is_made_from_is_read_back(label):
    assert keys.label_of(keys.row_key(keys.TOMBSTONE, 7, label)) == label
    assert keys.unpack_label(keys.pack_label(label)) == label
    assert keys.space_of(keys.space_key(7)) == 7


def test_keys_sort_by_space_and_then_by_label():
    numbers = [(space, label) for space in (1, 2, 255, 256) for label in (0, 1, 255, 256, 1 << 40)]
    made = [keys.row_key(keys.VECTOR, *pair) for pair in numbers]
    assert made == sorted(made)
