"""The installer: uv uses pip's configuration, pip installs torch, and pip replaces uv if uv fails."""

import base64
import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_S, ROOT

pytestmark = pytest.mark.slow

USER, PASSWORD = "reader", "a-secret"
# The build backend of the small project below: it needs no download.
BACKEND = """
import zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        about = "Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\nProvides-Extra: notebooks\\n"
        wheel.writestr("small-1.0.dist-info/METADATA", about + "Requires-Dist: helper; extra == 'notebooks'\\n")
        wheel.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.0.dist-info/RECORD", "")
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1.0"
[project.optional-dependencies]
notebooks = ["helper"]
"""
REAL_UV = f"import os, sys\nos.execv({sys.executable!r}, [{sys.executable!r}, '-m', 'uv', *sys.argv[1:]])\n"
BROKEN_UV = "import sys\nsys.exit('error: this uv does not work')\n"


def wheel(folder: Path, name: str, version: str, module: str = "") -> None:
    """Write a wheel whose only module is `name/__main__.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/__main__.py", module)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index with a password; `downloads` has the client and the file name of each download."""

    downloads: list[tuple[str, str]]

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path.endswith(".whl"):
            self.downloads.append((self.headers["User-Agent"].partition("/")[0], self.path.rpartition("/")[2]))
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(tmp_path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The address of a private index, with its password, and its downloads."""
    packages = tmp_path / "index"
    for name, version, module in (
        ("uv", "9.0", REAL_UV),
        ("torch", "1.0", ""),
        ("helper", "1.0", ""),
        ("helper", "2.0", ""),
    ):
        wheel(packages / name, name, version, module)
    downloads: list[tuple[str, str]] = []
    handler = type("Handler", (Index,), {"downloads": downloads})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(packages))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{USER}:{PASSWORD}@127.0.0.1:{server.server_port}/", downloads
        server.shutdown()


@pytest.fixture
def project(tmp_path) -> Path:
    """A small project with the installer, in the layout of this one."""
    folder = tmp_path / "a project"
    for name, text in {
        "pyproject.toml": PROJECT,
        "backend.py": BACKEND,
        "container/constraints.txt": "# tested together\nhelper==1.0\ntorch==1.0\nuv==9.0\n",
        "tools/install.py": (ROOT / "tools/install.py").read_text(),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True, timeout=PATIENCE_S)
    return folder


def install(
    project: Path, tmp_path: Path, pip_conf: str, *options: str, **environment: str
) -> subprocess.CompletedProcess:
    """Run the installer with this configuration of pip, isolated from the user's own."""
    (tmp_path / "pip.conf").write_text(pip_conf)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    variables |= {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)}
    variables |= {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [project / ".venv/bin/python", project / "tools/install.py", *options, "notebooks"]
    return subprocess.run(command, env=variables | environment, capture_output=True, text=True, timeout=PATIENCE_S)


def installed(project: Path) -> dict[str, str]:
    listed = [project / ".venv/bin/python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    packages = json.loads(subprocess.run(listed, capture_output=True, text=True, check=True).stdout)
    return {package["name"]: package["version"] for package in packages if package["name"] not in ("pip", "setuptools")}


EVERYTHING = {"small": "1.0", "helper": "1.0", "torch": "1.0", "uv": "9.0"}


def test_with_a_private_index_pip_fetches_torch_and_uv_the_rest_in_the_tested_versions(index, project, tmp_path):
    address, downloads = index
    done = install(project, tmp_path, f"[global]\nindex-url = {address}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert installed(project) == EVERYTHING
    assert ("pip", "torch-1.0-py3-none-any.whl") in downloads
    assert ("uv", "helper-1.0-py3-none-any.whl") in downloads


def test_the_option_resolution_installs_the_newest_versions(index, project, tmp_path):
    address, _ = index
    done = install(project, tmp_path, f"[global]\nindex-url = {address}\n", "--resolution", "highest")
    assert (done.returncode, installed(project)) == (0, EVERYTHING | {"helper": "2.0"}), done.stderr


def test_the_index_may_also_come_from_the_environment_or_from_the_section_for_installing(index, project, tmp_path):
    address, downloads = index
    done = install(project, tmp_path, "[global]\nindex-url = http://127.0.0.1:1/\n", PIP_INDEX_URL=address)
    assert (done.returncode, installed(project)) == (0, EVERYTHING), done.stderr
    assert ("uv", "helper-1.0-py3-none-any.whl") in downloads


def test_folders_of_packages_may_replace_the_index(index, project, tmp_path):
    folders = " ".join(str(tmp_path / "index" / name) for name in ("uv", "torch", "helper"))
    done = install(project, tmp_path, f"[install]\nfind-links = {folders}\nno-index = true\n")
    assert (done.returncode, installed(project)) == (0, EVERYTHING), done.stderr


def test_if_uv_fails_pip_installs_everything_and_the_reason_is_printed(index, project, tmp_path):
    address, downloads = index
    wheel(tmp_path / "index/uv", "uv", "9.0", BROKEN_UV)
    done = install(project, tmp_path, f"[global]\nindex-url = {address}\n")
    assert (done.returncode, installed(project)) == (0, EVERYTHING), done.stderr
    assert "error: this uv does not work" in done.stderr
    assert "uv could not install the packages (see above); pip installs them" in done.stderr
    assert ("pip", "helper-1.0-py3-none-any.whl") in downloads


def test_a_failed_download_ends_with_pips_error_and_no_traceback(project, tmp_path):
    done = install(project, tmp_path, "[global]\nindex-url = http://127.0.0.1:1/\nretries = 0\n")
    assert done.returncode != 0
    assert re.search(r"^ERROR: .*uv==9\.0", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
