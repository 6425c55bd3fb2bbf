#!/usr/bin/env python3
"""Whether python_syntax_error gives the verdicts of this Python's own parser: over the tables of snippets, over the
standard library, and over both with a token or a line deleted, doubled, swapped or replaced.

  against_python.py PYTHON_SYNTAX_CHECK [--all] [--seed N]     --all: every file, ten times the broken ones; minutes

What the parser is for is Python 3.11; with any other version there is nothing to compare (exit code 77).
"""
import argparse
import ast
import pathlib
import random
import re
import subprocess
import sys
import sysconfig
import tokenize
import warnings

SNIPPETS = pathlib.Path(__file__).parent / "snippets"

TOKEN = re.compile(r"""[ \t]+|\n|[rRbBuUfF]{0,2}(?:"[^"\n]*"|'[^'\n]*')|\w+|\*\*=?|//=?|>>=?|<<=?|\.\.\.|[-+*/%@&|^=<>!:]=|->|.""",
                   re.S)
OTHERS = ["(", ")", "[", "]", "{", "}", ",", ":", ";", ".", "=", "*", "**", ":=", "->", "if", "else", "for", "in", "not", "is",
          "lambda", "yield", "await", "async", "from", "as", "import", "None", "_", "match", "case", "type", "...", "print",
          "1", "1j", '"a"', 'b"x"', 'f"{x}"', "\n", "\n    ", "\n\t", "    ", "\\\n", "\\", "#c", "def", "return", "except",
          "\r\n", "\r", "\f", "$", "0x", "1_", "0777", "1e", "\u201c", "\u00e9"]

# Where we accept more than this Python, on purpose: its message, and why.
LAXER = [
    ("f-string expression part cannot include", "3.12 allows backslashes and comments in fields"),
    ("f-string: expressions nested too deeply", "3.12 allows one level more"),
    ("unknown Unicode character name", "we have no list of names"),
    ("Exceeds the limit", "of a decimal integer's digits, which sys.set_int_max_str_digits sets"),
]
# Type parameters and aliases, for which this Python has no message of its own.
NEW_IN_312 = re.compile(r"\b(def|class)\s+\w+\s*\[|\btype\s+\w+\s*[\[=]")


def is_laxer_on_purpose(text, ours, python):
    return ours == "ok" and (any(said in python for said, _ in LAXER) or NEW_IN_312.search(text))


def python_verdict(text):
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return "ok"


def our_verdicts(check, texts):
    sent = b"".join(b"%d\n%s" % (len(text), text) for text in (text.encode() for text in texts))
    verdicts = subprocess.run([check], input=sent, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    assert len(verdicts) == len(texts), f"{len(verdicts)} verdicts of {len(texts)}"
    return verdicts


def table(name):
    rows = re.split(r"^=== (.*)\n", (SNIPPETS / f"{name}.py.txt").read_text(encoding="utf-8"), flags=re.M)[1:]
    return list(zip(rows[::2], rows[1::2]))


def library(everything, rng):
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    files = [path for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts and
             "dist-packages" not in path.parts]
    for path in files if everything else rng.sample(files, min(120, len(files))):
        try:
            with tokenize.open(path) as file:
                yield str(path.relative_to(root)), file.read()
        except (SyntaxError, UnicodeDecodeError):
            pass  # its encoding is the subject


def piece(text, rng):
    """A statement at the outermost level."""
    lines = text.split("\n")
    begin = rng.randrange(len(lines))
    while begin > 0 and (not lines[begin] or lines[begin][0] in " \t)]}"):
        begin -= 1
    end = begin + 1
    while end < len(lines) and (not lines[end] or lines[end][0] in " \t)]}"):
        end += 1
    return "\n".join(lines[begin:min(end, begin + 40)]) + "\n"


def broken(text, rng):
    parts = text.split("\n") if rng.random() < 0.15 else TOKEN.findall(text)
    joint = "\n" if parts == text.split("\n") else ""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not parts:
            break
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        what = rng.randrange(5)
        if what == 0:
            del parts[at]
        elif what == 1:
            parts.insert(at, parts[at])
        elif what == 2:
            parts[at], parts[other] = parts[other], parts[at]
        elif what == 3:
            parts[at] = rng.choice(OTHERS)
        else:
            parts.insert(at, rng.choice(OTHERS))
    return joint.join(parts)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("check")
    arguments.add_argument("--all", action="store_true")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    if sys.version_info[:2] != (3, 11):
        print(f"Python {sys.version.split()[0]}, and 3.11 is what we compare with")
        return 77
    warnings.simplefilter("ignore")
    rng = random.Random(options.seed)

    texts = table("accepted") + table("refused")
    seeds = [text for _, text in texts]
    files = list(library(options.all, rng))
    texts += files
    statements = [piece(text, rng) for _, text in files for _ in range(4)]
    for source in (seeds, statements):
        for _ in range(20000 if options.all else 2000):
            texts.append(("broken", broken(rng.choice(source), rng)))

    wrong = accepted = 0
    for (name, text), ours in zip(texts, our_verdicts(options.check, [text for _, text in texts])):
        python = python_verdict(text)
        accepted += python == "ok"
        if (ours == "ok") == (python == "ok") or is_laxer_on_purpose(text, ours, python):
            continue
        wrong += 1
        print(f"{name}: ours: {ours}; Python: {python}\n{text[:1000] if name == 'broken' else ''}")
    print(f"{len(texts)} texts, {accepted} of them Python; {wrong} verdicts differ")
    return 1 if wrong or accepted < 1000 or accepted > len(texts) - 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
