"""Writes tests/support/golden_text/: small tokenizers, and what Hugging Face's tokenizers makes of a corpus of hard texts.

    python tools/golden_text/make_tokenizers.py       (from the repository's root; needs tokenizers 0.23.2)

Files: <name>.json, a tokenizer each; inputs.jsonl, a line each {"input": base64}; ids.<name>.jsonl, the lines' ids, with
special tokens added where the line of the same number in inputs.jsonl says "special": true; decoded.<name>.jsonl, lists of random
ids with their texts, whole and without special tokens; versions.json. Everything follows from SEED.
"""
import base64
import json
import pathlib
import random
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SEED = 20261122
OUT = pathlib.Path("tests/support/golden_text")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

ENGLISH = """The quick brown fox jumps over the lazy dog, doesn't it? They've said we'll see; I'm sure he'd agree.
It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.
A load tester that cannot prove its own figures measures mostly itself. Numbers: 1, 22, 333, 4444, 55555, 3.14159, 1e-9.
"""
CODE = '''import sys
from collections import defaultdict


class Counter:
    """Counts things."""

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self.counts = defaultdict(int)

    def add(self, key, amount=1):
        if key is None or amount == 0:
            return
        self.counts[key] += amount


def main():
    counter = Counter()
    for i, line in enumerate(sys.stdin):
        for word in line.strip().split():
            counter.add(word.lower())
        print(f"{i}: {line!r}")  # a comment
    print("Hello, world!", 'single', """triple""")


if __name__ == "__main__":
    main()
'''
CPP = '''#include <vector>
template <class T> std::vector<T> read(const char* path) {\n\tfor (int i = 0; i != 10; ++i) { x[i] += 0xFFu << i; }\r\n\treturn {};\r\n}
'''
WORLD = """中文文本没有空格。日本語のテキスト、カタカナとひらがな。한국어 텍스트입니다. Русский текст, українська мова.
Ελληνικά κείμενα. עברית מימין לשמאל. العربية من اليمين إلى اليسار. हिन्दी में पाठ। ภาษาไทยไม่มีช่องว่าง Tiếng Việt có dấu.
Café naïve coöperate Ångström straße İstanbul ıgdır œuvre. Zürich, Łódź, Çelik. ½ ² ³ ¼ Ⅷ ① ⑳ ٣٤٥ ६७८ 〇一二三
"""
EMOJI = "👍👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪🇫🇷1️⃣❤️😀😃 🧑🏿‍🚀🫠🫨🐦‍🔥 ☃️ ©®™ → ⇒ ∀x∈ℝ ∑ √2 ≠ ≤"


def corpus():
    return [ENGLISH, CODE, CPP, WORLD, EMOJI, ENGLISH.lower(), CODE.replace("    ", "\t")] * 3


def train(vocab_size, pre_tokenizer, normalizer=None, alphabet=True, special=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=list(special),
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [])
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def split_then_bytes(pattern, behavior="isolated"):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2():
    tokenizer = train(800, pre_tokenizers.ByteLevel(add_prefix_space=False), special=["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    data = json.loads(tokenizer.to_str())
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]  # as files were until 2024
    return data


def llama3():
    tokenizer = train(1000, split_then_bytes(LLAMA3))
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|> $B",
                                      special_tokens=[("<|begin_of_text|>", bos)])])
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = True
    # Tokens that no merge makes: only ignore_merges finds them.
    base = len(data["model"]["vocab"])
    moved = {"\u0120unmergeable": base, "zqzqzq": base + 1, "\u010a\u010a\u010a\u010a\u010a\u010a\u010a": base + 2}
    data["model"]["vocab"].update(moved)
    for token in data["added_tokens"]:
        token["id"] += len(moved)
    special = data["post_processor"]["processors"][1]["special_tokens"]["<|begin_of_text|>"]
    special["ids"] = [bos + len(moved)]
    return data


