"""Wordings of small tasks, in both languages: (those of training, those held out for tests)."""

from __future__ import annotations

Two = tuple[tuple[str, ...], tuple[str, ...]]

# intent: (reply, what a right reply contains, wordings)
GREETINGS: dict[str, dict[str, tuple[str, tuple[str, ...], Two]]] = {
    "en": {
        "hello": (
            "Hello! How can I help you?",
            ("hello",),
            (
                ("Hello!", "Hi!", "Good morning!", "Hello there!", "Hi, how are you?"),
                ("Hello, how are you?",),
            ),
        ),
        "who": (
            "I am Jielong, a small language model.",
            ("Jielong",),
            (
                ("Who are you?", "What are you?", "What is your name?", "Are you a person?"),
                ("Tell me who you are.",),
            ),
        ),
        "can": (
            "I answer questions about people, guilds and sums.",
            ("questions",),
            (
                ("What can you do?", "How can you help me?", "What do you know?"),
                ("Tell me what you can do.",),
            ),
        ),
        "thanks": (
            "You are welcome!",
            ("welcome",),
            (("Thank you!", "Thanks!", "Thanks, that helps."), ("Thank you, that helps.",)),
        ),
        "bye": ("Goodbye!", ("goodbye",), (("Goodbye!", "Bye!", "See you!"), ("Bye, see you!",))),
    },
    "zh": {
        "hello": (
            "你好！有什麼可以幫你的嗎？",
            ("你好",),
            (("你好！", "嗨！", "早安！", "哈囉！", "你好嗎？"), ("嗨，你好嗎？",)),
        ),
        "who": (
            "我是接龍，一個小小的語言模型。",
            ("接龍",),
            (("你是誰？", "你叫什麼名字？", "請問你是誰？", "你是人嗎？"), ("請問你叫什麼名字？",)),
        ),
        "can": (
            "我會回答人物、公會和加法的問題。",
            ("問題",),
            (("你會做什麼？", "你可以幫我什麼？", "你知道什麼？"), ("請問你會做什麼？",)),
        ),
        "thanks": ("不客氣！", ("不客氣",), (("謝謝！", "謝謝你！", "多謝！"), ("多謝你！",))),
        "bye": ("再見！", ("再見",), (("再見！", "掰掰！", "下次見！"), ("掰掰，下次見！",))),
    },
}

# {w} is a word; the reply is made by the task.
WORDS: dict[str, dict[str, Two]] = {
    "copy": {
        "en": (("Say {w}.", "Repeat the word {w}.", "Write the word {w}."), ("Say the word {w}.",)),
        "zh": (("請說「{w}」。", "重複「{w}」。", "請寫「{w}」。"), ("請重複「{w}」。",)),
    },
    "reverse": {
        "en": (("Spell {w} backwards.", "Write {w} backwards."), ("Write the word {w} backwards.",)),
        "zh": (("把「{w}」倒過來寫。", "請倒著寫「{w}」。"), ("請把「{w}」倒過來寫。",)),
    },
    "upper": {
        "en": (("Write {w} in capitals.", "Put {w} in capitals."), ("Write the word {w} in capitals.",)),
        "zh": (("請把 {w} 寫成大寫。", "{w} 的大寫是什麼？"), ("請問 {w} 的大寫是什麼？",)),
    },
    "count": {
        "en": (
            ("How many letters has {w}?", "Count the letters of {w}."),
            ("How many letters has the word {w}?",),
        ),
        "zh": (("「{w}」有幾個字？", "數一數「{w}」有幾個字。"), ("請問「{w}」有幾個字？",)),
    },
    "translate": {
        "en": (("What is {w} in Chinese?", "Say {w} in Chinese."), ("Write {w} in Chinese.",)),
        "zh": (("{w}的英文是什麼？", "請說{w}的英文。"), ("請問{w}的英文是什麼？",)),
    },
}
COUNTED = {"en": "{w} has {n} letters.", "zh": "「{w}」有{n}個字。"}

# {n} a number in words, {x} the plural of a list's name.
LISTS: dict[str, Two] = {
    "en": (("Name {n} {x}.", "Tell me {n} {x}.", "Give me {n} {x}."), ("Please name {n} {x}.",)),
    "zh": (("說出{n}{x}。", "告訴我{n}{x}。", "給我{n}{x}。"), ("請說出{n}{x}。",)),
}
PLURALS: dict[str, tuple[str, str]] = {
    "animal": ("animals", "種動物"),
    "food": ("kinds of food", "種食物"),
    "colour": ("colours", "種顏色"),
    "town": ("towns", "個城鎮"),
    "job": ("jobs", "種職業"),
    "firm": ("firms", "家公司"),
}
NUMBERS: dict[str, tuple[str, ...]] = {"en": ("two", "three", "four"), "zh": ("兩", "三", "四")}

