"""Install this package with extras into the environment whose Python runs this file, in the tested versions.

    .venv/bin/python tools/install.py train notebooks
    build/lowest-direct/bin/python tools/install.py --resolution lowest-direct dev    # uv's word for it; or highest

With a resolution, only torch and uv have the tested versions; all other versions are resolved from pyproject.toml.

pip installs torch, because its build (CPU, CUDA) depends on pip's configuration. uv installs the rest, several times
faster than pip. uv does not read pip's configuration, so indexes, certificates and proxies are passed to it. If uv
fails, pip installs everything.
"""

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "container/constraints.txt"
TORCH_EXTRAS = {"train", "notebooks", "search", "docs", "dev"}
_PIP = [sys.executable, "-m", "pip"]
# pip's option -> uv's variables. Lists are separated by blanks in pip's configuration.
_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX",),
    "extra-index-url": ("UV_INDEX",),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "proxy": ("HTTPS_PROXY", "HTTP_PROXY"),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "constraint": ("UV_CONSTRAINT",),
}


def main(words: list[str]) -> int:
    """Install the package with the extras that `words` name; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--resolution", choices=("lowest-direct", "highest"), help="in place of the tested versions")
    parser.add_argument("extras", nargs="*")
    given = parser.parse_args(words)
    package = f".[{','.join(given.extras)}]"
    try:
        _pip_install("--no-deps", *_pinned("uv", *(["torch"] if TORCH_EXTRAS & set(given.extras) else [])))
        if given.resolution:
            return _uv_installs(package, ["--resolution", given.resolution])
        if _uv_installs(package, ["--constraint", str(CONSTRAINTS)]):
            print("uv could not install the packages (see above); pip installs them in some minutes.", file=sys.stderr)
            _pip_install("--editable", package)
    except subprocess.CalledProcessError as problem:
        return problem.returncode
    return 0


def uv_environment(pip: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with uv's variables for the options of `pip`; variables already set do not change."""
    given = {variable: pip[option] for option, names in _VARIABLES.items() if option in pip for variable in names}
    if "find-links" in pip:
        given["UV_FIND_LINKS"] = ",".join(pip["find-links"].split())
    if "extra-index-url" in pip:  # like pip: the best version of all indexes
        given["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return given | dict(environment)


def pip_options() -> dict[str, str]:
    """Return pip's options for an installation, by name: of its files, and of the environment, which comes last."""
    listed = subprocess.run([*_PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    entries = [line.partition("=") for line in listed.splitlines()]
    values = {name: str(ast.literal_eval(value)) for name, _, value in entries}
    return {
        name.removeprefix(section): value
        for section in ("global.", "install.", ":env:.")
        for name, value in values.items()
        if name.startswith(section)
    }


def _uv_installs(package: str, versions: list[str]) -> int:
    """Install the package with uv and these version options; return the exit status."""
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable, *versions]
    pip = pip_options()
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):  # uv has no variable for it
        command.append("--no-index")
    return subprocess.run([*command, "--editable", package], cwd=ROOT, env=uv_environment(pip, os.environ)).returncode


def _pip_install(*arguments: str) -> None:
    # No compilation: most modules are never imported. Quiet twice: only errors are printed.
    command = [*_PIP, "install", "--quiet", "--quiet", "--disable-pip-version-check", "--no-compile"]
    subprocess.run([*command, "--constraint", str(CONSTRAINTS), *arguments], cwd=ROOT, check=True)


def _pinned(*names: str) -> list[str]:
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if "==" in line)
    return [f"{name}=={pins[name]}" for name in names]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
