"""The floors of the package: a module imports only from its own floor or from below, and never in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import plait

ROOT = Path(plait.__file__).parent
FLOORS = {
    0: "errors files matrix memory processes progress devices hub",
    1: "config",
    2: "data",
    3: "encoders",
    4: "captions features fusion recipes",
    5: "inference training",
    6: "report runs",
    7: "retrieval",
    8: "pipeline",
    9: "app export jobs server",
    10: "search",
    11: "cli __init__ __main__",
}
FLOOR = {part: floor for floor, parts in FLOORS.items() for part in parts.split()}
OPEN_PLAN = {0, 11}  # where neighbours may know each other
ANSWERS = {
    "inference",
    "runs",
    "retrieval",
    "app",
    "export",
    "jobs",
    "server",
}  # what answers knows nothing of training


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def part_of(module: str) -> str:
    return module.split(".")[0]


def targets(node: ast.AST, known: set[str]) -> set[str]:
    """The modules of plait that one import statement names, without the leading ``plait.``."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return set()
    found = set()
    for name in names:
        if name.split(".")[0] != "plait" or name == "plait.__version__":  # a constant, there before any import
            continue
        inner = name.removeprefix("plait").removeprefix(".")
        while inner and inner not in known:  # from module import name
            inner = inner.rpartition(".")[0]
        found.add(inner or "__init__")
    return found


def imports(tree: ast.AST, known: set[str], everywhere: bool) -> set[str]:
    """What a module imports: everywhere in it, or only while it is itself being imported."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        found |= targets(node, known)
        if not everywhere:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
        found |= imports(node, known, everywhere)
    return found


TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}
EVERY = {name: imports(tree, set(MODULES), everywhere=True) for name, tree in TREES.items()}


def test_the_walk_sees_imports_of_every_kind() -> None:
    tree = ast.parse(
        "import plait.a.b\nfrom plait import c, __version__\nfrom plait.a import b, x\nimport numpy\n"
        "if TYPE_CHECKING:\n    from plait.d import y\ndef f():\n    from plait import z\n"
        "class K:\n    from plait.e import w\n"
    )
    known = {"a", "a.b", "c", "d", "e", "__init__"}
    assert imports(tree, known, everywhere=True) == {"a", "a.b", "c", "d", "e", "__init__"}
    assert imports(tree, known, everywhere=False) == {"a", "a.b", "c", "e"}


def test_no_relative_imports() -> None:
    relative = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_every_module_has_a_floor() -> None:
    assert sorted({part_of(name) for name in MODULES} - set(FLOOR)) == []


def test_nothing_imports_from_a_floor_above() -> None:
    wrong = [
        f"{name} (floor {FLOOR[part_of(name)]}) imports {other} (floor {FLOOR[part_of(other)]})"
        for name, others in EVERY.items()
        for other in sorted(others)
        if FLOOR[part_of(other)] > FLOOR[part_of(name)]
    ]
    assert wrong == []


def test_neighbours_on_a_floor_do_not_know_each_other() -> None:
    """Each can be read, tested and replaced alone."""
    wrong = [
        f"{name} imports {other}"
        for name, others in EVERY.items()
        for other in sorted(others)
        if FLOOR[part_of(name)] == FLOOR[part_of(other)]
        and FLOOR[part_of(name)] not in OPEN_PLAN
        and part_of(name) != part_of(other)
    ]
    assert wrong == []


def reached_from(module: str) -> set[str]:
    """Every module that one imports, or that those import, in functions too."""
    found, new = set[str](), {module}
    while new:
        found |= new
        new = {other for name in new for other in EVERY[name]} - found
    return found


def test_what_answers_knows_no_training() -> None:
    wrong = {
        name: sorted(other for other in reached_from(name) if part_of(other) in ("training", "pipeline"))
        for name in MODULES
        if part_of(name) in ANSWERS
    }
    assert {name: found for name, found in wrong.items() if found} == {}


def test_no_circle_of_imports() -> None:
    """Imports in functions and for types count: a circle that is only put off is a circle."""
    graph = {name: others - {name} for name, others in EVERY.items() if part_of(name) != "__init__"}
    list(TopologicalSorter(graph).static_order())  # raises CycleError and names the circle


HEAVY = ("torch", "numpy", "timm", "datasets", "transformers", "sklearn", "lightning", "pandas", "PIL", "pydantic")
HELP = """
import sys, plait.cli
sys.argv = ['plait', '--help']
try:
    plait.cli.main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


@pytest.mark.parametrize("code", ["import plait", "import plait; dir(plait)", HELP], ids=["import", "dir", "help"])
def test_instant(code: str) -> None:
    """Importing the package and asking for help load no heavy library."""
    code += f"\nimport sys; print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "loaded:"
    assert ("compare" in done.stdout) == (code.startswith(HELP))


def test_public_names_resolve() -> None:
    for name in plait.__all__:
        home, attribute = plait._HOMES[name]
        found = getattr(plait, name)
        assert found.__name__ == attribute
        assert found.__module__.startswith(home)
    assert set(plait._HOMES) == set(plait.__all__)
    assert dir(plait) == sorted([*plait.__all__, "__version__"])


def test_unknown_public_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'plait' has no attribute 'Clasifier'$"):
        plait.Clasifier  # noqa: B018
