# ruff: noqa: E501 -- tables: a row of data may be long
"""People, things, places and sentences of the stories about who saw what."""

# The people, things and containers of training, then those of tests.
PEOPLE = {
    "train": (("Anna", "安娜"), ("Ben", "阿班"), ("Clara", "可拉"), ("Dan", "阿丹"), ("Emil", "艾米"), ("Fay", "小菲"),
              ("Gus", "阿古"), ("Hana", "花子"), ("Ivo", "伊沃"), ("June", "小君"), ("Kurt", "阿庫"), ("Lea", "莉雅")),
    "test": (("Milo", "米洛"), ("Nell", "妮兒"), ("Oskar", "歐卡"), ("Petra", "佩佩"), ("Quin", "小昆"), ("Rosa", "若莎")),
}  # fmt: skip
THINGS = {
    "train": (("ball", "皮球"), ("coin", "硬幣"), ("key", "鑰匙"), ("apple", "蘋果"), ("letter", "信"), ("ring", "戒指"),
              ("pen", "鋼筆"), ("cookie", "餅乾")),
    "test": (("marble", "彈珠"), ("watch", "手錶"), ("ticket", "車票"), ("button", "鈕扣")),
}  # fmt: skip
HOLDERS = {
    "train": (("box", "盒子"), ("basket", "籃子"), ("drawer", "抽屜"), ("bag", "袋子"), ("jar", "罐子"), ("chest", "木箱"),
              ("cupboard", "櫥櫃"), ("bucket", "水桶")),
    "test": (("suitcase", "行李箱"), ("vase", "花瓶"), ("teapot", "茶壺"), ("backpack", "背包")),
}  # fmt: skip
ROOMS = (("kitchen", "廚房"), ("garden", "花園"), ("attic", "閣樓"), ("classroom", "教室"), ("workshop", "工坊"),
         ("cellar", "地窖"))  # fmt: skip

# One sentence for each kind of event. {a} and {b} are people, {o} a thing, {c} a container, {r} the room.
EVENTS = {
    "en": {
        "enter": ("{a} comes into the {r}.", "{a} enters the {r}."),
        "leave": ("{a} goes out of the {r}.", "{a} leaves the {r}."),
        "put": ("{a} puts the {o} into the {c}.", "{a} lays the {o} in the {c}."),
        "move": ("{a} moves the {o} to the {c}.", "{a} takes the {o} and hides it in the {c}."),
        "peek": ("Unseen, {a} watches through the window.", "{a} secretly looks in through the window."),
        "away": ("{a} goes away from the window.", "{a} stops watching at the window."),
        "tell": ("Outside, {a} tells {b} where the {o} is now.", "At the gate, {a} lets {b} know where the {o} is."),
    },
    "zh": {
        "enter": ("{a}走進{r}。", "{a}來到{r}。"),
        "leave": ("{a}走出{r}。", "{a}離開{r}。"),
        "put": ("{a}把{o}放進{c}。", "{a}把{o}收在{c}裡。"),
        "move": ("{a}把{o}移到{c}。", "{a}拿起{o}，藏到{c}裡。"),
        "peek": ("沒有人看見{a}正從窗外偷看。", "{a}偷偷從窗戶往裡看。"),
        "away": ("{a}離開了窗邊。", "{a}不再從窗外看了。"),
        "tell": ("在屋外，{a}告訴{b}{o}現在在哪裡。", "在門口，{a}讓{b}知道{o}在哪裡。"),
    },
}

# The wordings of training, then those of tests.
ASKED = {
    ("reality", "en"): (("Where is the {o} now?", "Where is the {o} really?"), ("In what is the {o} at the end?",)),
    ("reality", "zh"): (("{o}現在在哪裡？", "{o}其實在哪裡？"), ("最後{o}在什麼裡面？",)),
    ("memory", "en"): (("Where was the {o} at first?", "Where was the {o} in the beginning?"),
                       ("Into what was the {o} put first?",)),
    ("memory", "zh"): (("{o}一開始在哪裡？", "{o}原本在哪裡？"), ("{o}最先被放在什麼裡面？",)),
    ("first", "en"): (("Where will {a} look for the {o}?", "Where does {a} think the {o} is?"),
                      ("{a} wants the {o}. Where does {a} search first?",)),
    ("first", "zh"): (("{a}會去哪裡找{o}？", "{a}認為{o}在哪裡？"), ("{a}想要{o}，會先找哪裡？",)),
    ("second", "en"): (("Where does {b} think that {a} will look for the {o}?",
                        "Where does {b} believe that {a} thinks the {o} is?"),
                       ("According to {b}, where would {a} search for the {o}?",)),
    ("second", "zh"): (("{b}認為{a}會去哪裡找{o}？", "{b}相信{a}以為{o}在哪裡？"), ("照{b}的想法，{a}會到哪裡找{o}？",)),
}  # fmt: skip
ANSWERED = {
    ("reality", "en"): "The {o} is in the {c}.",
    ("reality", "zh"): "{o}在{c}裡。",
    ("memory", "en"): "At first the {o} was in the {c}.",
    ("memory", "zh"): "{o}原本在{c}裡。",
    ("first", "en"): "{a} will look in the {c}.",
    ("first", "zh"): "{a}會找{c}。",
    ("second", "en"): "{b} thinks that {a} will look in the {c}.",
    ("second", "zh"): "{b}認為{a}會找{c}。",
}
