"""The C++ that Yosys writes, made to evaluate only what can have changed.

A board does little most of the time: its engine waits for the line, and the line for its engine.
Yosys's `eval` computes everything in every cycle. Here its statements are put into groups, by where
in the hierarchy their results are, and each register, memory, input and shared value has a mask of
the groups that read it. Where it changes, these groups are due; no other group is evaluated, and
registers of no other are committed.

A group of combinational statements stands behind all groups whose values it reads, so that one pass
settles the design, as in Yosys's own order. Clocked groups stay due until the clock rises.

Where much is going on, all this costs more than it saves: while more than half of the groups are
due, the design is evaluated as Yosys wrote it, some cycles at a time. Neither way changes what any
register or output is in any cycle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .cxxrtl_source import PART_CHARACTERS, SourceFile, in_file, long_functions

__all__ = ["evaluate_changes"]

#: Components of a hierarchical name that name a group.
_DEPTH = 2
#: Characters of a group, about: compilers need more than twice the time for twice the code.
_GROUP_CHARACTERS = 20_000
#: Characters of a file, about: each reads CXXRTL's header, which takes half a second.
_FILE_CHARACTERS = 150_000
_WORD_BITS = 64
#: Share of groups due from which it is quicker to evaluate all, and for how many cycles.
_BUSY = 0.5
_BUSY_CYCLES = 100

_NAME = re.compile(r"[A-Za-z_]\w*")
_MEMBER = re.compile(r"^\t(?:/\*(\w+)\*/ )?(value|wire|memory)<(\d+)> (\w+)(?: \{.*\})?;$", re.M)
_LOCAL = re.compile(r"^\tvalue<(\d+)> (\w+);\n", re.M)
_COMMIT = re.compile(r"^\t\tif \((\w+)\.commit\(observer\)\) changed = true;\n", re.M)
#: What a memory begins with; long, and mostly zeros.
_ZEROS = re.compile(
    r"^(\tstatic const value<\d+> \w+\[\d+\]) \{\n"
    r"(?:\t\t(?:value<\d+>\{0x0+u(?:, ?0x0+u)*\},? ?)+\n)+\t\};\n",
    re.M,
)
_EDGE = "\tbool posedge_p_clk = this->posedge_p_clk();\n"
_READ = "\tauto tmp_"
_CLOCKED = "\tif (posedge_p_clk) {\n"


@dataclass(frozen=True)
class _Variable:
    """A ``value``, ``wire`` (a register) or ``memory``."""

    kind: str
    width: int
    direction: str | None = None

    def differs(self, one: str, other: str) -> str:
        """C++: not zero where two values of it differ."""
        chunks = range(-(-self.width // 32))
        return " | ".join(f"({one}.data[{i}] ^ {other}.data[{i}])" for i in chunks)


@dataclass(frozen=True)
class _Statement:
    text: str
    defines: frozenset[str]
    uses: frozenset[str]
    clocked: bool


@dataclass
class _Group:
    """Statements that are evaluated together; ``index`` is the bit that says that they are due."""

    index: int
    name: str
    clocked: bool
    statements: list[_Statement] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(len(each.text) for each in self.statements)


def evaluate_changes(source: str) -> tuple[str, list[SourceFile]] | None:
    """A design as a header and files, as :func:`.cxxrtl_source.split` makes them.

    Parameters
    ----------
    source : str
        As Yosys wrote it, of one flat module called ``top`` with one clock, ``clk``.

    Returns
    -------
    header : str
    files : list of SourceFile
        Or None where the design has more than this knows: loops, other clocks, cells.
    """
    source = re.sub(r"^\s*//.*\n", "", source, flags=re.M)
    source = _ZEROS.sub(r"\1 {};\n", source)
    head, reset, evaluation, debug_info = long_functions(source)
    variables = {
        name: _Variable(kind, int(width), direction)
        for direction, kind, width, name in (match.groups() for match in _MEMBER.finditer(head))
        if name not in ("p_clk", "prev_p_clk")
    }
    local = {match[2]: _Variable("value", int(match[1])) for match in _LOCAL.finditer(evaluation)}
    statements = _statements(evaluation, variables | local)
    if statements is None:
        return None
    groups = _groups(statements)
    return _Writer(variables, local, statements, groups).write(head, reset, debug_info)


def _statements(evaluation: str, known: dict[str, _Variable]) -> list[_Statement] | None:
    """What `eval` does, in its order; None if it does something that is not known here."""
    begin = evaluation.index("{\n") + 2
    end = evaluation.rindex("\treturn converged;\n")
    body = _LOCAL.sub("", evaluation[begin:end])
    body = body.replace("\tbool converged = true;\n", "", 1).replace(_EDGE, "", 1)
    if "converged" in body or "edge_p_" in body.replace(_CLOCKED, ""):
        return None
    statements = []
    depth, text = 0, ""
    for line in body.splitlines(keepends=True):
        text += line
        depth += line.count("{") - line.count("}")
        # An asynchronous read of a memory is three of Yosys's statements; the last is in braces.
        if depth or (text.startswith(_READ) and "}" not in text):
            continue
        statement = _statement(text, known)
        if statement is None:
            return None
        statements.append(statement)
        text = ""
    return None if text else statements


def _statement(text: str, known: dict[str, _Variable]) -> _Statement | None:
    clocked = text.startswith(_CLOCKED)
    if clocked:
        text = "\t{\n" + text.removeprefix(_CLOCKED)
        targets = re.findall(r"(\w+)(?:\.next = |\.update\()", text)
        # A wire as it is now, or a memory that is indexed; everything else is read by its name.
        uses = {name for name in _NAME.findall(text) if name in known} - {*targets}
        uses |= {name for name in targets if re.search(rf"\b{name}(?:\.curr\b|\[)", text)}
    elif text.startswith(_READ):
        text = f"\t{{\n{text}\t}}\n"
        targets = re.findall(r"^\t\t(\w+) = ", text, re.M)
        uses = {name for name in _NAME.findall(text) if name in known} - {*targets}
    else:
        target, equals, expression = text.partition(" = ")
        if not equals or "{\n" in text:
            return None
        targets = [name for name in _NAME.findall(target) if name not in ("value", "concat")]
        uses = {name for name in _NAME.findall(expression) if name in known}
    if not targets or not all(name in known for name in targets):
        return None
    if any((known[name].kind == "value") == clocked for name in targets):
        return None
    if "cell_p_" in text or "performer" in text:
        return None
    return _Statement(text, frozenset(targets), frozenset(uses), clocked)


def _place(name: str) -> str:
    """Where in the hierarchy something is, for its group's name."""
    path = re.sub(r"^(?:memory_)?[pi]_", "", name).replace("flatten_5c_", "")
    parts = path.replace("_2e__5c_", "_2e_").split("_2e_")
    return ".".join(parts[:-1][:_DEPTH]) or "top"


