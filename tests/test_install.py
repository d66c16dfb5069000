"""`scripts/install.py`: which torch, which Python, and one line when something is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def install():
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_torch_is_looked_for_in_the_right_places_in_order(install):
    cpu, index, default = install.torch_attempts(gpu=False, system="Linux")
    assert cpu == ["torch==2.13.0+cpu"]
    assert index == ["--index-url", "https://download.pytorch.org/whl/cpu", "torch==2.13.0+cpu"]
    assert default == ["torch==2.13.0"]
    assert install.torch_attempts(gpu=True, system="Linux") == [default]
    assert install.torch_attempts(gpu=False, system="Darwin") == [default]


def test_the_next_place_is_tried_until_one_has_torch(install, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(install, "has_gpu", lambda: False)
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    log = tmp_path / "log"
    log.write_text("no such version\n")
    pip = program(tmp_path, "pip", f'echo "$@" >>{tmp_path}/asked; [ "$1" = --index-url ]')
    install.install_torch([str(pip)], log)
    assert (tmp_path / "asked").read_text().splitlines() == [
        "torch==2.13.0+cpu",
        "--index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu",
    ]
    assert "trying the next place" in capsys.readouterr().err
    with pytest.raises(install.Stop, match="torch could not be installed"):
        install.install_torch([str(program(tmp_path, "pip", "exit 1"))], log)
    assert "no such version" in capsys.readouterr().err


@pytest.mark.parametrize(
    "body, gpu", [("echo 'GPU 0: A Card'", True), ("echo 'No devices were found'", False), (None, False)]
)
def test_a_gpu_is_one_that_the_driver_sees(install, tmp_path, monkeypatch, body, gpu):
    if body:
        program(tmp_path, "nvidia-smi", body)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.has_gpu() is gpu


def test_an_old_python_gives_way_to_a_newer_one_or_says_so(install, tmp_path, monkeypatch):
    assert install.good_python() == sys.executable
    monkeypatch.setattr(install.sys, "version_info", (3, 9, 2))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(install.Stop, match=r"Jielong needs Python 3\.11 or newer"):
        install.good_python()
    program(tmp_path, "python3.11", "exit 127")  # a shim with nothing behind it
    newer = program(tmp_path, "python3.12", "exit 0")
    assert install.good_python() == str(newer)


def test_a_missing_venv_module_is_one_line(install, tmp_path, monkeypatch):
    python = program(tmp_path, "python3", '[ "$1" = -V ] && echo Python 3.11.2 || exit 1')
    monkeypatch.setattr(install, "good_python", lambda: str(python))
    with pytest.raises(install.Stop) as stop:
        install.make_venv(tmp_path / ".venv", tmp_path / "log")
    assert "sudo apt install python3.11-venv" in str(stop.value) and "\n" not in str(stop.value)
    assert not (tmp_path / ".venv").exists()


def test_a_broken_environment_is_made_again_and_a_good_one_kept(install, tmp_path, monkeypatch):
    python = program(tmp_path, "python3", f'echo "$@" >>{tmp_path}/asked')
    monkeypatch.setattr(install, "good_python", lambda: str(python))
    folder = tmp_path / ".venv"
    (folder / "bin").mkdir(parents=True)
    program(folder / "bin", "python", "exit 1")
    log = tmp_path / "log"
    log.touch()
    assert install.make_venv(folder, log) == folder / "bin" / "python"
    assert f"-m venv --clear {folder}" in (tmp_path / "asked").read_text()
    program(folder / "bin", "python", "exit 0")
    (tmp_path / "asked").unlink()
    install.make_venv(folder, log)
    assert not (tmp_path / "asked").exists()


def test_the_script_parses_on_older_pythons_and_wants_one_word():
    import ast

    ast.parse((ROOT / "scripts" / "install.py").read_text("utf-8"), feature_version=(3, 7))
    out = subprocess.run(
        [sys.executable, "scripts/install.py", "all"], cwd=ROOT, capture_output=True, text=True
    )
    assert out.returncode == 2 and "core|test|referees" in out.stderr


@pytest.mark.parametrize(
    "name", ["requirements.lock", "requirements-test.lock", "requirements-referees.lock"]
)
def test_locks_hold_exact_versions_and_no_place_to_fetch_them(name):
    lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if not line.startswith("#")]
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))
    for line in lines:
        package, _, version = line.partition("==")
        assert package and version and package != "torch"
        assert not set(line) & set("/@ +")


def test_the_lock_holds_all_that_the_package_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()}
    wanted = {part.split(">")[0].split("[")[0] for part in project["dependencies"]}
    assert wanted - names == {"torch"}


def test_make_says_what_it_can_do():
    out = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ
    )
    assert all(f"make {goal}" in out.stdout for goal in ("demo", "test", "test-all", "results", "referees"))
