"""CPython in a container without network, rights or writable files but its folder, where a Docker daemon runs.

The image has to be on the machine (`docker pull python:3.12-slim`): nothing is fetched.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from jielong.agents.sandbox import confined
from jielong.agents.sandbox.bubblewrap import waited
from jielong.agents.sandbox.ran import DEFAULT, NO_FILES, Limits, Ran, Sandbox
from jielong.base.errors import UserError

IMAGE = "python:3.12-slim"
TASKS = 16  # processes and threads together


class Docker(Sandbox):
    """`program`: docker, found on PATH unless it is given."""

    name, full = "docker", True

    def __init__(self, program: str | None = None, image: str = IMAGE) -> None:
        self.program, self.image = program or shutil.which("docker"), image

    def run(self, code: str, limits: Limits = DEFAULT, files: Mapping[str, bytes] = NO_FILES) -> Ran:
        if self.program is None:
            raise UserError("there is no docker on this machine: install it, or use another sandbox")
        docker, name = self.program, f"jielong-{uuid4().hex[:12]}"

        def start(work: Path) -> subprocess.Popen[bytes]:
            work.chmod(0o777)  # the container's nobody is not us; the folder above is ours alone
            return subprocess.Popen(arguments(docker, self.image, name, work, limits), stdin=-1, stdout=-1, stderr=-1)

        def ended(child: subprocess.Popen[bytes]) -> int:
            # Killing the client does not end the container.
            subprocess.run([docker, "rm", "-f", name], capture_output=True, timeout=30, check=False)
            return waited(child)

        return confined.confined(start, ended, code, limits, files)


def arguments(program: str, image: str, name: str, work: Path, limits: Limits) -> list[str]:
    """The command."""
    return [program, "run", "--rm", "--interactive", "--pull", "never", "--name", name, "--network", "none",
            "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534:65534",
            "--ipc", "none", "--pids-limit", str(TASKS), "--memory", str(limits.memory + (64 << 20)),
            "--memory-swap", str(limits.memory + (64 << 20)), "--cpus", "1", "--volume", f"{work}:/work",
            "--workdir", "/work", image, *confined.command("python3", limits)]  # fmt: skip
