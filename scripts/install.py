"""Make a virtual environment with the locked versions; `make` calls this.

    python3 scripts/install.py core        # .venv: what `jielong` needs
    python3 scripts/install.py test        # .venv: what the tests and checks need besides
    python3 scripts/install.py referees    # .venv-referees: the libraries that parity tests compare with

Needs nothing but Python's own library. This file must parse and run on older Pythons, so that they can say
that they are too old.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
OLDEST = (3, 11)
NEWER = ("python3.11", "python3.12", "python3.13", "python3.14")
LOCKS = {
    "core": ["requirements.lock"],
    "test": ["requirements-test.lock"],
    "referees": ["requirements.lock", "requirements-test.lock", "requirements-referees.lock"],
}
# Without what it asks for: torchvision, in a build that matches torch's, for networks that no test runs.
ALONE = {"referees": ["torch-fidelity==0.4.0"]}


class Stop(Exception):
    """One line for the person, and the end."""


def torch_attempts(gpu: bool, system: str) -> list[list[str]]:
    """Arguments of the `pip install` calls that may give torch, in the order to try.

    Without an NVIDIA GPU: the CPU build wherever pip is configured to look, then PyTorch's own CPU index,
    then the default. With one, and on macOS, where no separate CPU build exists, the default at once.
    """
    default = ["torch==" + TORCH]
    if gpu or system == "Darwin":
        return [default]
    local = "torch==" + TORCH + "+cpu"
    return [[local], ["--index-url", CPU_INDEX, local], default]


def has_gpu() -> bool:
    """Whether the NVIDIA driver's own tool is here and sees a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        return b"GPU" in subprocess.run([tool, "-L"], capture_output=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False


def good_python() -> str:
    """The interpreter to make the environment with: this one, or a newer one on the PATH. Raises Stop."""
    if sys.version_info >= OLDEST:
        return sys.executable
    for name in NEWER:
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    raise Stop(
        f"Jielong needs Python 3.11 or newer and this is {platform.python_version()}: "
        "install one, then run make again with PYTHON=python3.11"
    )


def say(text: str) -> None:
    print("jielong: " + text, file=sys.stderr, flush=True)


class Ticker:
    """A line about how far one step is: rewritten on a terminal, else a new one every ten seconds."""

    def __init__(self, label: str) -> None:
        self.label, self.start, self.last = label, time.monotonic(), time.monotonic()
        self.terminal = sys.stderr.isatty()

    def show(self, log: Path, offset: int) -> None:
        now = time.monotonic()
        if not self.terminal and now - self.last < 10:
            return
        self.last = now
        with log.open("rb") as file:
            file.seek(offset)
            text = file.read().decode("utf-8", "replace")
        found = [line.split()[1] for line in text.splitlines() if line.startswith("Collecting ")]
        newest = f" ({len(found)} so far, now {found[-1].split('==')[0]})" if found else ""
        if "Installing collected packages" in text:
            newest = ", unpacking"
        line = f"{self.label}, {now - self.start:.0f} s{newest}"
        if self.terminal:
            sys.stderr.write("\r\x1b[K" + line[:100])
            sys.stderr.flush()
        else:
            say(line)

    def close(self) -> None:
        if self.terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def run(command: list[str], label: str, log: Path) -> bool:
    """Run one command with its output in the log, showing progress. Whether it succeeded."""
    ticker = Ticker(label)
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    with log.open("ab") as out:
        offset = out.tell()
        out.write(("\n$ " + " ".join(command) + "\n").encode())
        out.flush()
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=str(ROOT))
        try:
            while True:
                try:
                    return process.wait(timeout=0.5) == 0
                except subprocess.TimeoutExpired:
                    ticker.show(log, offset)
        except KeyboardInterrupt:
            process.wait()
            raise
        finally:
            ticker.close()


def make_venv(folder: Path, log: Path) -> Path:
    """The environment's interpreter; the environment is made first where it is missing or broken."""
    python = folder / "bin" / "python"
    check = [str(python), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    if python.exists() and subprocess.run(check, capture_output=True, check=False).returncode == 0:
        return python
    base = good_python()
    # Debian and Ubuntu split these off; without ensurepip, `venv` fails half-way with a page of text.
    if subprocess.run([base, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode:
        out = subprocess.run([base, "-V"], capture_output=True, text=True, check=False).stdout.split()
        short = ".".join(out[-1].split(".")[:2]) if out else "3"
        raise Stop(
            "this Python has no `venv` module: install it "
            f"(Debian, Ubuntu: `sudo apt install python{short}-venv`), then run make again"
        )
    say(f"making {folder.name} with {base}: a minute or two and about 1.5 GB, once")
    folder.mkdir(exist_ok=True)
    if not run([base, "-m", "venv", "--clear", str(folder)], "making " + folder.name, log):
        fail("the environment could not be made", log)
    return python


def fail(what: str, log: Path) -> None:
    """Raises Stop with the last lines of the log above it."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]:
        print("    " + line, file=sys.stderr)
    raise Stop(f"{what}; the whole log is {log}")


def has_torch(python: Path) -> bool:
    """Whether the locked torch is in the environment, in whatever build."""
    code = "from importlib.metadata import version; print(version('torch').split('+')[0])"
    out = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False).stdout
    return out.strip() == TORCH


def install_torch(pip: list[str], log: Path) -> None:
    attempts = torch_attempts(has_gpu(), platform.system())
    for attempt in attempts:
        say(f"installing {attempt[-1]}" + (f" from {attempt[1]}" if len(attempt) > 1 else ""))
        if run([*pip, *attempt], "installing torch", log):
            return
        if attempt is not attempts[-1]:
            say("not to be had there; trying the next place")
    fail("torch could not be installed", log)


def install(kind: str) -> None:
    """Bring one environment to its locked versions. Raises Stop."""
    folder = ROOT / (".venv-referees" if kind == "referees" else ".venv")
    log = ROOT / (folder.name + ".log")
    log.write_bytes(b"")
    start = time.monotonic()
    python = make_venv(folder, log)
    pip = [str(python), "-m", "pip", "install"]
    say(f"installing the versions of {', '.join(LOCKS[kind])}")
    for lock in LOCKS[kind]:
        if not run([*pip, "-r", lock], "installing", log):
            fail("the locked versions could not be installed", log)
        # After the first, when all that torch needs is there already: its own index has other versions of these.
        # Before the others: what asks for torch in them must find this build, or it would fetch another.
        if lock == "requirements.lock" and not has_torch(python):
            install_torch(pip, log)
    for package in ALONE.get(kind, []):
        if not run([*pip, "--no-deps", package], "installing", log):
            fail(package + " could not be installed", log)
    here = [*pip, "--no-deps", "--no-build-isolation", "-e", "."]
    if kind != "test" and not run(here, "installing jielong", log):
        fail("jielong could not be installed", log)
    log.replace(folder / "install.log")
    say(f"{folder.name} is ready ({time.monotonic() - start:.0f} s)")


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in LOCKS:
        say("usage: install.py " + "|".join(LOCKS))
        return 2
    try:
        install(sys.argv[1])
    except Stop as stop:
        say(str(stop))
        return 1
    except KeyboardInterrupt:
        say("interrupted; run make again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