def _groups(statements: Sequence[_Statement]) -> list[_Group]:
    groups: list[_Group] = []
    made_in: dict[str, int] = {}
    latest: dict[tuple[str, bool], _Group] = {}

    def add(statement: _Statement, after: int) -> None:
        key = _place(min(statement.defines)), statement.clocked
        group = latest.get(key)
        if group is None or group.index < after or group.size > _GROUP_CHARACTERS:
            group = latest[key] = _Group(len(groups), *key)
            groups.append(group)
        group.statements.append(statement)
        made_in.update(dict.fromkeys(statement.defines, group.index))

    for statement in statements:
        if not statement.clocked:
            add(statement, max((made_in.get(name, 0) for name in statement.uses), default=0))
    # What one memory or register is written by stays together: it is committed once.
    by_place = sorted(
        (each for each in statements if each.clocked),
        key=lambda each: (_place(min(each.defines)), min(each.defines)),
    )
    for statement in by_place:
        owner = next((made_in[name] for name in statement.defines if name in made_in), None)
        if owner is None:
            add(statement, 0)
        else:
            groups[owner].statements.append(statement)
    return groups


class _Writer:
    """C++ of groups."""

    def __init__(
        self,
        variables: dict[str, _Variable],
        local: dict[str, _Variable],
        statements: Sequence[_Statement],
        groups: Sequence[_Group],
    ) -> None:
        self.variables = variables
        self.local = local
        self.statements = statements
        self.groups = groups
        self.words = range(-(-len(groups) // _WORD_BITS))
        owner = {
            name: group.index
            for group in groups
            for statement in group.statements
            for name in statement.defines
        }
        self.masks: dict[str, int] = {}
        for group in groups:
            for statement in group.statements:
                for name in statement.uses:
                    # Within its group a value is computed before it is read.
                    if self._of(name).kind != "value" or owner.get(name) != group.index:
                        self.masks[name] = self.masks.get(name, 0) | 1 << group.index

    def _of(self, name: str) -> _Variable:
        return self.variables.get(name) or self.local[name]

    def _parts(self, mask: int) -> Iterable[tuple[int, str]]:
        """The words of a mask that are not zero."""
        for word in self.words:
            if part := mask >> _WORD_BITS * word & (1 << _WORD_BITS) - 1:
                yield word, f"{part:#x}u"

    def _due(self, mask: int, differs: str) -> str:
        """C++: the groups of the mask are due if something differs."""
        if not mask:
            return ""
        marks = "".join(f" due{word} |= {part} & changed;" for word, part in self._parts(mask))
        return f"\t{{ const uint64_t changed = -uint64_t(({differs}) != 0);{marks} }}\n"

    def _evaluate(self, group: _Group) -> str:
        names = sorted({name for each in group.statements for name in each.defines} & {*self.local})
        text = "".join(
            f"\tvalue<{self.local[name].width}> {name};\n"
            for name in names
            if name not in self.masks
        )
        for statement in group.statements:
            shared = [name for name in sorted(statement.defines) if name in self.masks]
            if statement.clocked or not shared:
                text += statement.text
                continue
            text += "".join(f"\tconst auto old_{name} = {name};\n" for name in shared)
            text += statement.text
            text += "".join(
                self._due(self.masks[name], self._of(name).differs(name, f"old_{name}"))
                for name in shared
            )
        return f"void p_top::eval_{group.index}() {{\n{text}}}\n"

    def _commit(self, group: _Group) -> str:
        text = ""
        registers: dict[int, list[str]] = {}
        for name in sorted({name for each in group.statements for name in each.defines}):
            if self.variables[name].kind == "memory":
                due = self._due(self.masks.get(name, 0), "written")
                text += f"\t{{ observer nobody; bool written = {name}.commit(nobody);\n{due}\t}}\n"
            else:
                registers.setdefault(self.masks.get(name, 0), []).append(name)
        for mask, names in registers.items():
            differs = " | ".join(
                self.variables[name].differs(f"{name}.curr", f"{name}.next") for name in names
            )
            text += self._due(mask, differs)
            text += "".join(f"\t{name}.curr = {name}.next;\n" for name in names)
        return f"void p_top::commit_{group.index}() {{\n{text}}}\n"

    def _call(self, groups: Iterable[_Group], function: str, bits: str) -> str:
        text = ""
        for group in groups:
            word, bit = divmod(group.index, _WORD_BITS)
            text += (
                f"\tif ({bits}{word} >> {bit} & 1) {function}_{group.index}(); // {group.name}\n"
            )
        return text

    def _whole(self) -> tuple[list[str], set[str]]:
        """Functions that evaluate everything in Yosys's order, and what several of them use."""
        parts: list[list[_Statement]] = [[]]
        size = 0
        for statement in self.statements:
            if size > PART_CHARACTERS:
                parts.append([])
                size = 0
            parts[-1].append(statement)
            size += len(statement.text)
        used = [
            {n for each in part for n in each.defines | each.uses} & {*self.local} for part in parts
        ]
        shared = {name for name in self.local if sum(name in each for each in used) > 1}
        functions = []
        for index, (part, names) in enumerate(zip(parts, used)):
            own = "".join(
                f"\tvalue<{self.local[name].width}> {name};\n"
                for name in sorted(names - shared - {*self.masks})
            )
            text = "".join(each.text for each in part)
            functions.append(f"void p_top::whole_{index}() {{\n{own}{text}}}\n")
        return functions, shared

    def _commit_all(self) -> str:
        """C++: registers and memories take their next values, whether they differ or not."""
        text = ""
        for name in sorted({n for each in self.statements if each.clocked for n in each.defines}):
            if self.variables[name].kind == "memory":
                text += f"\t{name}.commit(nobody);\n"
            else:
                text += f"\t{name}.curr = {name}.next;\n"
        return f"void p_top::commit_all() {{\n\tobserver nobody;\n{text}}}\n"

    def write(self, head: str, reset: str, debug_info: str) -> tuple[str, list[SourceFile]]:
        clocked = [group for group in self.groups if group.clocked]
        settled = [group for group in self.groups if not group.clocked]
        edge = sum(1 << group.index for group in clocked)
        whole, shared = self._whole()
        members = [
            f"\tvalue<{self.local[name].width}> {name};"
            for name in sorted(shared | {name for name in self.masks if name in self.local})
        ]
        members += [f"\tuint64_t due{word} = ~0ull, run{word} = 0;" for word in self.words]
        members += [f"\tvoid eval_{group.index}();" for group in self.groups]
        members += [f"\tvoid commit_{group.index}();" for group in clocked]
        members += [f"\tvoid whole_{index}();" for index in range(len(whole))]
        everything = "".join(f" due{word} = ~0ull;" for word in self.words)
        members.append(f"\tvoid commit_all();\n\tvoid wake() {{{everything} }}")
        members.append("\tunsigned busy = 0;")
        evaluation = "".join(f"\t\twhole_{index}();\n" for index in range(len(whole)))
        evaluation = f"\tif (busy && posedge_p_clk()) {{\n{evaluation}\t\treturn true;\n\t}}\n"
        for name, variable in self.variables.items():
            if variable.direction == "input" and name in self.masks:
                members.append(f"\tvalue<{variable.width}> last_{name};")
                evaluation += self._due(self.masks[name], variable.differs(name, f"last_{name}"))
                evaluation += f"\tlast_{name} = {name};\n"
        evaluation += self._call(settled, "eval", "due")
        for word in self.words:
            part = edge >> _WORD_BITS * word & (1 << _WORD_BITS) - 1
            rises = f"posedge_p_clk() ? due{word} & {part:#x}u : 0"
            evaluation += f"\trun{word} = {rises}; due{word} &= {part:#x}u & ~run{word};\n"
        evaluation += self._call(clocked, "eval", "run")
        # The clock's own lines stay.
        begin = head.index("\t\tbool changed = false;\n")
        end = head.index("\t\treturn changed;\n", begin)
        rest = _COMMIT.sub("", head[begin:end])
        many = " + ".join(f"__builtin_popcountll(due{word})" for word in self.words)
        rest = f"""
\t\tif (busy && posedge_p_clk()) {{
\t\t\tcommit_all();
\t\t\twake();
\t\t\tbusy--;
\t\t\tprev_p_clk = p_clk;
\t\t\treturn true;
\t\t}}
{rest}"""
        check = f"\t\tif ({many} > {len(self.groups) * _BUSY}) busy = {_BUSY_CYCLES};\n"
        head = head[:begin] + rest + self._call(clocked, "commit", "run") + check + head[end:]
        at = head.rindex("}; // struct p_top")
        header = "\n".join(["#pragma once", head[:at], *members, head[at:]])
        header += (
            f"inline bool p_top::eval(performer *performer) {{\n{evaluation}\treturn true;\n}}\n"
        )
        files = [
            SourceFile("reset.cc", in_file(reset), runs_once=True),
            SourceFile("debug_info.cc", in_file(debug_info), runs_once=True),
        ]
        text = ""
        functions = [self._evaluate(each) for each in self.groups]
        functions += [self._commit(each) for each in clocked]
        functions += [*whole, self._commit_all()]
        for function in functions:
            text += function
            if len(text) > _FILE_CHARACTERS or function is functions[-1]:
                files.append(SourceFile(f"eval_{len(files) - 2}.cc", in_file(text)))
                text = ""
        return f"{header}}} // namespace cxxrtl_design\n", files
