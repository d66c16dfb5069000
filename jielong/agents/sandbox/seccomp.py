"""Which system calls a confined process may not make, as a program of the kernel's packet filter (seccomp(2)).

New threads are allowed, new processes are not; nor what reaches other processes, the machine's settings, or memory that
no limit counts. A denied call fails with EPERM; clone3, whose flags a filter cannot see, with ENOSYS, after which the C
library uses clone.
"""

from __future__ import annotations

import os
import platform
import struct

from jielong.base.errors import UserError

# (audit architecture, clone, clone3, the denied); the numbers of the kernel's tables for x86-64 and arm64.
ALIKE = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "pidfd_open": 434, "pidfd_getfd": 438,
         "process_madvise": 440, "mount_setattr": 442, "open_tree": 428, "move_mount": 429, "fsopen": 430,
         "fsconfig": 431, "fsmount": 432, "fspick": 433, "memfd_secret": 447, "pidfd_send_signal": 424}  # fmt: skip
X86 = {"fork": 57, "vfork": 58, "ptrace": 101, "kill": 62, "tkill": 200, "mount": 165, "umount2": 166,
       "pivot_root": 155,
       "chroot": 161, "unshare": 272, "setns": 308, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
       "process_vm_readv": 310, "process_vm_writev": 311, "keyctl": 250, "add_key": 248, "request_key": 249,
       "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246, "reboot": 169, "swapon": 167,
       "memfd_create": 319, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "personality": 135, "acct": 163,
       "quotactl": 179, "open_by_handle_at": 304, "name_to_handle_at": 303, "settimeofday": 164, "clock_settime": 227,
       "sethostname": 170, "setdomainname": 171, "syslog": 103, "iopl": 172, "ioperm": 173, "socket": 41,
       "socketpair": 53, "execveat": 322}  # fmt: skip
ARM = {"ptrace": 117, "kill": 129, "tkill": 130, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
       "unshare": 97, "setns": 268, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "process_vm_readv": 270,
       "process_vm_writev": 271, "keyctl": 219, "add_key": 217, "request_key": 218, "init_module": 105,
       "finit_module": 273, "delete_module": 106, "kexec_load": 104, "reboot": 142, "swapon": 224, "memfd_create": 279,
       "shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180, "personality": 92, "acct": 89, "quotactl": 60,
       "open_by_handle_at": 265, "name_to_handle_at": 264, "settimeofday": 170, "clock_settime": 112,
       "sethostname": 161,
       "setdomainname": 162, "syslog": 116, "socket": 198, "socketpair": 199, "execveat": 281}  # fmt: skip
MACHINES = {"x86_64": (0xC000003E, 56, 435, X86), "aarch64": (0xC00000B7, 220, 435, ARM)}
CLONE_THREAD = 0x00010000
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
LOAD, EQUAL, ABOVE, BITS, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the classic packet filter


def program(machine: str | None = None) -> bytes:
    """The filter's instructions. UserError on a machine whose numbers are not known here."""
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise UserError(f"no list of system calls for {machine}: use the sandbox monty or docker here")
    arch, clone, clone3, denied = MACHINES[machine]
    rows = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    rows += [(ABOVE, 0, 1, 0x40000000), (RETURN, 0, 0, KILL)]  # x32: the same calls under other numbers
    rows += [(EQUAL, 0, 1, clone3), (RETURN, 0, 0, ERRNO | 38)]
    for number in sorted({*denied.values(), *ALIKE.values()}):
        rows += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | 1)]
    rows += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (BITS, 1, 0, CLONE_THREAD), (RETURN, 0, 0, ERRNO | 1)]
    rows += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", *row) for row in rows)


def pipe() -> int:
    """A file descriptor from which the filter can be read."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(program())
    return reading
