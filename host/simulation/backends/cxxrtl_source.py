"""The C++ that Yosys writes, made quicker to compile and to run.

Yosys's `write_cxxrtl` makes one class, of which three functions are long: `reset`, which sets the
initial values, `debug_info`, which lists registers and memories, and `eval`, which is run in every
cycle. Compilers need more than twice the time for a function that is twice as long, so `eval` is
cut into parts, and all of them are files of their own that can be compiled at the same time. This
is for designs of gates; for others, :mod:`.cxxrtl_activity` cuts where less has to be evaluated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate

__all__ = [
    "GATES",
    "PART_CHARACTERS",
    "SourceFile",
    "as_gates",
    "commit_without_branches",
    "in_file",
    "long_functions",
    "split",
]

#: Characters of `eval` in one file, about: what compiles in some seconds.
PART_CHARACTERS = 70_000
#: Gates without the loops over words that CXXRTL's own have: the compiler does not see through
#: some ten thousand of them.
GATES = """
namespace {
using bit = cxxrtl::value<1>;
inline bit and1(const bit &a, const bit &b) { return bit{a.data[0] & b.data[0]}; }
inline bit or1(const bit &a, const bit &b) { return bit{a.data[0] | b.data[0]}; }
inline bit xor1(const bit &a, const bit &b) { return bit{a.data[0] ^ b.data[0]}; }
inline bit not1(const bit &a) { return bit{a.data[0] ^ 1u}; }
}
"""


def commit_without_branches(source: str) -> str:
    """Copy every register at a clock edge rather than those that change: a third less time.

    Where one evaluation does not settle the design, which registers changed matters: then nothing
    is done.
    """
    if "bool converged = true;" not in source:
        return source
    wires = set(re.findall(r"\bwire<\d+> (\w+)", source))

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        return f"{name}.curr = {name}.next;" if name in wires else match[0]

    return re.sub(r"if \((\w+)\.commit\(observer\)\) changed = true;", replace, source)


def as_gates(source: str) -> str:
    """For a design of gates: plain ones, and no question before each whether the clock rises.

    It does in every evaluation, as the driver leaves the falling edge out.
    """
    source = source.replace(
        "bool posedge_p_clk = this->posedge_p_clk();", "const bool posedge_p_clk = true;"
    )
    begin = source.index("namespace cxxrtl_design")
    plain = re.sub(r"\b(and|or|xor|not)_uu?<1>\(", r"\g<1>1(", source[begin:])
    return source[:begin] + GATES + plain


@dataclass(frozen=True)
class SourceFile:
    """A file to be compiled.

    Attributes
    ----------
    name : str
    text : str
    runs_once : bool
        Optimisation gains nothing: it runs when the simulation begins or ends.
    """

    name: str
    text: str
    runs_once: bool = False


def long_functions(source: str) -> tuple[str, str, str, str]:
    """What stands before the long functions, and then `reset`, `eval` and `debug_info`."""
    begin = source.index("void p_top::reset() {")
    eval_begin = source.index("bool p_top::eval(performer *performer) {")
    debug_begin = source.index("CXXRTL_EXTREMELY_COLD\nvoid p_top::debug_info", eval_begin)
    end = source.index("} // namespace cxxrtl_design", debug_begin)
    return (
        source[:begin],
        source[begin:eval_begin],
        source[eval_begin:debug_begin],
        source[debug_begin:end],
    )


def split(source: str) -> tuple[str, list[SourceFile]]:
    """Cut a design into a header and files that can be compiled apart.

    Parameters
    ----------
    source : str
        As Yosys wrote it, of one flat module called ``top``.

    Returns
    -------
    header : str
        For all files, the driver's included.
    files : list of SourceFile
        None if the design is small: then all of it is in the header.
    """
    head, reset, evaluation, debug_info = long_functions(source)
    at = head.rindex("}; // struct p_top")
    # Here everything is evaluated anyhow.
    head = f"{head[:at]}\n\tvoid wake() {{}}\n{head[at:]}"
    parts = _parts(evaluation)
    if len(parts) < 2:
        return f"{head}{reset}{evaluation}{debug_info}}} // namespace cxxrtl_design\n", []
    # A variable of one part is declared there; what several parts use belongs to the class.
    shared, own = _declarations(evaluation, parts)
    members = [*shared, *(f"void eval_{index}();" for index in range(len(parts)))]
    at = head.rindex("}; // struct p_top")
    header = "#pragma once\n" + "\n".join([head[:at], *members, head[at:]])
    calls = "".join(f"  eval_{index}();\n" for index in range(len(parts)))
    whole = f"bool p_top::eval(performer *performer) {{\n{calls}  return true;\n}}\n"
    files = [
        SourceFile("reset.cc", in_file(reset), runs_once=True),
        SourceFile("debug_info.cc", in_file(debug_info), runs_once=True),
    ]
    edges = "".join(re.findall(_EDGE, evaluation, re.MULTILINE))
    for index, (variables, part) in enumerate(zip(own, parts)):
        body = f"void p_top::eval_{index}() {{\n{edges}{''.join(variables)}{part}}}\n"
        files.append(SourceFile(f"eval_{index}.cc", in_file(body)))
    return f"{header}inline {whole}}} // namespace cxxrtl_design\n", files


#: At the top of `eval`: variables without a value, and edges of the clock, which stay as they are.
_VARIABLE = r"^\tvalue<\d+> (\w+);\n"
_EDGE = r"^\t(?:const )?bool \w*edge_p_\w+ = .*;\n"
_CONVERGED = "\tbool converged = true;\n"


def in_file(body: str) -> str:
    return f'#include "design.h"\nnamespace cxxrtl_design {{\n{body}}}\n'


def _parts(evaluation: str) -> list[str]:
    """The statements of `eval`, in parts of similar length; one part if it cannot be cut."""
    begin = evaluation.index("{\n") + 2
    end = evaluation.rindex("\treturn converged;\n")
    body = evaluation[begin:end]
    if evaluation.count("converged") != 2 or not body.startswith(_CONVERGED):
        return [body]  # it has loops, whose result is more than what it leaves in the class
    body = re.sub(_EDGE, "", body[len(_CONVERGED) :], flags=re.MULTILINE)
    body = re.sub(_VARIABLE, "", body, flags=re.MULTILINE)
    statements: list[str] = []
    depth, pending = 0, ""
    for line in body.splitlines(keepends=True):
        code = line.strip()
        if not code or code.startswith("//"):
            continue
        if depth == 0 and re.match(r"(?:value|wire|auto|bool|const)\b[^.]* \w+ ?=", code):
            return [body]  # a variable that is not known of here
        pending += line
        depth += code.count("{") - code.count("}")
        if depth == 0:
            statements.append(pending)
            pending = ""
    if pending:
        return [body]
    size = sum(map(len, statements))
    count = max(1, round(size / PART_CHARACTERS))
    parts = [""] * count
    for statement, place in zip(statements, accumulate(map(len, statements))):
        parts[min(count - 1, (place - 1) * count // size)] += statement
    return [part for part in parts if part]


def _declarations(evaluation: str, parts: list[str]) -> tuple[list[str], list[list[str]]]:
    """Declarations of the variables that several parts use, and of those that each part has."""
    users: dict[str, list[int]] = {}
    for index, part in enumerate(parts):
        for word in set(re.findall(r"\w+", part)):
            users.setdefault(word, []).append(index)
    shared: list[str] = []
    own: list[list[str]] = [[] for _ in parts]
    for match in re.finditer(_VARIABLE, evaluation, re.MULTILINE):
        used = users.get(match[1], [])
        (own[used[0]] if len(used) == 1 else shared).append(match[0])
    return shared, own
