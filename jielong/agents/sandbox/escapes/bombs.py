"""Ways past a limit: memory, disk, output, time. All are bounded in themselves, so that the control stays harmless."""

from __future__ import annotations

from jielong.agents.sandbox.escapes.escape import of

MEMORY = of(
    "memory",
    many_blocks="kept = [bytes([i % 256]) * (1 << 20) for i in range(200)]\nif len(kept) == 200:\n    print('BREACH')",
    one_block="kept = bytearray(200 << 20)\nkept[::4096] = b'x' * (len(kept) // 4096)\nprint('BREACH')",
    long_text="kept = 'ab' * (100 << 20)\nprint('BREACH')",
    large_number="kept = 1 << (8 * 200 << 20)\nprint('BREACH')",
    mapped="import mmap\nkept = mmap.mmap(-1, 200 << 20)\nkept[::4096] = b'x' * (len(kept) // 4096)\nprint('BREACH')",
    memory_file="""
import os
handle = os.memfd_create('kept')
for _ in range(200):
    os.write(handle, b'x' * (1 << 20))
print('BREACH')
""",
    raised_limit="""
import resource
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
kept = bytearray(200 << 20)
print('BREACH')
""",
    threads="""
import threading
go = threading.Event()
made = []
try:
    for _ in range(150):
        one = threading.Thread(target=go.wait)
        one.start()
        made.append(one)
    print('BREACH')
finally:
    go.set()
""",
)

DISK = of(
    "disk",
    large_file="""
with open('x', 'wb') as file:
    for _ in range(100):
        file.write(b'x' * (1 << 20))
print('BREACH')
""",
    many_files="""
for i in range(1600):
    with open(f'x{i}', 'wb') as file:
        file.write(b'x' * (1 << 16))
print('BREACH')
""",
    hole="import os\nopen('x', 'w').close()\nos.truncate('x', 100 << 20)\nprint('BREACH')",
)

OUTPUT = of(
    "output",
    flood="for _ in range(3000):\n    print('x' * 1000)",
    one_line="print('x' * 3_000_000)",
    errors="import sys\nfor _ in range(3000):\n    print('x' * 1000, file=sys.stderr)",
)

TIME = of(
    "time",
    loop="import time\nend = time.monotonic() + 6\nwhile time.monotonic() < end:\n    pass\nprint('BREACH')",
    sleep="import time\ntime.sleep(6)\nprint('BREACH')",
    deaf="""
import signal, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
end = time.monotonic() + 6
while time.monotonic() < end:
    try:
        time.sleep(0.1)
    except BaseException:
        pass
print('BREACH')
""",
    thread="import threading, time\nthreading.Thread(target=lambda: (time.sleep(6), print('BREACH'))).start()",
    after_the_end="import atexit, time\natexit.register(lambda: (time.sleep(6), print('BREACH')))",
)
