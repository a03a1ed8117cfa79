"""A design's C++ cut into files: nothing lost, nothing shared that need not be."""

from __future__ import annotations

import re

import pytest

from host.simulation.backends import cxxrtl_source
from host.simulation.backends.cxxrtl_source import split

STATEMENTS = [
    "\tp_sum = add_uu<8>(p_a.curr, i_shared);\n",
    "\t// cell\n\tif (posedge_p_clk) {\n\t\tp_a.next = (p_rst ? value<8>{0u} : p_sum);\n\t}\n",
    "\t{\n\t\tauto tmp_0 = memory_index(i_shared, 0, 8);\n\t\tif (tmp_0.valid) {\n\t\t}\n\t}\n",
    "\tp_tx = p_a.curr.slice<0>().val();\n",
]


def design(statements: list[str], converged: str = "") -> str:
    return (
        "namespace cxxrtl_design {\n\nstruct p_top : public module {\n\twire<8> p_a;\n"
        "\tvalue<1> p_tx;\n}; // struct p_top\n\n"
        "void p_top::reset() {\n\tp_a = wire<8>{3u};\n}\n\n"
        "bool p_top::eval(performer *performer) {\n\tbool converged = true;\n"
        "\tbool posedge_p_clk = this->posedge_p_clk();\n\t// \\hdlname: sum\n"
        "\tvalue<8> p_sum;\n\tvalue<8> i_shared;\n\tvalue<8> i_unused;\n"
        + "".join(statements)
        + converged
        + "\treturn converged;\n}\n\nCXXRTL_EXTREMELY_COLD\n"
        "void p_top::debug_info(debug_items *items) {\n}\n\n} // namespace cxxrtl_design\n"
    )


def code(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()[:2] not in ("", "//")]


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(cxxrtl_source, "PART_CHARACTERS", 60)


def test_every_statement_is_in_one_part_in_its_order():
    header, files = split(design(STATEMENTS))
    assert [file.name for file in files[:3]] == ["reset.cc", "debug_info.cc", "eval_0.cc"]
    assert len(files) > 4
    bodies = []
    for index, file in enumerate(files[2:]):
        begin = file.text.index(f"void p_top::eval_{index}() {{\n")
        assert file.text.count("posedge_p_clk = this->posedge_p_clk();") == 1
        lines = code(file.text[begin:])[1:-2]
        bodies += [line for line in lines if not re.match(r"value<8> \w+;|bool posedge", line)]
        assert f"\nvoid eval_{index}();\n" in header
    assert bodies == code("".join(STATEMENTS))
    calls = re.findall(r"eval_(\d+)\(\);\n", header[header.index("inline bool p_top::eval") :])
    assert calls == [str(index) for index in range(len(files) - 2)]


def test_only_what_several_parts_use_belongs_to_the_class():
    header, files = split(design(STATEMENTS))
    assert "value<8> i_shared;" in header and "value<8> p_sum;" in header
    parts = "p_tx = i_own;\n", "i_own = p_a.curr;\n"
    header, files = split(
        design(STATEMENTS[:3] + ["\t{\n" + "".join(parts[::-1]) + "}\n"]).replace(
            "value<8> i_unused;", "value<8> i_own;"
        )
    )
    assert "i_own" not in header
    assert "\tvalue<8> i_own;\n" in files[-1].text


def test_what_runs_once_is_marked():
    _, files = split(design(STATEMENTS))
    assert [file.name for file in files if file.runs_once] == ["reset.cc", "debug_info.cc"]
    assert "p_a = wire<8>{3u};" in files[0].text


@pytest.mark.parametrize(
    ("statements", "converged"),
    [
        (STATEMENTS, "\tconverged = false;\n"),  # a loop
        ([*STATEMENTS, "\tvalue<8> local = p_a.curr;\n"], ""),  # a variable with a value
        (STATEMENTS[:1], ""),  # small
    ],
)
def test_other_designs_stay_whole(statements, converged):
    source = design(statements, converged)
    header, files = split(source)
    assert not files
    wake = "\n\tvoid wake() {}\n"
    assert header.count(wake) == 1 and header.replace(wake, "") == source
