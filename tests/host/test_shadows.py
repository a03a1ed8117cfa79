"""A user's own files with the names of this project's packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from host.shadows import PACKAGES, complaint

ROOT = Path(__file__).parents[2]


def _python(folder: Path, *words: str, path: str = str(ROOT)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_nothing_is_in_the_way_here():
    assert complaint() is None


@pytest.mark.parametrize("name", sorted(set(PACKAGES) - {"host"}))
def test_python_m_host_names_the_file(name, tmp_path):
    (tmp_path / f"{name}.py").write_text("")
    result = _python(tmp_path, "-m", "host", "ports", "--json")
    assert result.returncode == 1
    line = f"{tmp_path / name}.py hides Eyespot's package {name!r} from Python: rename it"
    assert result.stderr.startswith(f"host: error: {line}") and result.stderr.count("\n") == 1
    assert json.loads(result.stdout)["error"].startswith(line)


@pytest.mark.parametrize("name", ["host", "model"])
def test_the_command_names_the_file(name, tmp_path):
    """As the console script does, with the file on PYTHONPATH."""
    (tmp_path / f"{name}.py").write_text("")
    start = "import sys, eyespot; sys.argv[1:] = ['ports']; sys.exit(eyespot.main())"
    result = _python(ROOT.parent, "-c", start, path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith(f"host: error: {tmp_path / name}.py hides")
    assert _python(tmp_path, "-m", "eyespot", "ports").stderr == result.stderr


def test_a_script_gets_an_import_error_that_names_the_file(tmp_path):
    (tmp_path / "model.py").write_text("")
    (tmp_path / "script.py").write_text("from host.board import Board\n")
    result = _python(tmp_path, str(tmp_path / "script.py"))
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: {tmp_path}/model.py hides Eyespot's package 'model'")


def test_a_folder_of_the_same_name_does_no_harm(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "boards" / "more").mkdir(parents=True)
    assert _python(tmp_path, "-m", "host", "ports").returncode == 0


def test_a_folder_is_named_where_it_does_harm(tmp_path, monkeypatch):
    """Some kinds of installation are looked at after all folders."""
    (tmp_path / "gateware").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gateware", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    line = complaint(["gateware"])
    assert line is not None and line.startswith(f"{tmp_path / 'gateware'} hides")