def qwen2():
    tokenizer = train(900, split_then_bytes(QWEN2), normalizers.NFC())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False, special=False),
                          AddedToken("</tool_call>", normalized=False, special=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return json.loads(tokenizer.to_str())


def o200k():
    return json.loads(train(700, split_then_bytes(O200K)).to_str())


def odd():
    """Everything rare at once: flags of added tokens, a prefix space, digits, three splits, bytes without a token."""
    tokenizer = train(600, pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Split("--", "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"[aeiou]"), "contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)]),
        normalizers.Sequence([normalizers.NFC()]), alphabet=False, special=["<unk>", "[CLS]", "[SEP]"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("<right>", rstrip=True, special=True),
                                  AddedToken("<both>", lstrip=True, rstrip=True, special=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=True), AddedToken("caf\u00e9", normalized=True),
                          AddedToken("cafe\u0301s", normalized=False), AddedToken("<t>"), AddedToken("<tt>"), AddedToken("<ttt"),
                          AddedToken("a b", normalized=True), AddedToken("\u00e9\u00e8", normalized=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    data = json.loads(tokenizer.to_str())
    data["model"]["unk_token"] = "<unk>"
    return data


def odd_fused():
    data = odd()
    data["model"]["fuse_unk"] = True
    return data


def odd_dropped():
    data = odd()
    data["model"]["unk_token"] = None
    return data


def behaviors():
    """One tokenizer a behaviour and inversion, over the same small vocabulary."""
    made = {}
    for behavior in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        for invert in [False, True]:
            data = behaviors.base
            if data is None:
                data = behaviors.base = json.loads(train(300, split_then_bytes(QWEN2)).to_str())
            tokenizer = Tokenizer.from_str(json.dumps(data))
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
                pre_tokenizers.Split(Regex(r"\s|[aeiou]+|x*?"), behavior, invert),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
            made[f"{behavior}{'_inverted' if invert else ''}"] = json.loads(tokenizer.to_str())
    return made


behaviors.base = None


def inputs(random_):
    """(bytes, special): what to encode, and whether with special tokens."""
    texts = [ENGLISH, CODE, CPP, WORLD, EMOJI, "", " ", "  ", "\n", "\r\n", "\t", "a", " a", "a ", "\u00a0", "\ufeff", "\0", "\0\0a\0"]
    texts += ENGLISH.splitlines() + CODE.splitlines() + WORLD.splitlines() + EMOJI.split()
    texts += ["a" * n for n in (2, 3, 7, 47, 48, 49, 50, 100, 2000)] + ["ab" * 500, "abc" * 300, " " * 500, "\n" * 300, "\t \n" * 100,
              "=" * 200, "-" * 333, "a b " * 100, "1" * 100, "1234567890" * 20, "中" * 200, "👍🏽" * 60, "é" * 100, "e\u0301" * 100, "\u0301" * 60,
              "the" * 40, " the" * 40, "print" * 30 + "(", "zqzqzq", " unmergeable", "\n" * 7, "unmergeable zqzqzq unmergeable"]
    texts += ["it's IT'S It\u2019s we'Ve I'M he'LL 'D'd '\u017f '\u212a x'\u017f 'ſt", "don't can't won't 'tis 'Twas y'all'd've", "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D"]
    texts += ["\u0041\u030a \u212b \u00c5", "\u1e9b\u0323 \u1e9b\u0307\u0323 q\u0307\u0323 q\u0323\u0307 \u0958 \ufb01 \u2126 \u1100\u1161\u11a8 \uac00\u11a8 \u0344", "\uf900\ufa0e\U0002f800",
              "\u0f71\u0f72\u0f74 \u09c7\u09be \u0b47\u0b56 \u0cc6\u0cc2\u0cd5", "a\u0315\u0300\u05ae\u0062 a\u05ae\u0300\u0315b", "\u0300\u0301abc\u0300", "\U0001d15e\U0001d15f \U00011099\U000110ba"]
    texts += [" \u2003\u2009a\u3000b\u00a0c\u1680d\u2028e\u2029f\u202fg\u205fh\u180ei\u200bj\u200ck\u200dl\u2060m\ufeffn\u0085o\x1cp\x1dq\x1er\x1fs\x0bt\x0cu",
              "\r\r\n\n\r \n \r\n  x", "   \n\n   x", "x   \n   ", " \n", "\n ", "  \t\t  x  ", "a\u0085b\u0085 c", "\u180e\u180e a"]
    texts += ["0\u0660\u0966\u0e50\U0001d7ce\u2460\u00b2\u2155\u3007\u3021 12 123 1234 12345 1,234.56 1_000 0x1F 1e10 \u00b9\u00b2\u00b3\u2074"]
    # Assigned in Unicode 15 and 16.
    texts += ["\U00031350\U000323af x\U00031350y", "\U0002ebf0\U0002ee5d", "\U0001fae8\U0001fa75 a\U0001fae8b", "\u0cf3\u0ece", "\U00010d40\U00010d41 1\U00010d42", "\U0001e4d0\U0001e4f0\U0001e4f1",
              "\u1c89\u1c8a \ua7cb\ua7cc\ua7da", "\U00011f50\U00011f51", "\U00016d40\U00016d70", "\u0897a\u0897", "1\U00011de52a\U00016ff4", "\u08e1\U00010eff a\u08e1\U00010eff", "\u0301\u0898\u0316 \U00011935\U00011930 \u0301\u1abf"]
    texts += ["<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
              "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are.<|eot_id|>", "<tool_call>{}</tool_call>", "<|<|im_end|>|>", "<|im_end|>é\u0301<|im_end|>",
              "<|begin|><|user|>print Jay<|end|><|assistant|>", "<|eot_id|>\u0301", "e<|eot_id|>"]
    texts += ["a <mask> b", "a<mask>b", "  <mask>  ", "a <right>  b", "a  <both> \n\u3000 b<both><both>", " <right> <mask> ", "<right>  <mask>", "<right>  <both>  <mask>x", "word", "a word b", "words word sword", "word.word",
              "éword wordé _word word_ \u200dword \u00b2word", "café cafe\u0301 cafés cafe\u0301s cafe\u0301ss", "<t><tt><ttt><tttt><ttt", "a b a  b xa b", "e\u0301e\u0300 éè e\u0301\u0300", "[CLS] x [SEP]<unk>",
              "x--y--", "--x----y", "-- --", "a1b22c333", "aeiou bcd aei", "q\u0301 \x01\x02\x7f", "漢字\u0300<mask>"]
    items = [text.encode() for text in texts]
    # Bytes that are not UTF-8.
    items += [b"\xff", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82(", b"\xed\xa0\x80", b"\xed\xa0\x80\xed\xb0\x80", b"\xf0\x9f\x91", b"\xf0\x9f\x91a", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf\xe0\x80\xaf", b"a\x80b\xbfc",
              b"\xe0\x9f\xbf\xf0\x8f\xbf\xbf", b"\xef\xbf", b"\xe4\xb8\xad\xe4\xb8"]
    for _ in range(120):
        items.append(bytes(random_.randrange(256) for _ in range(random_.randrange(1, 48))))
    for _ in range(60):  # leads and continuations: mostly almost valid
        items.append(b"".join(random_.choice([b"\xe2\x82\xac", b"\xf0\x9f\x98\x80", b"\xc3\xa9", b"\xe2", b"\x82", b"\xf0\x9f", b"a", b" "]) for _ in range(24)))
    ranges = [(0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x5ff), (0x600, 0x6ff), (0x900, 0xdff), (0xe00, 0xfff), (0x1100, 0x11ff), (0x2000, 0x206f), (0x2070, 0x2bff), (0x3000, 0x30ff),
              (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xe000, 0xe0ff), (0xfb00, 0xffff), (0x10000, 0x1f9ff), (0x1f000, 0x1ffff), (0x20000, 0x323af), (0xe0000, 0xe01ef)]
    for _ in range(160):
        chosen = random_.sample(ranges, 3) + [(0x20, 0x7e), (9, 13)]
        points = [random_.randint(*random_.choice(chosen)) for _ in range(random_.randrange(1, 40))]
        items.append("".join(map(chr, points)).encode())
    pieces = [" ", "  ", "\n", "\t", "'s", "'LL", "the", "print", "x", "1", "22", "4444", "é", "中", "👍", "(", ")", ":", "\"", "=", "\r\n", "--", "_", "<|im_end|>", "word", " <mask> "]
    for _ in range(160):
        items.append("".join(random_.choice(pieces) for _ in range(random_.randrange(1, 40))).encode())
    return [(item, random_.random() < 0.3) for item in items]


def main():
    random_ = random.Random(SEED)
    OUT.mkdir(parents=True, exist_ok=True)
    made = {"gpt2": gpt2(), "llama3": llama3(), "qwen2": qwen2(), "o200k": o200k(), "odd": odd(), "odd_fused": odd_fused(), "odd_dropped": odd_dropped()}
    lines = inputs(random_)
    with open(OUT / "inputs.jsonl", "w") as file:
        for item, special in lines:
            file.write(json.dumps({"input": base64.b64encode(item).decode(), "special": special}) + "\n")
    small = {name: json.dumps(data, ensure_ascii=False) for name, data in made.items()}
    few = lines[:len(lines) - 300]
    for name, text in list(small.items()) + [("tiny-coder", pathlib.Path("models/tiny-coder/tokenizer.json").read_text())]:
        if name in made:
            (OUT / f"{name}.json").write_text(text + "\n")
        tokenizer = Tokenizer.from_str(text)
        with open(OUT / f"ids.{name}.jsonl", "w") as file:
            for item, special in lines:
                ids = tokenizer.encode(item.decode("utf-8", "replace"), add_special_tokens=special).ids
                file.write(json.dumps(ids, separators=(",", ":")) + "\n")
        with open(OUT / f"decoded.{name}.jsonl", "w") as file:
            for _ in range(100):
                ids = [random_.randrange(tokenizer.get_vocab_size() + 3) for _ in range(random_.randrange(0, 12))]
                file.write(json.dumps({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False),
                                       "without_special": tokenizer.decode(ids, skip_special_tokens=True)}) + "\n")
    with open(OUT / "behaviors.jsonl", "w") as file:
        for name, data in behaviors().items():
            tokenizer = Tokenizer.from_str(json.dumps(data))
            cases = ["hello  world x xx aeiou", "  lead and trail  ", "a", " ", "aa  bb", "xyz", "\n\nbook\tkeeper", "é a é"]
            file.write(json.dumps({"pre_tokenizer": data["pre_tokenizer"],
                                   "cases": [[case, tokenizer.encode(case).ids] for case in cases]}) + "\n")
    (OUT / "behaviors.json").write_text(json.dumps(behaviors.base, ensure_ascii=False) + "\n")
    (OUT / "versions.json").write_text(json.dumps({"seed": SEED, "tokenizers": tokenizers.__version__, "python": sys.version.split()[0]}) + "\n")


main()