# relation: (of training, held out). {a} the value with its article.
YES_NO: dict[str, dict[str, tuple[str, str]]] = {
    "en": {
        "born": ("Was {p} born in {v}?", "Is it true that {p} was born in {v}?"),
        "home": ("Does {p} live in {v}?", "Is it true that {p} lives in {v}?"),
        "job": ("Does {p} work as {a}?", "Is it true that {p} works as {a}?"),
        "pet": ("Does {p} keep {a}?", "Is it true that {p} keeps {a}?"),
        "food": ("Is it true that {p} likes {v} best?", "Does {p} like to eat {v}?"),
        "firm": ("Does {p} work at {v}?", "Is it true that {p} works at {v}?"),
        "hobby": ("Does {p} enjoy {v}?", "Is it true that {p} enjoys {v}?"),
        "colour": ("Does {p} like the colour {v}?", "Is it true that {p} likes {v}?"),
    },
    "zh": {
        "born": ("{p}出生在{v}嗎？", "{p}是不是出生在{v}？"),
        "home": ("{p}住在{v}嗎？", "{p}是不是住在{v}？"),
        "job": ("{p}的職業是{v}嗎？", "{p}的職業是不是{v}？"),
        "pet": ("{p}養的動物是{v}嗎？", "{p}養的是不是{v}？"),
        "food": ("{p}是不是最愛吃{v}？", "{p}最愛吃的是{v}嗎？"),
        "firm": ("{p}在{v}上班嗎？", "{p}是不是在{v}上班？"),
        "hobby": ("{p}的嗜好是{v}嗎？", "{p}的嗜好是不是{v}？"),
        "colour": ("{p}最喜歡{v}嗎？", "{p}是不是最喜歡{v}？"),
    },
}

# {p} and {q} are two people.
COMPARE: dict[str, dict[str, tuple[str, str]]] = {
    "en": {
        "born": ("Were {p} and {q} born in the same town?", "Do {p} and {q} come from the same town?"),
        "home": ("Do {p} and {q} live in the same town?", "Is the town of {p} and {q} the same?"),
        "job": ("Do {p} and {q} have the same job?", "Is the job of {p} and {q} the same?"),
        "pet": ("Do {p} and {q} keep the same animal?", "Is the pet of {p} and {q} the same?"),
        "food": ("Do {p} and {q} love the same food?", "Is the favourite food of {p} and {q} the same?"),
        "firm": ("Do {p} and {q} work at the same firm?", "Is the employer of {p} and {q} the same?"),
        "hobby": ("Do {p} and {q} have the same hobby?", "Is the hobby of {p} and {q} the same?"),
        "colour": ("Do {p} and {q} like the same colour?", "Is the colour of {p} and {q} the same?"),
    },
    "zh": {
        "born": ("{p}和{q}在同一個地方出生嗎？", "{p}和{q}的出生地一樣嗎？"),
        "home": ("{p}和{q}住在同一個地方嗎？", "{p}和{q}住的地方一樣嗎？"),
        "job": ("{p}和{q}的職業一樣嗎？", "{p}和{q}做一樣的工作嗎？"),
        "pet": ("{p}和{q}養一樣的動物嗎？", "{p}和{q}的寵物一樣嗎？"),
        "food": ("{p}和{q}愛吃一樣的食物嗎？", "{p}和{q}最愛的食物一樣嗎？"),
        "firm": ("{p}和{q}在同一家公司上班嗎？", "{p}和{q}的公司一樣嗎？"),
        "hobby": ("{p}和{q}的嗜好一樣嗎？", "{p}和{q}有一樣的嗜好嗎？"),
        "colour": ("{p}和{q}喜歡一樣的顏色嗎？", "{p}和{q}最喜歡的顏色一樣嗎？"),
    },
}
YES: dict[str, tuple[str, str]] = {"en": ("Yes", "No"), "zh": ("是的", "不是")}

# How people ask: {q} is the question in lower case without its end.
LOOSE: dict[str, Two] = {
    "en": (
        ("{q}", "hey, {q}", "please, {q}", "{q} thanks", "um {q}", "quick question, {q}"),
        ("hey, {q} thanks", "please, quick question, {q}"),
    ),
    "zh": (
        ("{q}", "欸 {q}", "想問一下{q}", "{q} 謝謝", "那個，{q}", "不好意思，{q}"),
        ("欸 {q} 謝謝", "不好意思，想問一下{q}"),
    ),
}
# How benchmarks ask: {q} the question, {o} the options, one a line.
BENCH: dict[str, Two] = {
    "en": (
        (
            "Question: {q}\n{o}\nAnswer:",
            "{q}\n{o}\nAnswer with one option.",
            "Choose the right option.\n{q}\n{o}",
        ),
        ("Question: {q}\n{o}\nChoose the right option.",),
    ),
    "zh": (
        ("題目：{q}\n{o}\n答案：", "{q}\n{o}\n請選一個答案。", "請選出正確的答案。\n{q}\n{o}"),
        ("題目：{q}\n{o}\n請選出正確的答案。",),
    ),
}
