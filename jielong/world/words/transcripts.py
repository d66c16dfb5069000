# ruff: noqa: E501 -- tables: a row of data may be long
"""Fields of the town register, tasks, and what the roles are told and say."""

# field: (English, Chinese), and (lowest, highest value)
FIELDS = {"residents": ("residents", "居民"), "bridges": ("bridges", "橋"), "schools": ("schools", "學校"), "shops": ("shops", "商店")}
RANGES = {"residents": (1000, 9999), "bridges": (2, 60), "schools": (2, 40), "shops": (20, 400)}

# Each task: wordings of training, held-out wordings. {t}, {v} towns, {f} a field, {a}, {b} numbers.
TASKS: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "lookup": {"en": (("How many {f} does {t} have?", "Tell me the number of {f} in {t}."), ("What is the count of {f} in {t}?",)),
               "zh": (("{t}有多少{f}？", "請告訴我{t}的{f}數目。"), ("{t}的{f}共有幾個？",))},
    "calculate": {"en": (("What is {a} * {b} + {c}?", "Compute {a} * {b} + {c}."), ("How much is {a} * {b} + {c}?",)),
                  "zh": (("{a} * {b} + {c}是多少？", "請算{a} * {b} + {c}。"), ("{a} * {b} + {c}等於多少？",))},
    "sum": {"en": (("How many {f} do {t} and {v} have together?", "Add the {f} of {t} and {v}."), ("What is the total of {f} in {t} and {v}?",)),
            "zh": (("{t}和{v}一共有多少{f}？", "請把{t}和{v}的{f}數目加起來。"), ("{t}加上{v}，{f}總共有多少？",))},
    "compare": {"en": (("Which has more {f}, {t} or {v}?", "Of {t} and {v}, which has more {f}?"), ("Where are there more {f}, in {t} or in {v}?",)),
                "zh": (("{t}和{v}哪裡的{f}比較多？", "{t}跟{v}比，哪一個有更多{f}？"), ("比一比{t}與{v}，{f}較多的是哪裡？",))},
    # Tasks that only tests ask for.
    "difference": {"en": (("How many more {f} does {t} have than {v}?",), ("By how many {f} is {t} ahead of {v}?",)),
                   "zh": (("{t}比{v}多幾個{f}？",), ("{t}的{f}比{v}多出多少？",))},
    "scale": {"en": (("If the {f} of {t} grow to {a} times as many, how many are there?",), ("Multiply the {f} of {t} by {a}.",)),
              "zh": (("如果{t}的{f}變成{a}倍，會有多少？",), ("請把{t}的{f}數目乘以{a}。",))},
}  # fmt: skip
HELD_OUT = ("difference", "scale")

FINAL = {
    "lookup": {"en": "{t} has {n} {f}.", "zh": "{t}有{n}個{f}。"},
    "calculate": {"en": "The result is {n}.", "zh": "結果是{n}。"},
    "sum": {"en": "{t} and {v} have {n} {f} together.", "zh": "{t}和{v}一共有{n}個{f}。"},
    "compare": {"en": "{w} has more {f}.", "zh": "{w}的{f}比較多。"},
    "difference": {"en": "{t} has {n} more {f} than {v}.", "zh": "{t}比{v}多{n}個{f}。"},
    "scale": {"en": "There would be {n} {f}.", "zh": "會有{n}個{f}。"},
    "unknown": {"en": "I cannot answer that: the register does not know {t}.", "zh": "我無法回答：登記簿裡沒有{t}。"},
}

# Towns that are in no register.
NOWHERE = (("Zarnok", "札諾"), ("Murdel", "穆德"), ("Eppin", "艾平"), ("Wexlo", "維洛"), ("Bilgar", "比加"), ("Tovane", "托凡"))

SYSTEM = {
    "calls": {"en": "You can use these tools:\n<tools>\n{tools}\n</tools>\nTo use one, write only <tool_call>{{\"name\": ..., \"arguments\": ...}}</tool_call>. When you know the answer, give it in one sentence.",
              "zh": "你可以使用這些工具：\n<tools>\n{tools}\n</tools>\n要使用時只寫 <tool_call>{{\"name\": ..., \"arguments\": ...}}</tool_call>。知道答案後，用一句話回答。"},
    "react": {"en": "Answer step by step. Write a line \"Thought: ...\" and a line \"Action: lookup[town, field]\" or \"Action: calculator[expression]\", wait for the observation, and end with \"Answer: ...\".",
              "zh": "請一步一步回答。先寫一行「Thought: ...」，再寫一行「Action: lookup[town, field]」或「Action: calculator[expression]」，等待觀察結果，最後寫「Answer: ...」。"},
    "planner": {"en": "You are the planner. Write the steps that answer the question, one a line, numbered. Do not carry them out.",
                "zh": "你是規劃者。把回答問題的步驟寫成編號的清單，一行一步，不要執行。"},
    "worker": {"en": "You are the worker. Carry out the one step you are given, with the tools lookup and calculator, and report the result only.",
               "zh": "你是執行者。用工具 lookup 和 calculator 完成交給你的一個步驟，只回報結果。"},
    "critic": {"en": "You are the critic. Check the draft against the results. Reply APPROVE, or REJECT and what is wrong.",
               "zh": "你是審查者。請對照結果檢查草稿。回覆 APPROVE，或 REJECT 並說明錯在哪裡。"},
}  # fmt: skip

STEPS = {
    "lookup": {"en": "look up the {f} of {t}", "zh": "查詢{t}的{f}數目"},
    "calculator": {"en": "calculate {e}", "zh": "計算{e}"},
    "answer": {"en": "answer the question", "zh": "回答問題"},
    "result": {"en": "the result of step {i}", "zh": "第{i}步的結果"},
}
THOUGHTS = {
    "lookup": {"en": "I need the {f} of {t}.", "zh": "我需要{t}的{f}數目。"},
    "calculator": {"en": "I need to calculate.", "zh": "我需要計算。"},
    "done": {"en": "I know the answer.", "zh": "我知道答案了。"},
}
REVIEW = {
    "ask": {"en": "Question: {q}\nResults: {r}\nDraft: {d}", "zh": "問題：{q}\n結果：{r}\n草稿：{d}"},
    "reject": {"en": "REJECT: the right answer is: {d}", "zh": "REJECT：正確的答案是：{d}"},
}
