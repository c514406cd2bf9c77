"""The private folder of a server: unique, kept while it runs, removed by the next server at the latest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_textclassification.errors import ConfigurationError
from bert_textclassification.serving.config import ServingConfig
from bert_textclassification.serving.scratch_folder import LOCK, PREFIX, SOCKET_PATH_BYTES, private_folder

LEAVE_A_FOLDER = """
import os, sys
from pathlib import Path
from bert_textclassification.serving.scratch_folder import private_folder
folder = private_folder(Path(sys.argv[1]))
folder.__enter__()
os.kill(os.getpid(), 9)
"""


def folders(scratch):
    return set(scratch.glob(f"{PREFIX}*"))


def leave_a_folder(scratch):
    """Start a process that creates a folder in `scratch` and dies; return the folder."""
    subprocess.run([sys.executable, "-c", LEAVE_A_FOLDER, scratch])
    (folder,) = folders(scratch)
    return folder


def test_each_server_has_a_folder_that_nobody_else_may_enter_and_that_goes_with_it(tmp_path):
    with private_folder(tmp_path) as (first, _), private_folder(tmp_path) as (second, _):
        assert folders(tmp_path) == {first, second}
        assert [path.stat().st_mode & 0o777 for path in (first, second)] == [0o700] * 2
        (first / "full").mkdir()
    assert folders(tmp_path) == set()


def test_a_folder_goes_when_its_server_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), private_folder(tmp_path):
        raise KeyError
    assert folders(tmp_path) == set()


def test_the_folder_of_a_killed_server_is_removed_by_the_next(tmp_path):
    abandoned = leave_a_folder(tmp_path)
    assert (abandoned / LOCK).exists()
    with private_folder(tmp_path) as (folder, _):
        assert folders(tmp_path) == {folder}


def test_the_folder_of_a_killed_server_stays_while_one_of_its_processes_lives(tmp_path):
    with private_folder(tmp_path) as (folder, lock):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock])
        os.rename(folder, kept := tmp_path / f"{PREFIX}kept")  # survives this block, as after SIGKILL
    with private_folder(tmp_path):
        assert kept.exists()
    child.communicate()
    with private_folder(tmp_path):
        assert not kept.exists()


def test_what_another_program_or_a_link_has_there_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / LOCK).touch()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / f"{PREFIX}other").mkdir()
    (tmp_path / f"{PREFIX}file").touch()
    with private_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {
        "elsewhere", f"{PREFIX}link", f"{PREFIX}other", f"{PREFIX}file",
    }  # fmt: skip
    assert (tmp_path / "elsewhere" / LOCK).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_what_belongs_to_another_user_stays(tmp_path):
    abandoned = leave_a_folder(tmp_path)
    os.chown(abandoned, 12345, 12345)
    with private_folder(tmp_path):
        assert abandoned.exists()


def test_a_relative_scratch_folder_gives_an_absolute_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()
    with private_folder(Path("scratch")) as (folder, _):
        assert folder.is_absolute()


def test_a_path_that_leaves_no_room_for_a_socket_is_refused_in_one_sentence(tmp_path):
    scratch = tmp_path
    while len(str(scratch)) <= SOCKET_PATH_BYTES:
        scratch /= "long"
    scratch.mkdir(parents=True)
    with (
        pytest.raises(ConfigurationError, match=r"set SCRATCH_DIR to a shorter path, such as /tmp\.$"),
        private_folder(scratch),
    ):
        pass


def test_the_longest_path_that_is_taken_has_room_for_the_socket_of_every_worker(tmp_path):
    longest = SOCKET_PATH_BYTES - len(f"/{PREFIX}12345678/retry.sock")
    scratch = tmp_path / ("x" * (longest - len(str(tmp_path)) - 1))
    scratch.mkdir()
    with private_folder(scratch) as (folder, _):
        config = ServingConfig.of(scratch_dir=folder, workers=256)
        assert max(len(str(path)) for path in (*config.sockets, config.retry_socket)) == SOCKET_PATH_BYTES
    with pytest.raises(ConfigurationError), private_folder(scratch.parent / (scratch.name + "x")):
        pass


@pytest.mark.parametrize("scratch", ["nowhere", "file"])
def test_a_scratch_folder_that_is_none_is_refused_in_one_sentence(tmp_path, scratch):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigurationError, match=r"set SCRATCH_DIR to a writable folder\.$"),
        private_folder(tmp_path / scratch),
    ):
        pass
