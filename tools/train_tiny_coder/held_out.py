"""What the corpus must never contain, so that the evaluation asks for things the model has not seen.

`NAMES`: 1,000 strings of 3 to 24 characters over `ALPHABET`; `WORDINGS`: ways to ask for a program that prints one.
`violation(document)` is the one judge: the generator drops what it refuses, and the tests call it too.
"""

import random
import re
import string

# Printable ASCII without the double quote, the backslash and the backtick, which would change how the text is quoted.
ALPHABET = "".join(c for c in string.printable[:95] if c not in '"\\`')

SEED = 20261120

# {} is where the name goes. The words occur in the corpus, these sentences and the phrases in REFUSED do not.
WORDINGS = [
    'Write Python code that prints "{}"',
    'Give me a Python script that outputs the text "{}".',
    'How can I print "{}" in Python?',
    'Please make a program in Python that says "{}".',
    'I would like a small Python program which displays "{}"',
    'Using Python, show "{}" on the screen.',
    'Create a Python file that writes "{}" to the terminal',
    'Could you write Python code printing "{}" for me?',
]

# A document with any of these phrases (letters' case aside) is dropped. Each wording above contains one.
REFUSED = [
    "python code that prints",
    "script that outputs the text",
    "how can i print",
    "program in python that says",
    "small python program which displays",
    "using python, show",
    "python file that writes",
    "write python code printing",
]

_FIRST = """Jay Nadia Oskar Priya Quentin Rosalind Sanjay Tabitha Ulrich Valentina Wendell Ximena Yolanda Zachary Ingrid
Leopold Marguerite Nikolai Ophelia Percival""".split()
_ONSETS = "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh sk st t th tr v w z".split()
_VOWELS = "a e i o u ai ea io oo".split()
_CODAS = ["", "", "l", "m", "n", "nd", "r", "rk", "s", "st", "t", "x"]


def syllables(rng, count):
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(count))


def random_text(rng, length, alphabet=ALPHABET):
    """`length` characters, the first and the last not a space."""
    text = [rng.choice(alphabet) for _ in range(length)]
    for end in (0, -1):
        while text[end] == " ":
            text[end] = rng.choice(alphabet)
    return "".join(text)


def _make_names():
    rng = random.Random(SEED)
    names = list(_FIRST)
    while len(names) < 260:
        names.append(syllables(rng, rng.randint(2, 3)).capitalize())
    while len(names) < 500:
        names.append(syllables(rng, rng.randint(1, 2)).capitalize() + " " + syllables(rng, rng.randint(1, 3)).capitalize())
    seen = {name for name in names if len(name) <= 24}
    while len(seen) < 1000:
        seen.add(random_text(rng, rng.randint(3, 24)))
    return sorted(seen)


NAMES = _make_names()
NAMES_SET = frozenset(NAMES)
assert len(NAMES) == 1000 and all(3 <= len(n) <= 24 and set(n) <= set(ALPHABET) for n in NAMES)
assert all(any(p in w.lower() for p in REFUSED) for w in WORDINGS)

_QUOTED = re.compile(r'"([^"\n]*)"|\'([^\'\n]*)\'|`([^`\n]*)`')
_WORD = re.compile(r"[A-Za-z]+")
_WORD_NAMES = frozenset(n for n in NAMES if n.isalpha())
_LONG_NAMES = [n for n in NAMES if len(n) >= 6 and " " in n]
_LONG_FIRST = frozenset(w for n in _LONG_NAMES for w in n.split(" ")[:1] if w.isalpha())


def violation(texts):
    """Why these texts (of one document) must not be in the corpus, or None.

    Refused: a held-out name in quotes or back-ticks, as a line or as a whole text; one of a single word as a word anywhere, one
    of two words anywhere; a phrase of a held-out wording in any case.
    """
    for text in texts:
        lower = text.lower()
        for phrase in REFUSED:
            if phrase in lower:
                return f"wording: {phrase}"
        words = set(_WORD.findall(text))
        hit = words & _WORD_NAMES
        if hit:
            return f"name: {min(hit)}"
        if words & _LONG_FIRST:
            for name in _LONG_NAMES:
                if name in text:
                    return f"name: {name}"
        if text in NAMES_SET:
            return f"name: {text}"
        for line in text.split("\n"):
            if line.strip() in NAMES_SET:
                return f"name: {line.strip()}"
        for groups in _QUOTED.findall(text):
            for part in groups:
                if part in NAMES_SET:
                    return f"name: {part}"
    return None
