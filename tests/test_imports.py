"""What may import what: four floors, no circles, and few ways from the host into the gateware.

::

    host        boards, gateware.interface, model
    boards      gateware, model
    gateware    of model, the reference that it is compared with: model.int8
    model       nothing of ours

`docs` and `tests` stand above; nothing imports them.
"""

from __future__ import annotations

from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

PACKAGES = ("host", "boards", "gateware", "model")
ABOVE = ("docs", "tests")

#: Beginnings of what each package may import of the others.
ALLOWED = {
    "host": ("boards.catalog", "boards.pll", "gateware.interface", "model"),
    "boards": ("gateware", "model"),
    "gateware": ("model.int8",),
    "model": (),
}
#: The simulated board is the gateware itself, with its flash at the pads.
EXCEPTIONS = {
    ("host.simulation.port", "gateware.soc"),
    ("host.simulation.flash.flash_board", "gateware.soc"),
    ("host.simulation.flash.flash_board", "gateware.flash.pins"),
}


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def imports(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    return {
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }


def forbidden(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """Imports between packages that must not be, importer first."""
    found = set()
    for module, imported in imports(graph) - EXCEPTIONS:
        package, other = module.split(".")[0], imported.split(".")[0]
        if package not in PACKAGES or other not in (*PACKAGES, *ABOVE) or package == other:
            continue
        if not any(is_in(imported, allowed) for allowed in ALLOWED[package]):
            found.add((module, imported))
    return found


def circle(
    graph: grimp.ImportGraph, node: Callable[[str], str] = lambda module: module
) -> list[str] | None:
    """A circle of imports between modules, or what ``node`` makes of them; None without one."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for module, imported in imports(graph):
        if node(module) != node(imported):
            sorter.add(node(module), node(imported))
    try:
        sorter.prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports, those inside functions and for type checkers included."""
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def test_floors(graph):
    assert forbidden(graph) == set()


def test_exceptions_are_needed(graph):
    assert EXCEPTIONS <= imports(graph)


def test_modules_form_no_circle():
    # Names that only annotations mention import nothing when the program runs.
    running = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    assert circle(running) is None


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_form_no_circle(package):
    running = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    assert circle(running, lambda module: ".".join(module.split(".")[:2])) is None


def test_the_commands_stand_above_the_rest_of_the_host(graph):
    assert {
        (module, imported)
        for module, imported in imports(graph)
        if is_in(imported, "host.cli") and not is_in(module, "host.cli")
    } <= {("host.__main__", "host.cli")}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("model.int8.reference", "gateware.interface.tape"),
        ("model.plots.style", "host.errors"),
        ("gateware.engine.engine", "model.training.fit"),
        ("gateware.soc", "boards.catalog"),
        ("boards.build.cli", "host.cli"),
        ("boards.catalog", "host.errors"),
        ("host.link.link", "gateware.link.link"),
        ("host.compiler.cycles", "gateware.soc"),
        ("host.cli.compile", "boards.build.builder"),
        ("host.cli.boards", "docs.boards_table"),
        ("gateware.soc", "tests.tape_interpreter"),
    ],
)
def test_a_forbidden_import_is_noticed(importer, imported):
    planted = grimp.ImportGraph()
    for module in (importer, imported):
        planted.add_module(module)
    planted.add_import(importer=importer, imported=imported)
    assert forbidden(planted) == {(importer, imported)}


def test_a_circle_is_noticed():
    planted = grimp.ImportGraph()
    for module in "abc":
        planted.add_module(module)
    for importer, imported in ("ab", "bc", "ca"):
        planted.add_import(importer=importer, imported=imported)
    assert sorted(set(circle(planted) or ())) == ["a", "b", "c"]
