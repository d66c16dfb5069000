"""The machine, read from made-up /proc and /sys trees, and this one."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jielong.base import device
from jielong.base.errors import UserError

GB = 2**30


def put(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture(autouse=True)
def _eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


MEMINFO = {"proc/meminfo": f"MemTotal:       {16 * 2**20} kB\nMemFree: 1 kB\n"}
V2 = {"proc/self/cgroup": "0::/user.slice/job\n"}
V1 = {"proc/self/cgroup": "4:memory:/job\n2:cpu,cpuacct:/job\n1:name=systemd:/\n"}
CASES = {
    "no cgroup": ({}, 8, None, 16 * GB),
    "version 2": (
        {
            **V2,
            "sys/fs/cgroup/user.slice/job/cpu.max": "350000 100000",
            "sys/fs/cgroup/user.slice/job/memory.max": "max",
        },
        3, 3.5, 16 * GB,
    ),
    "a parent is tighter": (
        {
            **V2,
            "sys/fs/cgroup/user.slice/job/cpu.max": "max 100000",
            "sys/fs/cgroup/user.slice/cpu.max": "50000 100000",
            "sys/fs/cgroup/user.slice/memory.max": str(2 * GB),
            "sys/fs/cgroup/user.slice/job/memory.max": str(3 * GB),
        },
        1, 0.5, 2 * GB,
    ),
    "in a container the path is not mounted": (
        {
            "proc/self/cgroup": "0::/../outside\n",
            "sys/fs/cgroup/cpu.max": "200000 100000",
            "sys/fs/cgroup/memory.max": str(GB),
        },
        2, 2.0, GB,
    ),
    "version 1": (
        {
            **V1,
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(4 * GB),
        },
        4, 4.0, 4 * GB,
    ),
    "version 1 without limits": (
        {
            **V1,
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
        8, None, 16 * GB,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_cgroup_limits(case: str, tmp_path: Path) -> None:
    contents, *expected = CASES[case]
    root = put(tmp_path, {**MEMINFO, **contents})
    assert [device.threads(root), device.cpu_quota(root), device.memory(root)] == expected


def test_two_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for cpu in range(8):
        name = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        put(tmp_path, {name: f"{cpu % 4},{cpu % 4 + 4}"})
    assert device.threads(tmp_path) == 4


def test_affinity_and_what_the_person_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 7}, raising=False)
    assert device.threads(tmp_path) == 2
    for asked, threads in (("3", 3), ("0", 2), ("many", 2)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert device.threads(tmp_path) == threads
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert device.threads(tmp_path) == 1


def test_processor_and_features(tmp_path: Path) -> None:
    info = "processor : 0\nmodel name\t: A Chip @ 2GHz\nflags\t\t: fpu avx2 amx_bf16 avx512fp16\n"
    put(tmp_path, {"proc/cpuinfo": info})
    found = device.machine(tmp_path)
    assert found["cpu"] == "A Chip @ 2GHz" and found["features"] == ["avx2", "amx_bf16"]
    put(tmp_path, {"proc/cpuinfo": "processor : 0\nFeatures : fp asimd bf16\n"})
    found = device.machine(tmp_path)
    assert found["features"] == ["asimd", "bf16"] and found["cpu"]
    assert device.machine(tmp_path / "none")["features"] == []
    assert device.memory(tmp_path / "none") == 0


def test_this_machine_and_no_torch_at_import() -> None:
    found = device.machine()
    assert found["python"] == platform.python_version() and found["memory"] > 2**28 and found["cores"] >= 1
    code = (
        "import sys\nfrom jielong.base import device, files, noise, result, stats, talk\n"
        "import jielong.cli.doctor\n"
        "device.machine(), device.pick('cpu'), talk.Talk(stream=sys.stdout).say('x')\n"
        "print(*[m for m in ('torch', 'scipy', 'rich', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["x"]
    assert device.version("numpy") and device.version("no-such-package-here") is None
    assert device.disk_free("/no/such/place") == device.disk_free("/") > 0
    assert device.disk_free("x" * 300) > 0


def test_peak_memory_is_of_this_process_and_never_falls() -> None:
    before = device.peak_memory()
    block = b"x" * (before + 2**26)
    after = device.peak_memory()
    assert after >= len(block) > before > 2**22
    del block
    assert device.peak_memory() > 0.98 * after  # the kernel counts in batches


def test_peak_memory_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = device.peak_memory()
    monkeypatch.setattr(device, "_read", lambda _: "")
    assert 0.9 * usual < device.peak_memory() < 100 * usual
    monkeypatch.setattr(platform, "system", lambda: "Darwin")  # counts bytes, not kB
    assert device.peak_memory() < usual


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "", "mps:0"])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(UserError, match="is no device"):
        device.pick(name)


def test_pick(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")

    def has(cards: int, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    has(0, False)
    assert device.pick() == device.pick("cpu") == "cpu"
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(UserError, match="--device cpu") as caught:
            device.pick(name)
        assert "\n" not in str(caught.value)
    has(0, True)
    assert device.pick() == device.pick("mps") == "mps"
    has(2, False)
    assert (device.pick(), device.pick("cuda"), device.pick("cuda:1")) == ("cuda", "cuda", "cuda:1")
    with pytest.raises(UserError, match="this machine has 2"):
        device.pick("cuda:2")


def test_matrix_rate_counts_operations_over_median_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a product that takes 1 us a million operations, whatever the chip, the rate is a known number."""
    pytest.importorskip("torch")
    slow = iter(range(10**9))

    def timed(a, b, count: int) -> float:
        hiccup = 50.0 if next(slow) % 9 == 8 else 1.0  # the median does not see it
        return count * 2 * a.shape[0] * a.shape[1] * b.shape[1] * 1e-12 * hiccup

    monkeypatch.setattr(device, "_timed", timed)
    assert device.matmul_rate(((64, 32, 16), (8, 8, 8))) == pytest.approx(1e12)


def test_matrix_rate_of_this_machine_leaves_the_generator_alone() -> None:
    torch = pytest.importorskip("torch")
    state = torch.random.get_rng_state()
    shapes = ((128, 128, 128),)
    rates = [device.matmul_rate(shapes, d, seconds=0.02, repeats=3) for d in ("float32", "bfloat16")]
    assert all(1e7 < rate < 1e14 for rate in rates)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.gpu
def test_matrix_rate_of_a_gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert device.pick() == "cuda"
    assert device.matmul_rate(((2048, 2048, 2048),), "bfloat16", "cuda") > 1e12
