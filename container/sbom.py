"""Print the bill of materials (CycloneDX 1.6, JSON) of the Python and Debian packages around this interpreter.

    python sbom.py bert-textclassification 1.2.3 > sbom.json

The image build runs it. The document has no time and no serial number, so that the same packages give the same file.
"""

import json
import platform
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def main(name: str, version: str) -> None:
    """Print the document; `name` and `version` describe the image's own software."""
    components = [interpreter(), *python_packages(), *debian_packages()]
    subject = {"type": "container", "bom-ref": "image", "name": name, "version": version}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "component": subject},
        "components": sorted(components, key=itemgetter("purl")),
    }
    json.dump(document, sys.stdout, indent=1)


def component(kind: str, name: str, version: str, purl: str, licences: list[dict[str, Any]]) -> Component:
    """Return one entry; unknown licences are omitted."""
    entry = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    return entry | ({"licenses": licences} if licences else {})


def interpreter() -> Component:
    """Return the entry of Python itself, which no package manager lists."""
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return component("platform", "python", version, purl, [{"license": {"id": "PSF-2.0"}}])


def python_packages() -> list[Component]:
    """Return the packages of this environment and of its base interpreter."""
    base = sysconfig.get_path("purelib", vars={"base": sys.base_prefix})
    packages = {}
    for package in distributions(path=[*sys.path, base]):
        name = re.sub(r"[-_.]+", "-", package.name).lower()
        purl = f"pkg:pypi/{name}@{quote(package.version)}"
        packages[purl] = component("library", package.name, package.version, purl, python_licences(package))
    return list(packages.values())


def python_licences(package: Distribution) -> list[dict[str, Any]]:
    """Return the package's SPDX expression, or the names in its older metadata fields."""
    expressions = package.metadata.get_all("License-Expression")
    if expressions:
        return [{"expression": expressions[0]}]
    classifiers = package.metadata.get_all("Classifier") or []
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    free_text = package.metadata.get_all("License") or []
    return named(names or [text for text in free_text if 0 < len(text) < 80])  # some packages paste the whole licence


def debian_packages() -> list[Component]:
    """Return the installed Debian packages."""
    distro = f"debian-{platform.freedesktop_os_release()['VERSION_ID']}"
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\n"]
    output = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    components = []
    for name, version, architecture in map(str.split, output.splitlines()):
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe=':')}?arch={architecture}&distro={distro}"
        components.append(component("library", name, version, purl, debian_licences(name)))
    return components


def debian_licences(package: str) -> list[dict[str, Any]]:
    """Return the licences in Debian's copyright file, if it has the machine-readable format (DEP 5)."""
    path = Path("/usr/share/doc", package, "copyright")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return named(sorted(set(re.findall(r"^License:[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE))))


def named(names: list[str]) -> list[dict[str, Any]]:
    """Return licences by their names."""
    return [{"license": {"name": name}} for name in names]


if __name__ == "__main__":
    main(*sys.argv[1:])
