"""What came of a build."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median

from model.errors import EyespotError

__all__ = ["BuildError", "BuildReport", "PlacementError"]

_FILE = "report.json"


class BuildError(EyespotError):
    """A bitstream could not be built, or not be sent to the board."""


class PlacementError(BuildError):
    """The placer found no place for every cell; another seed may."""


@dataclass(frozen=True)
class BuildReport:
    """A bitstream, and all that it takes to make it again.

    Attributes
    ----------
    board, device : str
    bitstream : str
        Its path.
    sha256 : str
        Of the bitstream.
    source_hash : str
        Of the gateware, as INFO tells it.
    frequency_mhz : float
        Clock of the engine.
    fmax_mhz : float
        What nextpnr found possible for the slowest clock, after routing.
    timing_met : bool
    resources : dict
        Cell type to (used, available).
    seed : int
        Of nextpnr.
    tools : dict of str to str
        Versions.
    date : str
        Of the build, ISO 8601.
    seconds : float
    tried : dict
        Seed to the Fmax that it reached, None if no placement was found: this one and what was
        tried beside it.
    """

    board: str
    device: str
    bitstream: str
    sha256: str
    source_hash: str
    frequency_mhz: float
    fmax_mhz: float
    timing_met: bool
    resources: dict[str, tuple[int, int]]
    seed: int
    tools: dict[str, str]
    date: str
    seconds: float
    tried: dict[int, float | None] = field(default_factory=dict)

    def save(self, directory: Path) -> None:
        (directory / _FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, directory: Path) -> BuildReport:
        """The report of the build in ``directory``; raise BuildError if there is none."""
        path = directory / _FILE
        try:
            values = json.loads(path.read_text())
            values["resources"] = {
                name: (int(used), int(available))
                for name, (used, available) in values["resources"].items()
            }
            values["tried"] = {int(seed): fmax for seed, fmax in values["tried"].items()}
            return cls(**{each.name: values[each.name] for each in fields(cls)})
        except FileNotFoundError:
            raise BuildError(f"{directory} has no finished build: build the board first") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BuildError(f"{path}: cannot be read: {error}") from error

    @property
    def missed(self) -> str:
        """Why a build that missed timing is refused, and what may help."""
        return (
            f"{self.fmax_mhz:.2f} MHz, {self.frequency_mhz:g} MHz wanted; "
            "more --seeds or a lower --frequency may do"
        )

    def describe(self) -> str:
        """Some lines for people."""
        lines = [f"{self.board} ({self.device}), seed {self.seed}, {self.seconds:.0f} s"]
        for name, (used, available) in self.resources.items():
            lines.append(f"  {name:<16}{used:>6} of {available:>6}  {used / available:>4.0%}")
        verdict = "met" if self.timing_met else "MISSED"
        lines.append(
            f"  timing {verdict}: {self.fmax_mhz:.2f} MHz after routing, "
            f"{self.frequency_mhz:g} MHz wanted"
        )
        if len(self.tried) > 1:
            lines.append(f"  seeds {self.describe_seeds()}")
        tools = ", ".join(f"{name} {version}" for name, version in self.tools.items())
        lines.append(f"  {self.date}, {tools}, source hash {self.source_hash}")
        lines.append(f"  bitstream {self.bitstream}")
        return "\n".join(lines)

    def describe_seeds(self) -> str:
        """What the seeds reached that were tried, in one line."""
        reached = sorted(fmax for fmax in self.tried.values() if fmax is not None)
        met = sum(fmax >= self.frequency_mhz for fmax in reached)
        text = f"{min(self.tried)} to {max(self.tried)}: {reached[0]:.1f} to {reached[-1]:.1f} MHz"
        return f"{text}, median {median(reached):.1f}, {met} of {len(self.tried)} met"


def parse_log(log: str) -> tuple[float, dict[str, tuple[int, int]]]:
    """Fmax of the slowest clock after routing, and the cells used, from nextpnr's log."""
    resources = {
        name: (int(used), int(available))
        for name, used, available in re.findall(r"Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log)
        if int(used)
    }
    # The log tells the frequencies after placement and again after routing: the last ones count.
    fmax: dict[str, float] = {}
    for name, value in re.findall(r"Max frequency for clock\s+'([^']+)': ([\d.]+) MHz", log):
        fmax[name] = float(value)
    if not fmax:
        raise BuildError("nextpnr reported no clock: see its log")
    return min(fmax.values()), resources


def first_error(*logs: Path) -> str:
    """The first line of the tools' logs that tells an error."""
    for path in logs:
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                if "ERROR" in line:
                    return line.strip()
    return f"the tools failed: see {logs[0]}"
