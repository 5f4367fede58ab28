"""The vocabulary that prompts are written from."""

TOPICS: dict[str, tuple[str, ...]] = {
    "animals": ("cats", "dogs", "horses", "bees", "owls", "whales", "frogs", "ants", "rabbits", "elephants"),
    "food": ("bread", "soup", "cheese", "honey", "apples", "rice", "chocolate", "tea", "salad", "pancakes"),
    "nature": ("rain", "snow", "rivers", "mountains", "forests", "the moon", "the sea", "wind", "deserts", "storms"),
    "people": ("teachers", "farmers", "doctors", "pilots", "singers", "neighbors", "grandparents", "painters"),
    "places": ("libraries", "parks", "schools", "beaches", "cities", "museums", "gardens", "bridges", "villages"),
    "things": ("books", "bicycles", "clocks", "trains", "pianos", "umbrellas", "phones", "candles", "kites", "shoes"),
    "life": ("friendship", "sleep", "music", "sports", "holidays", "money", "dancing", "cooking", "reading", "work"),
}
TASKS = (
    "Describe {topic}.",
    "Tell me about {topic}.",
    "Say something nice about {topic}.",
    "Give one fact about {topic}.",
    "Why do people like {topic}?",
    "Write a short message about {topic}.",
    "What do you think of {topic}?",
)
KINDS = (
    "fruits", "colors", "animals", "cities", "tools", "sports", "drinks", "vegetables", "birds", "flowers",
    "countries", "jobs", "toys", "trees", "planets", "instruments", "clothes", "shapes", "metals", "insects",
)  # fmt: skip
OBJECTS = (
    "a cat", "a car", "a house", "a dog", "a tree", "a boat", "a chair", "a bird", "a lamp", "a hat",
    "a cup", "a door", "a horse", "a ball", "a book", "a flower", "a shirt", "a table", "a phone", "a cake",
)  # fmt: skip
KEYS = ("name", "color", "size", "age", "price", "place")
LIKELY_WORDS = ("people", "good", "important", "many", "world", "love", "life", "beautiful", "great", "time", "like")
COMMON_WORDS = ("the", "and", "is", "a", "of", "to", "you", "are")
OPENINGS = ("The", "I", "In", "Well", "Yes", "Once", "People", "My", "Many", "Sure")
NOUNS = (
    "apple", "bear", "cloud", "drum", "eagle", "fish", "grape", "hill", "island", "jar", "kite", "lion",
    "mouse", "nest", "orange", "pear", "queen", "rose", "ship", "tiger", "urn", "van", "wolf", "yarn", "zebra",
)  # fmt: skip
FACTS: tuple[tuple[str, bool], ...] = (
    ("Is ice cold?", True), ("Is fire cold?", False), ("Can fish swim?", True), ("Can stones fly?", False),
    ("Is the sun hot?", True), ("Do cats bark?", False), ("Is snow white?", True), ("Is grass red?", False),
    ("Do birds have wings?", True), ("Do snakes have legs?", False), ("Is Paris in France?", True),
    ("Is Rome in Japan?", False), ("Is water wet?", True), ("Is sugar salty?", False), ("Can dogs run?", True),
    ("Is an ant bigger than a horse?", False), ("Is ten more than two?", True), ("Is night bright?", False),
    ("Do trees have leaves?", True), ("Do cars eat food?", False), ("Is the sea deep?", True),
    ("Is iron soft?", False), ("Do bees make honey?", True), ("Is winter hotter than summer?", False),
)  # fmt: skip
PHRASES = (
    "The cat sleeps.", "Rain falls softly.", "I like green tea.", "Seven birds sing.", "Open the blue door.",
    "We walk home late.", "Stars shine at night.", "Bread is warm.", "Dogs run fast in parks.", "My hat is red.",
    "Ships cross the wide sea.", "Snow covers the old hill.", "Books open new worlds.", "Tom feeds three ducks.",
    "A small bell rings.", "They paint the long wall.",
)  # fmt: skip
ANSWERS_BEFORE = (
    ("Name an animal.", "The horse."), ("Name a fruit.", "The pear."), ("Name a city.", "Lisbon."),
    ("Name a season.", "Autumn."), ("Name a tool.", "The hammer."), ("Name a drink.", "Lemonade."),
    ("Name a sport.", "Tennis."), ("Name a flower.", "The tulip."), ("Name a planet.", "Saturn."),
    ("Name an instrument.", "The violin."),
)  # fmt: skip
