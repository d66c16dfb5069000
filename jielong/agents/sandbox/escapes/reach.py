"""Ways to what is beyond the program's folder: files, other processes, the network."""

from __future__ import annotations

from jielong.agents.sandbox.escapes.escape import of

FILES = of(
    "file",
    climbing="print(open('../' * 12 + '@SECRET@'.lstrip('/')).read())",
    link_for_the_host="import os\nos.symlink('@SECRET@', 'found.txt')",
    second_name="import os\nos.link('@SECRET@', 'found.txt')",
    proc_root="print(open('/proc/self/root@SECRET@').read())",
    proc_environ="print(open('/proc/@TARGET@/environ').read())",
    proc_cwd="print(open('/proc/@TARGET@/cwd/secret.txt').read())",
    own_environment="import os\nprint(dict(os.environ))",
    inherited_handle="""
import os
for handle in range(3, 64):
    try:
        print(os.pread(handle, 99, 0))
    except OSError:
        pass
""",
    write_outside="open('@OUTSIDE@/new', 'w').write('x')",
    move_outside="import os\nopen('x', 'w').write('x')\nos.rename('x', '@OUTSIDE@/new')",
    delete_outside="import os\nos.unlink('@OUTSIDE@/kept')",
    empty_outside="import os\nos.truncate('@OUTSIDE@/kept', 0)",
    change_folder="import os\nos.chdir('@OUTSIDE@')\nopen('new', 'w').write('x')",
)

PROCESSES = of(
    "process",
    subprocess="import subprocess\nprint(subprocess.run(['/bin/cat', '@SECRET@'], capture_output=True).stdout)",
    shell="import os\nos.system('cat @SECRET@ > found.txt')",
    exec_other="import os\nos.execv('/bin/cat', ['cat', '@SECRET@'])",
    posix_spawn="import os\nos.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'cat @SECRET@ > found.txt'], {}), 0)",
    fork="import os\nif os.fork() == 0:\n    print('BREACH', flush=True)\n    os._exit(0)\nos.wait()",
    # bounded, so that the control harms nobody: forty are a bomb where one is too many
    fork_bomb="""
import os, time
made = []
try:
    for _ in range(40):
        child = os.fork()
        if child == 0:
            time.sleep(0.3)
            os._exit(0)
        made.append(child)
finally:
    if len(made) == 40:
        print('BREACH', flush=True)
    for child in made:
        os.waitpid(child, 0)
""",
    kill="import os\nos.kill(@TARGET@, 9)",
    pidfd_kill="import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(@TARGET@), 9)",
    slow_others="import os\nos.setpriority(os.PRIO_PROCESS, @TARGET@, 19)\n"
    "if os.getpriority(os.PRIO_PROCESS, @TARGET@) == 19:\n    print('BREACH')",
    limit_others="import resource\nresource.prlimit(@TARGET@, resource.RLIMIT_NOFILE, (64, 64))\nprint('BREACH')",
    daemon_late="""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for name in (0, 1, 2):
            os.close(name)
        time.sleep(0.3)
        os.close(os.open('@OUTSIDE@/new', os.O_CREAT | os.O_WRONLY))
    os._exit(0)
os.wait()
""",
)

NETWORK = of(
    "network",
    tcp="import socket\nsocket.create_connection(('127.0.0.1', @TCP@), 1)",
    udp="import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @UDP@))",
    unix="import socket\nsocket.socket(socket.AF_UNIX).connect('@UNIX@')",
    abstract="import socket\nsocket.socket(socket.AF_UNIX).connect('\\0@ABSTRACT@')",
    listen="import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\nprint('BREACH')",
)
