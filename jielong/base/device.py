"""What this machine has, and which part of it to use. torch is imported inside, where it is needed."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jielong.base.errors import UserError

if TYPE_CHECKING:
    import torch

ROOT = Path("/")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "i8mm", "sve")


def pick(name: str = "auto") -> str:
    """The torch device to use: "cpu", "cuda", "cuda:1" or "mps"; "auto" takes the fastest that is there.

    Raises UserError in one line for a name that is none or a device that is not there.
    """
    if name == "cpu":
        return name
    if not re.fullmatch(r"auto|mps|cuda(:\d+)?", name):
        raise UserError(f"{name!r} is no device; use auto, cpu, cuda, cuda:N or mps")
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return "cuda" if cards else "mps" if mps else "cpu"
    if name == "mps" and not mps:
        raise UserError("this machine or this torch has no mps (Apple GPU); use --device cpu")
    if name.startswith("cuda"):
        if not cards:
            raise UserError("no CUDA device here, or this torch was built without CUDA; use --device cpu")
        if int(name.partition(":")[2] or 0) >= cards:
            raise UserError(f"there is no {name}: this machine has {cards}, counted from cuda:0")
    return name


def threads(root: Path = ROOT) -> int:
    """How many threads do useful matrix work: the physical cores we may run on, within the cgroup's quota.

    OMP_NUM_THREADS, where set, is what the person asked for.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    topology = root / "sys/devices/system/cpu"
    cores = {_read(topology / f"cpu{c}/topology/thread_siblings_list") or str(c) for c in allowed}
    quota = cpu_quota(root)
    return max(1, min(len(cores), int(quota)) if quota is not None else len(cores))


def cpu_quota(root: Path = ROOT) -> float | None:
    """CPUs' worth of time the cgroup grants (version 2 or 1, the tightest on the way up), or None."""
    quotas = []
    for folder in _cgroups(root, "cpu"):
        if limit := _read(folder / "cpu.max"):
            amount, _, period = limit.partition(" ")
        else:
            amount, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if amount.isdigit() and int(period or 100_000) > 0:
            quotas.append(int(amount) / int(period or 100_000))
    return min(quotas, default=None)


def memory(root: Path = ROOT) -> int:
    """Bytes of memory this process may have: the machine's, or less where a cgroup limits it. 0: unknown."""
    found = re.search(r"MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo"))
    limits = [int(found[1]) * 1024] if found else []
    if not limits and root == ROOT and "SC_PHYS_PAGES" in os.sysconf_names:
        limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in _cgroups(root, "memory"):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if limit.isdigit():  # version 1 says "no limit" by a number near 2**63
            limits.append(int(limit))
    return min(limits, default=0)


def keep_memory() -> None:
    """Let freed memory stay with this process, where glibc's allocator serves it; elsewhere nothing happens.

    Left alone, glibc hands the pages of every freed large tensor back and asks for zeroed ones for the next: with
    the small models of this house that is a fifth to a half of a training step.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**30)


def peak_memory() -> int:
    """The most bytes of memory this process has held so far (resident)."""
    import resource

    # the kernel's own figure first: getrusage's includes what the parent held when it started us
    found = re.search(r"VmHWM:\s+(\d+) kB", _read(ROOT / "proc/self/status"))
    if found:
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def machine(root: Path = ROOT) -> dict[str, Any]:
    """The machine in JSON values, for results and ``doctor``: imports nothing heavy, takes milliseconds."""
    info = _read(root / "proc/cpuinfo")
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", info, re.MULTILINE)
    have = set(flags[1].split()) if flags else set()
    name = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    return {
        "cpu": name[1] if name else platform.processor() or platform.machine(),
        "cores": threads(root),
        "memory": memory(root),
        "features": [feature for feature in FEATURES if feature in have],
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def version(package: str) -> str | None:
    """The installed version of a package, without importing it; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def disk_free(path: str | Path = ".") -> int:
    """Bytes free where ``path`` is or would be."""
    place = Path(path).absolute()
    while not os.path.exists(place):
        place = place.parent
    return shutil.disk_usage(place).free


def matmul_rate(
    shapes: Sequence[tuple[int, int, int]] = ((512, 512, 512),),
    dtype: str = "float32",
    device: str = "cpu",
    repeats: int = 7,
    seconds: float = 0.5,
) -> float:
    """FLOP/s this machine reaches in (m, k) @ (k, n) products, the shapes weighted by their work (2 m k n).

    Median over interleaved repeats of the time of each shape; about ``seconds`` in all, with torch's present
    number of threads.
    """
    import torch

    kind = getattr(torch, dtype)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        # not random (that would move torch's global generator), not constant (chips run those faster)
        return torch.linspace(-1, 1, rows * columns, device=device).view(rows, columns).to(kind)

    pairs = [(matrix(m, k), matrix(k, n)) for m, k, n in shapes]
    with torch.inference_mode():
        inner = []  # so many products are timed as one, for the clock's and the caller's overhead to vanish
        for a, b in pairs:
            _timed(a, b, 1)  # the first call builds kernels
            inner.append(max(1, int(seconds / repeats / len(pairs) / max(_timed(a, b, 2) / 2, 1e-7))))
        times = [[_timed(a, b, n) / n for (a, b), n in zip(pairs, inner)] for _ in range(repeats)]
    medians = [statistics.median(column) for column in zip(*times)]
    return float(sum(2 * m * k * n for m, k, n in shapes) / sum(medians))


def _timed(a: torch.Tensor, b: torch.Tensor, count: int) -> float:
    """Seconds for ``count`` products, work still queued on an accelerator included."""
    import torch

    def wait() -> None:
        if a.device.type == "cuda":
            torch.cuda.synchronize(a.device)
        elif a.device.type == "mps":
            torch.mps.synchronize()

    out = a @ b
    wait()
    began = time.perf_counter()
    for _ in range(count):
        torch.mm(a, b, out=out)
    wait()
    return time.perf_counter() - began


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders whose limits hold for this process: its own and all above, in version 2 and version 1.

    In a container the path that /proc names may lie outside of what is mounted; the mount's top holds then.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, names, inside = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if names else "")
        for part in (Path(inside.lstrip("/")), *Path(inside.lstrip("/")).parents):
            if ".." not in part.parts:
                yield top / part
