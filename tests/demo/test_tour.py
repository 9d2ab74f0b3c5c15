"""The demo from end to end, and how it ends when something is wrong."""

import pytest
from PIL import Image

from euclidesdb_server.demo.server_process import ServerFailed, ServerProcess
from tests.support.late_import import LateImport

tour = LateImport("euclidesdb_server.demo.tour")  # which imports scikit-learn


def test_the_demo_checks_everything_and_draws_its_picture(tmp_path, capsys):
    code = tour.run(output=tmp_path / "demo.png", items=100, keep_data=tmp_path / "kept")
    printed, errors = capsys.readouterr()
    assert code == 0, errors
    for step in ("server", "add", "search", "remove", "kill -9", "search again", "picture"):
        assert f"\n  {step} " in f"\n{printed}"
    assert "euclidesdb serve --models" in printed
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.size == (812, 1602)
    assert (tmp_path / "kept" / "server.log").stat().st_size > 0


@pytest.mark.parametrize("items", [99, 1501])
def test_a_number_of_items_that_cannot_be_is_refused(items, tmp_path, capsys):
    assert tour.run(output=tmp_path / "demo.png", items=items) == 1
    assert f"--items must be 100 to 1500, not {items}" in capsys.readouterr().err


def test_a_picture_in_no_folder_is_refused_before_anything_starts(tmp_path, capsys):
    assert tour.run(output=tmp_path / "nowhere" / "demo.png") == 1
    assert "nowhere does not exist" in capsys.readouterr().err


def test_kept_data_never_mixes_with_what_is_there(tmp_path, capsys):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    assert tour.run(output=tmp_path / "demo.png", keep_data=tmp_path / "kept") == 1
    assert "is not empty" in capsys.readouterr().err


def test_a_server_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    (tmp_path / "data").write_text("a file where the data folder should be")
    with (
        ServerProcess(data=tmp_path / "data", log=tmp_path / "server.log") as server,
        pytest.raises(ServerFailed, match=r"ended before it answered \(exit code 1\)") as caught,
    ):
        server.start()
    last_line = (tmp_path / "server.log").read_text().splitlines()[-1]
    assert str(caught.value).endswith(last_line)


@pytest.mark.long  # the demo does the same on its way
def test_a_killed_server_starts_again_on_its_address(tmp_path):
    with ServerProcess(data=tmp_path / "data", log=tmp_path / "server.log") as server:
        server.start()
        server.kill()
        server.start()
        server.stop()
