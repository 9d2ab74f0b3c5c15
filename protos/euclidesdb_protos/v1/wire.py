"""Constants of the v1 API that both sides share and the .proto file cannot express.

Deployed clients and servers depend on every value here: values may be added, never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from euclidesdb_protos.v1 import database_pb2 as pb

REASON_KEY: Final = "euclidesdb-reason"
"""The key in the trailing metadata under which a failed call carries its error's reason."""

DTYPES: Final[Mapping[pb.DataType, str]] = {
    pb.DATA_TYPE_FLOAT32: "<f4",
    pb.DATA_TYPE_FLOAT64: "<f8",
    pb.DATA_TYPE_FLOAT16: "<f2",
    pb.DATA_TYPE_INT8: "i1",
    pb.DATA_TYPE_INT16: "<i2",
    pb.DATA_TYPE_INT32: "<i4",
    pb.DATA_TYPE_INT64: "<i8",
    pb.DATA_TYPE_UINT8: "u1",
    pb.DATA_TYPE_BOOL: "?",
}
"""The NumPy dtype string of each type of array."""
