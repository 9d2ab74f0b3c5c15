"""Reflection, by both transports: what tools such as grpcurl ask for."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from euclidesdb_server.config.server import Transport
from tests.rpc.test_transports import needs_nghttp2
from tests.support.calls import TIMEOUT
from tests.support.servers import start_server

SERVICES = [
    "euclidesdb.v1.FeatureDatabase",
    "euclidesproto.Similar",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def start(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "models").mkdir()

    def start(**config):
        server = {"transport": Transport(request.param), "shutdown_grace": 0.0, **config}
        data = tmp_path_factory.mktemp("data")
        return start_server(data, folder / "models", server=server)

    return start


@pytest.fixture(scope="module")
def channel(start):
    with start() as server, grpc.insecure_channel(server.address) as channel:
        yield channel


def ask(channel, *requests, version="v1"):
    """The answers to requests in one stream."""
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        pb.ServerReflectionRequest.SerializeToString,
        pb.ServerReflectionResponse.FromString,
    )
    return [*call(iter(requests), timeout=TIMEOUT)]


def test_a_client_finds_the_services_and_calls_one_by_what_it_was_given(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert sorted(database.get_services()) == SERVICES
    service = DescriptorPool(database).FindServiceByName("euclidesdb.v1.FeatureDatabase")
    assert service.methods_by_name["FindSimilar"].input_type.fields_by_name["top_k"].number == 3


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_every_listed_service_is_described_with_all_that_it_imports(channel, version):
    (listed,) = ask(channel, pb.ServerReflectionRequest(list_services=""), version=version)
    names = [each.name for each in listed.list_services_response.service]
    assert names == SERVICES
    answers = ask(
        channel, *(pb.ServerReflectionRequest(file_containing_symbol=name) for name in names),
        version=version,
    )  # fmt: skip
    for name, answer in zip(names, answers, strict=True):
        files = {}
        for data in answer.file_descriptor_response.file_descriptor_proto:
            proto = FileDescriptorProto.FromString(data)
            files[proto.name] = proto
        assert all(needed in files for each in files.values() for needed in each.dependency)
        found = [f"{each.package}.{service.name}" for each in files.values()
                 for service in each.service]  # fmt: skip
        assert name in found


def test_what_does_not_exist_is_answered_with_an_error_and_the_stream_goes_on(channel):
    request = pb.ServerReflectionRequest
    unknown = pb.ExtensionRequest(containing_type="no.Such", extension_number=-1)
    of_ours = pb.ExtensionRequest(
        containing_type="euclidesdb.v1.AddItemRequest", extension_number=2_000_000_000
    )
    answers = ask(
        channel,
        request(file_by_filename="../../etc/passwd"),
        request(file_containing_symbol="no.Such"),
        request(file_containing_symbol=""),
        request(file_containing_symbol="x" * 100_000),
        request(file_containing_extension=unknown),
        request(file_containing_extension=of_ours),
        request(all_extension_numbers_of_type="no.Such"),
        request(),
        request(list_services="*"),
    )
    kinds = [answer.WhichOneof("message_response") for answer in answers]
    assert kinds == ["error_response"] * 8 + ["list_services_response"]


def test_messages_of_other_packages_in_this_process_are_not_shown(channel):
    (answer,) = ask(
        channel, pb.ServerReflectionRequest(file_containing_symbol="google.protobuf.BytesValue")
    )
    assert answer.WhichOneof("message_response") == "error_response"


def test_without_reflection_there_is_no_such_service(start):
    with start(reflection=False) as server, grpc.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            ask(channel, pb.ServerReflectionRequest(list_services=""))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
