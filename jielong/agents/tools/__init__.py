"""Tools: typed functions with a schema, calls held to it by a grammar, and the loop of calls and observations.

    from jielong.agents.tools.loop import with_tools
    from jielong.agents.tools.tool import toolbox
    from jielong.agents.tools.calculator import calculator

    strategy = with_tools(direct, toolbox(calculator))         # any strategy, now with tools
"""
