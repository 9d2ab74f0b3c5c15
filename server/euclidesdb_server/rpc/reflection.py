"""Reflection: clients such as grpcurl ask for the services on this port and their messages.

The answers are made by the package grpcio-reflection, which knows the version v1alpha. Version v1
has the same messages under other names. Only the files of the given services are shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

from euclidesdb_server.database.requests import Call
from euclidesdb_server.rpc.methods import Method, methods_of

ALPHA: Final = "reflection.v1alpha"
V1: Final = "reflection.v1"
_ALPHA_SERVICE: Final[ServiceDescriptor] = reflection_pb2.DESCRIPTOR.services_by_name[
    "ServerReflection"
]


class _ReflectionService:
    """The service of the package, as one of ours."""

    def __init__(self, names: Sequence[str], pool: DescriptorPool) -> None:
        self._servicer = aio.ReflectionServicer(names, pool=pool)

    def is_quick(self, request: Any) -> bool:  # noqa: ARG002
        """As `Service.is_quick`."""
        return False

    def ServerReflectionInfo(self, requests: Any, call: Call) -> Any:  # noqa: N802
        """An answer to each request."""
        return self._servicer.ServerReflectionInfo(requests, call)


def reflection_methods(services: Iterable[ServiceDescriptor]) -> list[Method]:
    """The methods by which clients find `services`, and these methods themselves."""
    shown = [*services, _ALPHA_SERVICE]
    files = {name: proto for each in shown for name, proto in _files_of(each.file)}
    v1 = _renamed(files[_ALPHA_SERVICE.file.name])
    files[v1.name] = v1
    pool = DescriptorPool()
    for proto in files.values():  # each after those that it imports
        pool.AddSerializedFile(proto.SerializeToString())
    names = [each.full_name for each in shown]
    service = _ReflectionService([*names, _ALPHA_SERVICE.full_name.replace(ALPHA, V1)], pool)
    methods = [*methods_of(_ALPHA_SERVICE, service)]
    return [
        *methods,
        *(dataclasses.replace(each, path=each.path.replace(ALPHA, V1)) for each in methods),
    ]


def _files_of(file: FileDescriptor) -> Iterator[tuple[str, FileDescriptorProto]]:
    """A file and those that it imports, which come first."""
    for imported in file.dependencies:
        yield from _files_of(imported)
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    yield file.name, proto


def _renamed(alpha: FileDescriptorProto) -> FileDescriptorProto:
    """The file of version v1."""
    text = json_format.MessageToJson(alpha).replace(ALPHA, V1).replace("v1alpha", "v1")
    return json_format.Parse(text, FileDescriptorProto())
