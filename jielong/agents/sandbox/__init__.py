"""Where Python that a model wrote is run: never in this process.

    from jielong.agents.sandbox.choose import choose

    with choose() as box:                       # pydantic-monty; choose(full=True): CPython, held by the kernel
        ran = box.run("sum(range(10))")
        assert ran.end == "done" and ran.out == "45\n"
"""
