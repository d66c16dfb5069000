# ruff: noqa: E501 -- tables: a row of data may be long
"""The places of the town map, and the ways to speak of where they are.

No place has a direction in its name, so that a direction in a reply is always one.
"""

PLACES = tuple(
    tuple(line.split("/"))
    for line in """\
bakery/麵包店|well/水井|school/學校|library/圖書館|market/市場|post office/郵局|station/車站|bridge/木橋
mill/磨坊|temple/廟|church/教堂|park/公園|museum/博物館|theatre/戲院|hospital/醫院|pharmacy/藥局
bank/銀行|hotel/旅館|inn/客棧|tea house/茶館|noodle shop/麵館|bookshop/書店|fish shop/魚店|flower shop/花店
barber/理髮店|tailor/裁縫店|smithy/鐵匠鋪|pottery/陶坊|dairy/牛奶店|stable/馬廄|fountain/噴泉|clock tower/鐘樓
town hall/鎮公所|court/法院|police station/警察局|fire station/消防隊|harbour/港口|lighthouse/燈塔|boatyard/船塢
warehouse/倉庫|pond/池塘|orchard/果園|vineyard/葡萄園|windmill/風車|observatory/天文台|zoo/動物園|aquarium/水族館
swimming pool/游泳池|gym/體育館|stadium/球場|cinema/電影院|toy shop/玩具店|shoe shop/鞋店|hat shop/帽子店
print shop/印刷廠|laundry/洗衣店|garage/修車廠|bus stop/公車站|cemetery/墓園|greenhouse/溫室""".replace("\n", "|").split("|")
)

DIRECTIONS = {"en": ("north", "south", "east", "west"), "zh": ("北", "南", "東", "西")}
NUMBERS = {
    "en": tuple(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty twenty-one twenty-two twenty-three twenty-four "
        "twenty-five twenty-six twenty-seven twenty-eight twenty-nine thirty".split()
    ),
    "zh": tuple(
        "零 一 二 三 四 五 六 七 八 九 十 十一 十二 十三 十四 十五 十六 十七 十八 十九 二十 二十一 二十二 "
        "二十三 二十四 二十五 二十六 二十七 二十八 二十九 三十".split()
    ),
}

# {of} is the offset as an adjective, {walk} as a walk.
TOLD = {
    "en": (
        "The {a} is {of} of the {b}.",
        "From the {b}, walk {walk} to reach the {a}.",
        "You will find the {a} {of} of the {b}.",
        "To get from the {b} to the {a}, go {walk}.",
        "The {a} stands {of} of the {b}.",
        "Starting at the {b} and going {walk}, you come to the {a}.",
    ),
    "zh": (
        "{a}在{b}{of}的地方。",
        "從{b}{walk}，就到{a}。",
        "{a}的位置是{b}{of}。",
        "要從{b}去{a}，請{walk}。",
        "以{b}來說，{a}在{of}。",
        "站在{b}，{walk}，就會看到{a}。",
    ),
}

# Each question: the wordings of training, then those of tests.
ASKED = {
    ("direction", "en"): (
        ("In which direction is the {a} from the {b}?", "Which way is the {a}, seen from the {b}?",
         "I am at the {b}. Which direction is the {a}?"),
        ("Standing at the {b}, which way do I look for the {a}?",
         "What is the direction from the {b} to the {a}?"),
    ),
    ("direction", "zh"): (
        ("{a}在{b}的哪個方向？", "從{b}看，{a}在哪一邊？", "我在{b}，{a}在什麼方向？"),
        ("站在{b}，要往哪個方向找{a}？", "由{b}往{a}是什麼方向？"),
    ),
    ("distance", "en"): (
        ("How many streets is it from the {b} to the {a}?", "How many streets apart are the {b} and the {a}?",
         "I walk from the {b} to the {a}. How many streets is that?"),
        ("What is the walk from the {b} to the {a}, counted in streets?",
         "Count the streets between the {b} and the {a}."),
    ),
    ("distance", "zh"): (
        ("從{b}到{a}要走幾條街？", "{b}和{a}相隔幾條街？", "我從{b}走到{a}，一共走幾條街？"),
        ("{b}離{a}有幾條街遠？", "數一數，{b}與{a}之間要走幾條街？"),
    ),
    ("offset", "en"): (
        ("Where is the {a}, seen from the {b}?", "How do I walk from the {b} to the {a}?",
         "Tell me the way from the {b} to the {a}."),
        ("I stand at the {b} and look for the {a}. Where is it?", "Describe the walk from the {b} to the {a}."),
    ),
    ("offset", "zh"): (
        ("從{b}來看，{a}在哪裡？", "從{b}到{a}怎麼走？", "請告訴我從{b}去{a}的路。"),
        ("我站在{b}要找{a}，它在哪裡？", "請說明由{b}走到{a}的路線。"),
    ),
}

ANSWERED = {
    ("direction", "en"): "The {a} is {way} of the {b}.",
    ("direction", "zh"): "{a}在{b}的{way}方。",
    ("distance", "en"): "It is {count} from the {b} to the {a}.",
    ("distance", "zh"): "從{b}到{a}要走{count}。",
    ("offset", "en"): "The {a} is {of} of the {b}.",
    ("offset", "zh"): "{a}在{b}{of}的地方。",
}
