"""The corpus of tiny-coder keeps its promises: what is held out stays out, programs are programs, the same seed gives the same documents."""

import json
import pathlib
import random
import re
import sys
import unittest
from unittest import mock

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tools/train_tiny_coder"))
import corpus  # noqa: E402
import held_out  # noqa: E402

DOCUMENTS = 8000
SEED = 1_000_000   # the first shard's of the training


class HeldOut(unittest.TestCase):
    def test_there_are_a_thousand_different_names_over_the_stated_alphabet(self):
        self.assertEqual(len(set(held_out.NAMES)), 1000)
        for name in held_out.NAMES:
            self.assertTrue(3 <= len(name) <= 24 and set(name) <= set(held_out.ALPHABET), name)
        self.assertIn("Jay", held_out.NAMES)

    def test_each_name_is_refused_wherever_it_is_to_be_copied(self):
        for name in held_out.NAMES:
            for form in ('Print "{}" in Python', "print({})" if name.isalpha() else 'print("{}")', "{}", "Print this:\n{}"):
                self.assertIsNotNone(held_out.violation([form.format(name)]), form.format(name))

    def test_each_wording_is_refused_with_any_name_and_in_any_case(self):
        for wording in held_out.WORDINGS:
            for text in (wording.format("apple"), wording.format("x").upper(), "Hello. " + wording.format("a b")):
                self.assertIsNotNone(held_out.violation([text]), text)

    def test_ordinary_requests_are_not_refused(self):
        for text in ('Write a Python program that prints "Anna"', "My name is Ben.", 'def main():\n    print("Jayden")\n', "Hello"):
            self.assertIsNone(held_out.violation([text]), text)


class Corpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.generator = corpus.Generator(SEED)
        cls.documents = [cls.generator.document() for _ in range(DOCUMENTS)]

    def test_no_document_holds_a_held_out_name_or_wording(self):
        """Judged without held_out.violation()."""
        text = "\n".join(part for document in self.documents for part in document.texts())
        lower = text.lower()
        for wording in held_out.WORDINGS:
            before, after = wording.lower().split('"{}"')
            if len(after.strip()) > 1:
                self.assertIsNone(re.search(re.escape(before.strip()) + r"[^\n]{0,60}" + re.escape(after.strip()), lower), wording)
            else:
                self.assertNotIn(before.strip(), lower)
        values = set(re.findall(r'print\("([^"\n]*)"\)', text)) | set(re.findall(r'"([^"\n]*)"', text))
        self.assertGreater(len(values), DOCUMENTS / 4)   # the pattern finds what it is meant to
        for name in held_out.NAMES:
            self.assertNotIn(name, values)
            if len(name) >= 9:
                self.assertNotIn(name, text)

    def test_it_is_the_exclusion_that_keeps_them_out(self):
        with mock.patch.object(held_out, "violation", lambda texts: None):
            generator = corpus.Generator(SEED)
            documents = [generator.document() for _ in range(DOCUMENTS)]
        self.assertGreater(sum(held_out.violation(document.texts()) is not None for document in documents), 0)
        self.assertGreater(self.generator.rejected, 0)

    def test_the_same_seed_gives_the_same_documents(self):
        self.assertEqual(corpus.sample(SEED, 300), self.documents[:300])
        self.assertNotEqual(corpus.sample(SEED + 1, 300), self.documents[:300])

    def test_every_program_in_an_answer_is_python(self):
        programs = 0
        for document in self.documents:
            corpus.check_code(document)
            programs += sum(len(corpus.code_blocks(text)) for role, text in document.turns if role == "assistant")
        self.assertGreater(programs, DOCUMENTS / 3)

    def test_every_kind_of_document_occurs(self):
        self.assertEqual(len({document.kind for document in self.documents}), self.generator.kinds())

    def test_a_request_to_print_is_answered_by_a_program_that_prints_it(self):
        generator = corpus.Generator(7)
        for _ in range(300):
            text = generator.value()
            block, = corpus.code_blocks(generator.print_answer(text))
            shown = []
            exec(compile(block, "answer", "exec"), {"__name__": "__main__", "print": shown.append})
            self.assertEqual(shown, [text])

    def test_about_half_of_the_copied_strings_are_random_and_short(self):
        generator = corpus.Generator(8)
        made = []
        plain = generator.random_string
        generator.random_string = lambda: made.append(plain()) or made[-1]
        for _ in range(4000):
            generator.value()
        self.assertTrue(0.4 < len(made) / 4000 < 0.6, len(made))
        lengths = {len(text) for text in made}
        self.assertEqual(min(lengths), 1)
        self.assertTrue(set(range(1, 25)) <= lengths)


class Folder(unittest.TestCase):
    folder = TREE / "models/tiny-coder"

    def test_it_is_at_most_16_mb_and_7_5_m_parameters(self):
        self.assertLess(sum(file.stat().st_size for file in self.folder.iterdir()), 16e6)
        with open(self.folder / "model.safetensors", "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        self.assertEqual({entry["dtype"] for entry in tensors.values()}, {"BF16"})
        parameters = sum((entry["data_offsets"][1] - entry["data_offsets"][0]) // 2 for entry in tensors.values())
        self.assertTrue(6_000_000 < parameters <= 7_500_000, parameters)

    def test_the_goldens_are_those_of_these_weights(self):
        import hashlib
        golden = json.loads((TREE / "tests/support/golden/tiny-coder/golden.json").read_text())
        self.assertEqual(golden["model_sha256"], hashlib.sha256((self.folder / "model.safetensors").read_bytes()).hexdigest())


if __name__ == "__main__":
    random.seed(0)
    unittest.main()
