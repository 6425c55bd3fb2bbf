"""Writes engine/text/unicode_additions.inc: what Unicode 15 and 16 added, by general category; and "New", what tokenizers' NFC
does not know yet.

Hugging Face's tokenizers matches with Oniguruma 6.9.10 (Unicode 16), distributions' PCRE2 10.42 knows Unicode 14. The table is the
difference, taken from tokenizers itself: each code point is asked of a Split pattern per category. Python 3.11's
unicodedata is Unicode 14 as well and serves as the base. For NFC tokenizers uses a crate with older tables than all of these: a mark or
composition added since is left alone by it. Each is tried: does it sort among other marks, does it decompose?

    python tools/golden_text/make_unicode_additions.py > engine/text/unicode_additions.inc
"""
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

assert unicodedata.unidata_version == "14.0.0", unicodedata.unidata_version
categories = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
              "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cf"]
points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]


def matching(pattern):
    splitter = pre_tokenizers.Split(Regex(pattern), "removed")
    return [character for character in points if not splitter.pre_tokenize_str(character)]


rows = []
for category in categories:
    for character in matching("\\p{%s}" % category):
        before = unicodedata.category(character)
        if before != category:
            # Moves within a major class (Mn to Mc) leave \p{M} as it was; the old place is not taken away from \p{Mn}.
            assert before == "Cn" or before[0] == category[0], (hex(ord(character)), before, category)
            rows.append((ord(character), category))
# Script=Han is no category; \p{Han} is used by some tokenizers. What Unicode 14 called Han is what its names say.
for character in matching("\\p{Han}"):
    if unicodedata.category(character) == "Cn":
        rows.append((ord(character), "Han"))

# Everything that Unicode 14 gives a combining class or a decomposition and that tokenizers' NFC leaves alone.
nfc, nfd = normalizers.NFC(), normalizers.NFD()
for character in points:
    order = unicodedata.combining(character)
    if order:
        text = "\u0301" + character if order < 230 else character + "\u0316"
        known = nfc.normalize_str(text) != text
    else:
        known = nfd.normalize_str(character) == unicodedata.normalize("NFD", character)
    if not known:
        rows.append((ord(character), "New"))
        rows += [(ord(part), "New") for part in unicodedata.normalize("NFD", character)[1:]]  # else it would compose

ranges = []
for point, category in sorted(set(rows), key=lambda row: (row[1], row[0])):
    if ranges and ranges[-1][2] == category and ranges[-1][1] == point - 1:
        ranges[-1][1] = point
    else:
        ranges.append([point, point, category])
print(f"// Made by tools/golden_text/make_unicode_additions.py with tokenizers {tokenizers.__version__}; not to be edited.")
print("// clang-format off")
for first, last, category in ranges:
    print(f'{{0x{first:X}, 0x{last:X}, "{category}"}},')
print("// clang-format on")
