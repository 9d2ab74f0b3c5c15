"""`euclidesdb health`, against real servers: keys, TLS, proxies, and models without a worker."""

from __future__ import annotations

import json

import psutil
import pytest

from euclidesdb_server.__main__ import main
from tests.support.models import save_model
from tests.support.servers import start_server
from tests.support.tls import Authority
from tests.support.waiting import wait_for

CONFIG = """
[server]
address = {address}
[models]
dir_path = models
[database]
db_path = data
"""


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts a server of the model `tiny`, whose configuration is then in `server.conf`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EUCLIDESDB_ADDRESS", raising=False)
    save_model(tmp_path / "models", "tiny")
    servers = []

    def start(extra="", listens="127.0.0.1", **options):
        options["server"] = {"address": f"{listens}:0", **options.get("server", {})}
        server = start_server(tmp_path / "data", tmp_path / "models", **options)
        servers.append(server)
        address = f"{listens}:{server.address.rpartition(':')[2]}"
        (tmp_path / "server.conf").write_text(CONFIG.format(address=address) + extra)
        return server

    yield start
    for server in servers:
        server.close()


def test_models_one_model_and_the_server_are_asked_for(serve, capsys):
    address = serve().address
    for asked in ([], ["models/tiny"], ["server"]):
        assert main(["health", *asked, "--address", address]) == 0
    assert capsys.readouterr().out.split("\n")[:3] == [
        "models: SERVING",
        "models/tiny: SERVING",
        "server: SERVING",
    ]
    assert main(["health", "--address", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"service": "models", "status": "SERVING"}
    assert main(["health", "models/none", "--address", address]) == 1
    assert "there is no service 'models/none'" in capsys.readouterr().err


def test_a_model_whose_worker_died_is_not_serving_and_its_server_is(serve, capsys, tmp_path):
    address = serve().address
    (tmp_path / "models" / "tiny" / "program.pt").unlink()  # so that no other worker starts
    for child in psutil.Process().children():
        if "euclidesdb_server.worker" in child.cmdline():
            child.kill()
    wait_for(lambda: main(["health", "--address", address]) == 1, "the worker's death")
    assert capsys.readouterr().out.splitlines()[-1] == "models: NOT_SERVING"
    assert main(["health", "server", "--address", address]) == 0


@pytest.mark.parametrize("listens", ["127.0.0.1", "0.0.0.0", "[::]"])
def test_the_server_of_a_configuration_is_asked_at_an_address_of_this_machine(serve, listens):
    serve(listens=listens, auth={"allow_anonymous": True})
    assert main(["health", "--config", "server.conf"]) == 0


def test_the_environment_s_proxies_and_client_settings_do_not_matter(serve, monkeypatch):
    serve()
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("EUCLIDESDB_API_KEY", "of another server")
    monkeypatch.setenv("EUCLIDESDB_TLS", "1")
    monkeypatch.setenv("EUCLIDESDB_ADDRESS", "127.0.0.1:2")
    assert main(["health", "--config", "server.conf"]) == 0


def test_no_api_key_is_needed(serve, tmp_path):
    keys = tmp_path / "keys.json"
    assert main(["key", "create", "a", "--role", "admin", "--keys-file", str(keys)]) == 0
    serve(f"[auth]\nkeys_file = {keys}\n", auth={"keys_file": keys})
    assert main(["health", "--config", "server.conf"]) == 0


def test_the_certificate_of_the_configuration_is_trusted_whatever_its_authority(serve, tmp_path):
    cert, key = Authority(tmp_path).issue()
    serve(f"[tls]\ncert = {cert}\nkey = {key}\n", tls={"cert": cert, "key": key})
    assert main(["health", "--config", "server.conf"]) == 0


def test_a_server_that_waits_for_the_key_of_a_renewed_certificate_is_healthy(serve, tmp_path):
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    other, _ = Authority(tmp_path, "others").issue("other")
    serve(f"[tls]\ncert = {other}\nkey = {key}\n", tls={"cert": cert, "key": key})
    assert main(["health", "--config", "server.conf"]) == 0


def test_with_mutual_tls_it_needs_a_client_s_certificate(serve, tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    cert, key = authority.issue()
    serve(
        f"[tls]\ncert = {cert}\nkey = {key}\nclient_ca = {authority.file}\n",
        tls={"cert": cert, "key": key, "client_ca": authority.file},
    )
    assert main(["health", "--config", "server.conf", "--timeout", "5"]) == 1
    own_cert, own_key = authority.issue("client")
    monkeypatch.setenv("EUCLIDESDB_TLS_CERT", str(own_cert))
    monkeypatch.setenv("EUCLIDESDB_TLS_KEY", str(own_key))
    assert main(["health", "--config", "server.conf"]) == 0


def test_a_server_without_the_health_service_is_an_error_that_names_the_key(serve, capsys):
    address = serve(server={"health": False}).address
    assert main(["health", "--address", address]) == 1
    assert "[server] health = false" in capsys.readouterr().err


def test_no_server_is_an_error_in_one_line(capsys):
    assert main(["health", "--address", "127.0.0.1:1"]) == 1
    assert "no server answers at '127.0.0.1:1'" in capsys.readouterr().err
