"""The details of neighbors as messages of the v1 API."""

from __future__ import annotations

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.results import NeighborDetails
from euclidesdb_server.rpc import payloads
from euclidesdb_server.rpc.arrays import float32_array
from euclidesdb_server.rpc.v1_fields import value_message


def details_message(details: NeighborDetails) -> pb.NeighborDetails:
    """What was requested of one neighbor."""
    message = pb.NeighborDetails(
        labels=[
            pb.LabelProbability(label=each.label, probability=each.probability)
            for each in details.labels
        ]
    )
    if details.payload is not None:
        message.payload.CopyFrom(payloads.message_of(details.payload))
    if details.vector is not None:
        message.vector.CopyFrom(float32_array(details.vector))
    if details.predictions is not None:
        message.predictions.CopyFrom(float32_array(details.predictions))
    if details.group is not None:
        message.group.CopyFrom(value_message(details.group))
    return message
