"""The server process and what it is started with: it serves, or reports what is wrong and exits."""

from __future__ import annotations

import pytest

import euclidesdb
from tests.support.images import encoded, noise
from tests.support.processes import ServerProcess, failed_start

# Every section and key of EuclidesDB, as in its documentation.
EUCLIDESDB_CONF = """\
[server]
address = {address}
log_file_path = logs/euclides.log
search_engine = {engine}   ; a comment, as inih takes them

[models]
dir_path = {models}

[database]
db_path = data

[faiss]
metric = l2
index_type = Flat

[annoy]
tree_factor = 2

[exact_disk]
pnorm = 1
normalize = true
"""


def write_conf(folder, models, *, address="127.0.0.1:0", engine="exact_disk", more=""):
    folder.mkdir(exist_ok=True)
    file = folder / "euclidesdb.conf"
    text = EUCLIDESDB_CONF.format(address=address, models=models, engine=engine)
    file.write_text(text + more)
    return file


@pytest.fixture(scope="module")
def no_models(tmp_path_factory):
    return tmp_path_factory.mktemp("no-models")


def test_an_euclidesdb_configuration_file_is_served(tmp_path, tiny_models, no_models):
    conf = write_conf(tmp_path / "served", tiny_models)
    with ServerProcess("-c", conf, log=tmp_path / "stderr") as process:
        with euclidesdb.Client(process.address()) as client:
            (model,) = client.models()
            assert (model.engine, model.metric) == ("exact_disk", "normalized_l1")
            client.add("a", image=encoded(noise(1)), models=["tiny"])
            assert client.find_similar(id="a", include_self=True)["tiny"].ids == ("a",)
        assert (tmp_path / "served" / "data" / "leveldb" / "CURRENT").is_file()
        log = (tmp_path / "served" / "logs" / "euclides.log").read_text()
        assert "model 'tiny' is ready" in log

        second = write_conf(tmp_path / "second", no_models)
        data = tmp_path / "served" / "data"
        code, message = failed_start("-c", second, "--data", data)
        assert code == 1
        assert str(data) in message
        assert "in use by another server" in message
        assert "Traceback" not in message


def test_a_port_in_use_is_named_and_never_shared(tmp_path, no_models):
    conf = write_conf(tmp_path / "first", no_models)
    with ServerProcess("-c", conf, log=tmp_path / "stderr") as process:
        other = write_conf(tmp_path / "other", no_models)
        address = process.address()
        code, message = failed_start("-c", other, "--address", address)
    assert code == 1
    assert f"--address: cannot listen on '{address}': another program uses the port" in message
    assert "Traceback" not in message


WRONG = {
    "an unknown key": ("[index]\ncompact_row = 5\n", ["[index]", "'compact_row'", "compact_rows"]),
    "a malformed value": ("[index]\ncompact_rows = many\n", ["[index] compact_rows", "'many'"]),
}


@pytest.mark.parametrize(("more", "named"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_in_the_configuration_is_named_with_its_file(tmp_path, no_models, more, named):
    conf = write_conf(tmp_path, no_models, more=more)
    code, message = failed_start("-c", conf)
    assert code == 1
    for part in (str(conf), *named):
        assert part in message
    assert "Traceback" not in message


def test_an_unknown_search_engine_is_named_with_those_there_are(tmp_path, no_models):
    code, message = failed_start("-c", write_conf(tmp_path, no_models, engine="fais"))
    assert code == 1
    for part in ("'fais'", "annoy", "exact", "exact_disk", "faiss"):
        assert part in message


def test_a_configuration_file_that_is_not_there_is_named(tmp_path):
    code, message = failed_start("-c", tmp_path / "missing.conf")
    assert code == 1
    assert "missing.conf" in message


def test_a_models_folder_that_cannot_be_read_is_named_with_where_it_comes_from(tmp_path):
    conf = write_conf(tmp_path, tmp_path / "nowhere")
    code, message = failed_start("-c", conf)
    assert code == 1
    says = f"euclidesdb: {conf}: [models] dir_path: cannot read {tmp_path / 'nowhere'}: "
    assert message.splitlines()[-1].startswith(says)
    other = tmp_path / "not-there-either"
    code, message = failed_start("-c", conf, "--models", other)
    assert message.splitlines()[-1].startswith(f"euclidesdb: --models: cannot read {other}: ")


WRONG_ADDRESSES = {
    "nowhere.invalid:50000": ": cannot listen on 'nowhere.invalid:50000': the host is",
    "127.0.0.1:x": " = '127.0.0.1:x': the port should be 0 to 65535",
    "a b": " = 'a b' should be host, ",
    "unix:$HOME/s": " = '$HOME/s': environment variables are not expanded here",
}


@pytest.mark.parametrize("address", ["nowhere.invalid:50000", "a b"])
def test_an_address_in_the_configuration_that_cannot_be_used_is_named_with_its_file(
    tmp_path, no_models, address
):
    conf = write_conf(tmp_path, no_models, address=address)
    code, message = failed_start("-c", conf, "--allow-anonymous")
    assert (code, message.splitlines()) == (1, [message.strip()])
    says = WRONG_ADDRESSES[address]
    assert message.startswith(f"euclidesdb: {conf}: [server] address{says}")


@pytest.mark.parametrize("address", ["127.0.0.1:x", "unix:$HOME/s"])
def test_an_address_option_that_cannot_be_used_is_named(tmp_path, no_models, address):
    code, message = failed_start("--models", no_models, "--data", tmp_path, "--address", address)
    assert (code, message.splitlines()) == (1, [message.strip()])
    assert message.startswith(f"euclidesdb: --address{WRONG_ADDRESSES[address]}")


def test_a_log_file_that_cannot_be_written_is_named_with_its_file(tmp_path, no_models):
    conf = write_conf(tmp_path, no_models)
    (tmp_path / "logs").touch()
    code, message = failed_start("-c", conf)
    assert code == 1
    assert message.startswith(f"euclidesdb: {conf}: [server] log_file_path: cannot write ")


def test_strict_refuses_to_serve_without_a_model_that_is_broken(tmp_path):
    (tmp_path / "models" / "broken").mkdir(parents=True)
    conf = write_conf(tmp_path, tmp_path / "models")
    code, message = failed_start("-c", conf, "--strict")
    assert code == 1
    assert "--strict" in message
    assert "broken" in message
    assert "model.conf" in message
