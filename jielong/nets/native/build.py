"""Compiling step.cpp once for this machine, and loading it.

    library = build.library()       # None where there is no compiler, or JIELONG_NATIVE=0

What is compiled lies in $XDG_CACHE_HOME/jielong (~/.cache/jielong) under a name made of the source, the compiler and
the CPU's instructions, so that a folder carried to another machine is not loaded there.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from jielong.base.talk import Talk

SOURCES = ("step.cpp", "attention.h", "products.h", "beside.h", "choice.h", "vectors.h")
# no -ffast-math: every product is to be summed in the order that is written, whatever stands around it
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-fvisibility=hidden",
         "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")  # fmt: skip
SWITCH = "JIELONG_NATIVE"


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled step, made first where it has not been (a few seconds); None where that cannot be done."""
    compiler = found()
    if compiler is None:
        return None
    import torch  # its OpenMP must be in the process first: two of them would fight over the cores

    assert torch.get_num_threads() > 0
    try:
        return _load(_made(Path(__file__).parent, compiler))
    except (OSError, subprocess.SubprocessError):
        return None


def found() -> str | None:
    """The compiler that would be used; None where there is none, or none is wanted."""
    if os.environ.get(SWITCH, "1") in ("0", "") or os.name != "posix":
        return None
    return shutil.which(os.environ.get("CXX") or "g++") or shutil.which("clang++")


def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    loaded.jielong_vector.restype = ctypes.c_int64
    for name in ("jielong_pack", "jielong_pack8", "jielong_step", "jielong_crest", "jielong_race"):
        getattr(loaded, name).restype = None
    return loaded


def _made(folder: Path, compiler: str) -> Path:
    """The library of this source, compiler and CPU. OSError or SubprocessError when it cannot be made."""
    said = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    parts = [said, " ".join(FLAGS).encode(), _cpu().encode(), *((folder / name).read_bytes() for name in SOURCES)]
    place = cache()
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]
    target = place / f"step-{name}.so"
    if not target.exists():
        talk = Talk()
        if talk.terminal():
            talk.say("compiling the decoder for this machine, once: a few seconds")
        handle, fresh = tempfile.mkstemp(suffix=".so", dir=place)
        os.close(handle)
        try:
            command = [compiler, *FLAGS, str(folder / SOURCES[0]), "-o", fresh]
            subprocess.run(command, capture_output=True, check=True, timeout=300)
            os.replace(fresh, target)
        finally:
            Path(fresh).unlink(missing_ok=True)
    return target


def cache() -> Path:
    """The folder for what is compiled: this user's own, or else OSError. What lies in it is run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    place = Path(base) / "jielong"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = place.stat()
    if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(f"{place} can be written by others")
    return place


def _cpu() -> str:
    """The name and the instructions of this CPU, as far as they can be known."""
    lines = [platform.machine(), platform.processor()]
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return " ".join(lines)
    lines += sorted({line for line in text.splitlines() if line.startswith(("flags", "model name", "Features"))})
    return " ".join(lines)
