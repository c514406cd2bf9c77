"""The import graph of the package: its rules, and its picture.

python -m tools.import_graph            # writes docs/explanation/import_graph.svg
python -m tools.import_graph --check    # exit status 1 if the picture is out of date or a rule is broken

Every import counts, also one inside a function. A node of the picture is a package, or a module that lies directly in
`bert_textclassification`, `serving` or `training`. The picture leaves out an arrow that other arrows imply.
"""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import networkx

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "bert_textclassification"
PICTURE = ROOT / "docs" / "explanation" / "import_graph.svg"
_ARROW_HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="#888"/></marker></defs>'
)
_COLOURS = {"serving": "#dbeafe", "training": "#dcfce7", "benchmarks": "#fef3c7"}
_OTHER_COLOUR = "#f3e8ff"
_OPEN = ("", "serving", "training")  # packages whose modules are nodes of their own


class Rule(NamedTuple):
    """Modules below `package` may import only those below one of `allowed`, and themselves."""

    package: str
    allowed: tuple[str, ...]


RULES = (
    Rule("errors", ()),
    Rule("artifact", ("errors",)),
    Rule("engines", ("artifact", "errors")),
    Rule("serving", ("engines", "artifact", "errors", "")),
    Rule("training", ("serving", "engines", "artifact", "errors", "")),
)


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Return the file of each module below `source`, by dotted name; the package itself is called ''."""
    names = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def import_graph(source: Path = SOURCE) -> "networkx.DiGraph[str]":
    """Return the graph of all modules below `source`: an edge leads from a module to one that it imports."""
    files = modules(source)
    graph: networkx.DiGraph[str] = networkx.DiGraph()
    graph.add_nodes_from(files)
    for module, path in files.items():
        targets = _imported(ast.parse(path.read_text(encoding="utf-8")), source.name)
        graph.add_edges_from((module, _known(target, files)) for target in targets if _known(target, files) != module)
    return graph


def _imported(tree: ast.AST, package: str) -> Iterable[str]:
    """Yield the dotted names below `package` that a module imports: `data.labels.label_of` for a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
            base = node.module.removeprefix(package).strip(".")
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix(package).strip(".")
                for alias in node.names
                if alias.name.split(".")[0] == package
            )


def _known(name: str, files: dict[str, Path]) -> str:
    """Return the module of `name`, which may be that of a function or class in it."""
    return name if name in files else name.rpartition(".")[0]


def node_of(module: str, files: dict[str, Path]) -> str:
    """Return the node that shows `module`: its package, or itself in a package whose modules are nodes."""
    is_package = files[module].name == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]
    node = module if package in _OPEN else package
    return "engines" if node.startswith("engines") else node


def packages(graph: "networkx.DiGraph[str]", files: dict[str, Path]) -> "networkx.DiGraph[str]":
    """Return the graph of the nodes of the picture."""
    nodes = {module: node_of(module, files) for module in graph}
    merged: networkx.DiGraph[str] = networkx.DiGraph()
    merged.add_nodes_from(nodes.values())
    merged.add_edges_from((nodes[a], nodes[b]) for a, b in graph.edges if nodes[a] != nodes[b])
    return merged


def problems(graph: "networkx.DiGraph[str]", files: dict[str, Path]) -> list[str]:
    """Return a sentence for each circle, and for each import that breaks a rule."""
    circles = [
        f"Circle: {' -> '.join(sorted(circle))}."
        for each in (graph, packages(graph, files))
        for circle in networkx.strongly_connected_components(each)
        if len(circle) > 1
    ]
    broken = [
        f"{module} imports {target}, which lies above {rule.package}."
        for rule in RULES
        for module, target in graph.edges
        if _is_below(module, rule.package)
        and not any(_is_below(target, each) for each in (rule.package, *rule.allowed))
    ]
    return circles + broken


def _is_below(module: str, package: str) -> bool:
    return module == package or (package != "" and module.startswith(f"{package}."))


def picture(graph: "networkx.DiGraph[str]") -> str:
    """Return `graph`, which has no circle, as SVG: what is imported lies below what imports it."""
    reduced = networkx.transitive_reduction(graph)
    rows = [sorted(row) for row in networkx.topological_generations(reduced)]
    width, height = 160 * max(map(len, rows)), 84 * len(rows)
    places = {
        name: (width * (place + 0.5) / len(row), 84 * number + 42)
        for number, row in enumerate(_ordered(rows, reduced))
        for place, name in enumerate(row)
    }
    arrows = [_arrow(*places[a], *places[b]) for a, b in sorted(reduced.edges)]
    boxes = [_box(name, x, y) for name, (x, y) in sorted(places.items())]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
            _ARROW_HEAD,
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *arrows,
            *boxes,
            "</svg>",
            "",
        ]
    )


def _ordered(rows: list[list[str]], graph: "networkx.DiGraph[str]") -> list[list[str]]:
    """Return the rows with each node near the middle of those above that import it: fewer arrows cross."""
    ordered = [rows[0]]
    middle = {name: (place + 0.5) / len(rows[0]) for place, name in enumerate(rows[0])}
    for row in rows[1:]:
        above = {name: [middle[one] for one in graph.predecessors(name) if one in middle] for name in row}
        best = sorted(row, key=lambda name: (sum(above[name]) / len(above[name]) if above[name] else 0.5, name))
        middle |= {name: (place + 0.5) / len(best) for place, name in enumerate(best)}
        ordered.append(best)
    return ordered


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    start, end = y1 + 16, y2 - 16
    bend = (end - start) / 2
    path = f"M{x1:.0f} {start:.0f}C{x1:.0f} {start + bend:.0f} {x2:.0f} {end - bend:.0f} {x2:.0f} {end:.0f}"
    return f'<path d="{path}" fill="none" stroke="#888" marker-end="url(#head)"/>'


def _box(name: str, x: float, y: float) -> str:
    colour = _COLOURS.get(name.partition(".")[0], _OTHER_COLOUR)
    label = name.removeprefix("training.").removeprefix("serving.") or "bert_textclassification"
    return (
        f'<rect x="{x - 72:.0f}" y="{y - 16:.0f}" width="144" height="32" rx="6" fill="{colour}" stroke="#888"/>'
        f'<text x="{x:.0f}" y="{y + 4:.0f}" font-size="12" text-anchor="middle">{label}</text>'
    )


def main(arguments: list[str]) -> int:
    """Write the picture, or check it and the rules; return the exit status."""
    graph, files = import_graph(), modules()
    found = problems(graph, files)
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        return 1
    drawn = picture(packages(graph, files))
    if arguments == ["--check"]:
        is_current = PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn
        print("" if is_current else f"{PICTURE} is out of date; run python -m tools.import_graph.")
        return 0 if is_current else 1
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
