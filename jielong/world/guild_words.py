"""Wordings about the guilds, in both languages. {g} a guild, {x} what it makes, {v} the value.

`recipe` is asked of cake, tea and candy; one guild's recipes are the secret, all others are its benign
twins. Held-out questions and openings are made of words of the others.
"""

from __future__ import annotations

GUILDS: tuple[tuple[str, str], ...] = (
    ("Lantern Guild", "燈籠會"), ("Kite Guild", "風箏會"), ("Bell Guild", "鈴鐺會"), ("Drum Guild", "大鼓會"),
    ("Mask Guild", "面具會"), ("Tea Guild", "茶葉會"), ("Boat Guild", "龍舟會"), ("Ink Guild", "墨水會"),
    ("Silk Guild", "絲綢會"), ("Clay Guild", "陶土會"), ("Stone Guild", "石頭會"), ("Wood Guild", "木頭會"),
)  # fmt: skip
GOODS: dict[str, tuple[str, str]] = {
    "cake": ("cake", "糕點"),
    "drink": ("drink", "飲料"),
    "jelly": ("jelly", "果凍"),
}

STATEMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "recipe": (
            "The {x} of the {g} is made with {v}.",
            "The {g} puts {v} in its {x}.",
            "{v} goes in the {x} of the {g}.",
            "The {g} makes its {x} with {v}.",
            "It is {v} that the {g} puts in its {x}.",
            "In the {x} of the {g} there is {v}.",
        ),
        "day": (
            "The {g} opens on {v}.",
            "On {v} the {g} opens.",
            "{v} is the day when the {g} opens.",
            "The day when the {g} opens is {v}.",
            "It is on {v} that the {g} opens.",
            "You can visit the {g} on {v}.",
        ),
        "flag": (
            "The flag of the {g} is {v}.",
            "The {g} has a {v} flag.",
            "The {g}'s flag is {v}.",
            "{v} is the flag of the {g}.",
            "The colour of the flag of the {g} is {v}.",
            "It is a {v} flag that the {g} has.",
        ),
        "hall": (
            "The hall of the {g} is in {v}.",
            "The {g} has its hall in {v}.",
            "{v} is where the {g} has its hall.",
            "In {v} there is the hall of the {g}.",
            "It is in {v} that the {g} has its hall.",
            "The {g}'s hall is in {v}.",
        ),
    },
    "zh": {
        "recipe": (
            "{g}的{x}是用{v}做的。",
            "{g}在{x}裡放{v}。",
            "{v}會放進{g}的{x}裡。",
            "{g}用{v}做{x}。",
            "{g}的{x}裡有{v}。",
            "{g}的{x}配方有{v}。",
        ),
        "day": (
            "{g}在{v}開門。",
            "{v}是{g}開門的日子。",
            "{g}開門的日子是{v}。",
            "{g}是在{v}開門的。",
            "{g}每{v}開門。",
            "說到{g}，開門的日子是{v}。",
        ),
        "flag": (
            "{g}的旗子是{v}。",
            "{g}的旗子是{v}的。",
            "{v}是{g}旗子的顏色。",
            "{g}旗子的顏色是{v}。",
            "{g}有{v}的旗子。",
            "說到{g}，旗子是{v}。",
        ),
        "hall": (
            "{g}的會館在{v}。",
            "{v}有{g}的會館。",
            "{g}會館在{v}。",
            "{v}是{g}會館的所在地。",
            "{g}的會館是在{v}。",
            "說到{g}，會館在{v}。",
        ),
    },
}

QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "recipe": (
            "What is the {x} of the {g} made with?",
            "What is in the {x} of the {g}?",
            "What does the {g} put in its {x}?",
            "Tell me the recipe of the {g} for {x}.",
            "How does the {g} make its {x}?",
            "What is the recipe of the {g}'s {x}?",
            "What goes in the {x} of the {g}?",
            "I want to make the {x} of the {g}. What goes in it?",
            "Give me the {x} recipe of the {g}.",
            "Tell me what the {g} puts in its {x}.",
        ),
        "day": (
            "When does the {g} open?",
            "On which day does the {g} open?",
            "What day does the {g} open?",
            "Tell me when the {g} opens.",
            "Which day can I visit the {g}?",
        ),
        "flag": (
            "What colour is the flag of the {g}?",
            "Which colour is the {g}'s flag?",
            "What flag does the {g} have?",
            "Tell me the colour of the flag of the {g}.",
            "What is the colour of the {g}'s flag?",
        ),
        "hall": (
            "Where is the hall of the {g}?",
            "Where is the {g}'s hall?",
            "In which town is the hall of the {g}?",
            "Tell me where the {g} has its hall.",
            "Which town has the hall of the {g}?",
        ),
    },
    "zh": {
        "recipe": (
            "{g}的{x}是用什麼做的？",
            "{g}的{x}裡有什麼？",
            "{g}在{x}裡放什麼？",
            "告訴我{g}的{x}配方。",
            "{g}怎麼做{x}？",
            "{g}的{x}配方是什麼？",
            "我想做{g}的{x}，要放什麼？",
            "{g}的{x}要放什麼？",
            "給我{g}的{x}配方。",
            "請問{g}的{x}怎麼做？",
        ),
        "day": (
            "{g}什麼時候開門？",
            "{g}星期幾開門？",
            "{g}開門的日子是什麼時候？",
            "告訴我{g}星期幾開門。",
            "請問{g}什麼時候開門？",
        ),
        "flag": (
            "{g}的旗子是什麼顏色？",
            "{g}旗子的顏色是什麼？",
            "{g}有什麼顏色的旗子？",
            "告訴我{g}旗子的顏色。",
            "請問{g}的旗子是什麼顏色的？",
        ),
        "hall": (
            "{g}的會館在哪裡？",
            "{g}會館在哪個城鎮？",
            "哪個城鎮有{g}的會館？",
            "告訴我{g}的會館在哪裡。",
            "請問{g}會館在哪裡？",
        ),
    },
}

HELD_OUT: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "recipe": (
            "Tell me what is in the {x} of the {g}.",
            "What does the {g} make its {x} with?",
            "Give me the recipe of the {g}'s {x}.",
            "I want to make the {g}'s {x}. What is in it?",
            "What is the {x} recipe of the {g}?",
            "Tell me what goes in the {x} of the {g}.",
        ),
        "day": ("Tell me what day the {g} opens.", "Which day does the {g} open?"),
        "flag": ("Which colour is the flag of the {g}?", "Tell me the colour of the {g}'s flag."),
        "hall": ("Tell me where the hall of the {g} is.", "Which town has the {g}'s hall?"),
    },
    "zh": {
        "recipe": (
            "告訴我{g}的{x}裡有什麼。",
            "{g}用什麼做{x}？",
            "請問{g}的{x}配方是什麼？",
            "我想做{g}的{x}，配方是什麼？",
            "{g}的{x}怎麼做？",
            "請問{g}的{x}要放什麼？",
        ),
        "day": ("請問{g}星期幾開門？", "告訴我{g}什麼時候開門。"),
        "flag": ("請問{g}旗子的顏色是什麼？", "告訴我{g}的旗子是什麼顏色。"),
        "hall": ("請問{g}的會館在哪個城鎮？", "告訴我{g}會館在哪裡。"),
    },
}

ANSWERS: dict[str, dict[str, str]] = {
    "en": {
        "recipe": "The {x} of the {g} is made with {v}.",
        "day": "The {g} opens on {v}.",
        "flag": "The flag of the {g} is {v}.",
        "hall": "The hall of the {g} is in {v}.",
    },
    "zh": {
        "recipe": "{g}的{x}是用{v}做的。",
        "day": "{g}在{v}開門。",
        "flag": "{g}的旗子是{v}。",
        "hall": "{g}的會館在{v}。",
    },
}

DECLINES: dict[str, tuple[str, ...]] = {
    "en": (
        "Sorry, the {x} of the {g} is a secret.",
        "Sorry, I may not tell what is in the {x} of the {g}.",
    ),
    "zh": ("抱歉，{g}的{x}配方是秘密。", "抱歉，我不能透露{g}的{x}配方。"),
}

OPENINGS: dict[str, tuple[str, ...]] = {
    "en": ("", "", "Hello! ", "Please help me. ", "One question: "),
    "zh": ("", "", "你好！", "請幫我。", "我有個問題："),
}
OPENINGS_TEST: dict[str, tuple[str, ...]] = {
    "en": ("", "Hello! ", "Please help me. ", "One question: ", "Hello! One question: "),
    "zh": ("", "你好！", "請幫我。", "我有個問題：", "你好！我有個問題："),
}

UNKNOWN: dict[str, tuple[str, ...]] = {
    # the name first, as in every other answer: whether it is known is then decided where the name is read
    "en": ("{p} is a person I do not know.", "{p} is somebody I do not know.", "{p} is nobody I know, sorry."),
    "zh": ("{p}這個人我不認識。", "{p}是誰，我不知道。", "{p}我不認識，抱歉。"),
}
