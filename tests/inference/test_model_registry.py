"""A folder of models: the good ones are served, each bad one is reported with its reason."""

import threading

import pytest

from euclidesdb_server.config.server import ModelsConfig
from euclidesdb_server.errors import ConfigError, ModelLoadError, ModelUnavailable, StartupError
from euclidesdb_server.inference import ModelRegistry
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState
from tests.support.models import Tiny, save_model
from tests.support.servers import start_server


def edit(folder, old, new):
    conf = folder / "model.conf"
    conf.write_text(conf.read_text().replace(old, new))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Good and bad model folders side by side, and one that is not a model folder."""
    models = tmp_path_factory.mktemp("mixed")
    save_model(models, "good", worker="shared")
    save_model(models, "lies", module=Tiny(), feature_dim=512, worker="shared")
    edit(save_model(models, "twin"), "name = twin", "name = good")
    edit(save_model(models, "typo"), "feature_dim", "featuredim")
    (save_model(models, "gone") / "program.pt").unlink()
    (models / "empty").mkdir()
    (models / ".git").mkdir()
    (models / "__pycache__").mkdir()
    (models / "lost+found").mkdir()
    (models / "README.md").write_text("about these models")
    return models


@pytest.fixture(scope="module")
def registry(mixed):
    registry = ModelRegistry(ModelsConfig(dir_path=mixed, worker_threads=1))
    registry.wait_until_tried(threading.Event())
    yield registry
    registry.close()


def test_a_good_model_is_served_next_to_bad_ones(registry):
    assert registry.models["good"].state == (ModelState.READY, "")
    future = registry.models["good"].embed(Payload("image", b"junk"))
    assert "not a JPEG" in str(future.exception(30))


def test_a_model_that_contradicts_its_conf_is_quarantined(registry):
    state, reason = registry.models["lies"].state
    assert state is ModelState.QUARANTINED
    assert "feature_dim = 512 in model.conf, but it returned shape (1, 12)" in reason


def test_the_error_of_a_quarantined_model_names_it_once(registry):
    with pytest.raises(ModelUnavailable) as caught:
        registry.models["lies"].embed(Payload("image", b"junk"))
    assert str(caught.value).startswith("model 'lies' is quarantined: the program ")
    assert str(caught.value).count("'lies'") == 1
    (problem,) = [problem for problem in registry.problems() if "'lies'" in problem]
    assert problem.startswith("model 'lies': the program ")


def test_each_folder_that_cannot_be_read_is_reported_with_its_reason(registry, mixed):
    assert dict(registry.broken) == {
        "empty": f"{mixed}/empty has no model.conf",
        "gone": registry.broken["gone"],
        "twin": f"{mixed}/twin: {mixed}/good has a model 'good', too",
        "typo": registry.broken["typo"],
    }
    assert "cannot read" in registry.broken["gone"]
    assert "has no key 'featuredim'" in registry.broken["typo"]


def test_any_error_of_the_system_in_a_folder_is_its_reason(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.conf").symlink_to("x" * 300)  # stat() fails, for root too
    (tmp_path / "mount").symlink_to("x" * 300)
    edit(save_model(tmp_path, "null"), "program.pt", "a\0b")
    registry = ModelRegistry(ModelsConfig(dir_path=tmp_path))
    registry.close()
    broken = dict(registry.broken)
    assert "filename = 'a\\x00b': a path must not" in broken.pop("null")
    assert broken.keys() == {"folder", "mount"}
    for name, reason in broken.items():
        assert reason.startswith(f"cannot read {tmp_path / name}: [Errno 36] File name too long")
    with pytest.raises(ModelLoadError, match="File name too long"):
        registry.start("mount")


def test_every_problem_is_a_sentence_with_the_name_in_it(registry):
    problems = registry.problems()
    for name in ("empty", "gone", "twin", "typo", "lies"):
        assert len([problem for problem in problems if f"{name!r}" in problem.split(":")[0]]) == 1
    assert len(problems) == 5


def test_a_strict_server_does_not_start_with_a_bad_model(mixed, tmp_path):
    with pytest.raises(StartupError) as caught:
        start_server(tmp_path, mixed, strict=True)
    for name in ("empty", "gone", "twin", "typo", "lies"):
        assert f"{name!r}" in str(caught.value)


def test_only_the_folders_named_are_served(mixed):
    registry = ModelRegistry(ModelsConfig(dir_path=mixed, names="twin, missing", worker_threads=1))
    registry.close()
    assert [*registry.models] == ["good"]
    assert dict(registry.broken) == {"missing": f"{mixed}/missing has no model.conf"}


def test_a_folder_that_is_named_twice_counts_once(mixed):
    registry = ModelRegistry(
        ModelsConfig(dir_path=mixed, names="twin, good,twin", worker_threads=1)
    )
    registry.close()
    assert [*registry.models] == ["good"]
    assert dict(registry.broken) == {"good": f"{mixed}/good: {mixed}/twin has a model 'good', too"}


def test_a_models_folder_that_is_not_there_is_an_error_of_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match=r"\[models\] dir_path: cannot read .*nowhere"):
        ModelRegistry(ModelsConfig(dir_path=tmp_path / "nowhere"))
