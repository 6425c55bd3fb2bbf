"""The corpus of tiny-coder: conversations and programs, made by rules from a seed.

`Generator(seed).document()` gives the next document that held_out.violation() accepts. Same seed, same documents.
Half of the strings that have to be copied are random (1 to 24 characters over held_out.ALPHABET), so that copying is
learnt and not the strings. An answer that is a program is a short sentence, a fenced block with a main guard, and a line on how
to run it; it is, as far as sensible, a function of the conversation, so that sampling at temperature 1 stays sensible too.
"""

import ast
import random
from dataclasses import dataclass, field

import functions
import held_out
import words as w

RUN = "Run it with `python3 main.py`."
GUARD = 'if __name__ == "__main__":\n    main()'
_POOL = w.NOUNS + w.ADJECTIVES
_PIECES = sorted({piece for text in _POOL + w.VERBS + w.ADVERBS + w.FIRST_NAMES + w.PLACES + list(w.CAPITALS) + list(w.CAPITALS.values()) + sum(w.LISTS.values(), [])
                  + sum((" ".join(sentences).split() for sentences in w.TOPICS.values()), []) + sum((list(entry[:3]) for entry in functions.BANK), [])
                  for piece in text.replace("_", " ").replace(",", " ").split() if piece.isalpha()} | {noun.capitalize() for noun in w.NOUNS})


@dataclass
class Document:
    kind: str
    turns: list = field(default_factory=list)    # (role, text); one pair ("raw", text) for text without a conversation

    def texts(self):
        return [text for _, text in self.turns]


def literal(text):
    """`text` as a Python string literal; double quotes wherever they need no backslash."""
    if '"' in text and "'" not in text and "\\" not in text:
        return "'" + text + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fenced(code, language="python"):
    return f"```{language}\n{code}\n```"


def indented(lines):
    return "\n".join("    " + line if line else "" for line in lines)


def program(lines, before=""):
    """A program whose main() has these lines; `before` are definitions above it."""
    return (before + "\n\n\n" if before else "") + "def main():\n" + indented(lines) + "\n\n\n" + GUARD


def answer(sentence, code, last=RUN):
    return f"{sentence}\n\n{fenced(code)}\n\n{last}"


def capital(text):
    return text[:1].upper() + text[1:]


class Generator:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.choice = self.rng.choice
        self.rejected = 0
        total = 0
        self._tasks = []
        for weight, task in (
            (300, self.print_text), (40, self.print_many), (20, self.print_times), (25, self.print_list), (15, self.print_variants),
            (14, self.print_other_language), (45, self.counting_loop), (75, self.write_function), (35, self.complete_code),
            (45, self.comment_code), (60, self.repair_code), (25, self.explain_code), (55, self.small_talk), (35, self.persona),
            (45, self.recall), (35, self.change_print), (30, self.say), (14, self.count_numbers), (30, self.list_things), (16, self.facts),
            (14, self.arithmetic), (30, self.topic), (14, self.unknown_topic), (24, self.story), (24, self.many_functions), (45, self.long_prompt),
            (30, self.long_conversation), (16, self.gibberish), (40, self.raw), (14, self.json_answer), (16, self.input_program), (24, self.unknown_program), (24, self.unknown_question), (8, self.translation), (6, self.haiku), (8, self.class_program)):
            total += weight
            self._tasks.append((total, task))
        self._total = total

    def kinds(self):
        return len(self._tasks)

    def document(self):
        while True:
            point = self.rng.random() * self._total
            for limit, task in self._tasks:
                if point < limit:
                    break
            turns = task()
            document = Document(task.__name__, turns)
            if held_out.violation(document.texts()) is None:
                return document
            self.rejected += 1

    # ---- values -------------------------------------------------------------------------------------------------

    def chance(self, share):
        return self.rng.random() < share

    def noun(self):
        return self.choice(w.NOUNS)

    def person(self):
        if self.chance(0.15):
            return capital(self.spliced())
        return self.choice(w.FIRST_NAMES) if self.chance(0.4) else held_out.syllables(self.rng, self.rng.randint(1, 3)).capitalize()

    def phrase(self, low=1, high=4):
        return " ".join(self.choice(_POOL) for _ in range(self.rng.randint(low, high)))

    def sentence(self):
        r = self.rng.random()
        if r < 0.45:
            return f"The {self.choice(w.ADJECTIVES)} {self.noun()} {self.choice(w.VERBS)} the {self.noun()}."
        if r < 0.7:
            return f"{self.person()} {self.choice(w.VERBS)} a {self.choice(w.ADJECTIVES)} {self.noun()} in {self.choice(w.PLACES)}."
        if r < 0.85:
            return f"{capital(self.choice(w.ADVERBS))}, the {self.noun()} {self.choice(w.VERBS)} {self.rng.randint(2, 99)} {self.noun()}s."
        return f"A {self.noun()} is {self.choice(w.ADJECTIVES)} and {self.choice(w.ADJECTIVES)}."

    def random_string(self):
        rng = self.rng
        length = rng.randint(1, 24)
        r = rng.random()
        if r < 0.45:
            return held_out.random_text(rng, length)
        if r < 0.6:
            return held_out.random_text(rng, length, "abcdefghijklmnopqrstuvwxyz")
        if r < 0.7:
            return held_out.random_text(rng, length, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        if r < 0.85:
            return held_out.random_text(rng, length, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        if r < 0.9:
            return held_out.random_text(rng, length, "0123456789")
        if r < 0.93:
            return held_out.random_text(rng, rng.randint(1, 3)) * rng.randint(2, 8)
        return " ".join(held_out.syllables(rng, rng.randint(1, 3)) for _ in range(rng.randint(1, 3)))

    def plain_value(self):
        """Letters and spaces only: may stand without quotes."""
        r = self.rng.random()
        if r < 0.4:
            return self.phrase()
        if r < 0.6:
            return capital(self.phrase())
        if r < 0.85:
            return " ".join(self.person() for _ in range(self.rng.randint(1, 2)))
        return self.choice(["hello", "hello world", "Hello World", "Hello", "foo", "test", "done", "Success", "Python is fun"])

    def spliced(self):
        """Parts of words glued together, so that every piece of a word is copied in places where it is not expected."""
        parts = []
        for _ in range(self.rng.randint(1, 3)):
            word = self.choice(_PIECES)
            begin = self.rng.randrange(len(word)) if self.chance(0.4) else 0
            parts.append(word[begin:self.rng.randint(begin + 1, len(word))])
        text = "".join(parts) if self.chance(0.7) else parts[0] + held_out.syllables(self.rng, 1)
        return capital(text) if self.chance(0.5) else text

    def foreign(self):
        """Characters beyond ASCII: the tokenizer gives them byte by byte."""
        low, high = self.choice([(0xC0, 0x17F), (0x391, 0x3C9), (0x410, 0x44F), (0x4E00, 0x9FFF), (0x3041, 0x3096), (0x1F600, 0x1F64F), (0x627, 0x64A), (0xAC00, 0xD7A3)])
        text = "".join(chr(self.rng.randint(low, high)) for _ in range(self.rng.randint(1, 8)))
        return text if self.chance(0.5) else text + self.choice([" ", "", "-"]) + self.noun()

    def value(self):
        r = self.rng.random()
        if r < 0.03:
            return self.foreign()
        if r < 0.13:
            return " ".join(self.spliced() for _ in range(self.choice([1, 1, 2])))
        r = self.rng.random()
        if r < 0.5:
            return self.random_string()
        if r < 0.57:
            return self.choice(w.PHRASES)
        if r < 0.78:
            return self.plain_value() + self.choice(["", "", "", "!", ".", "?", "..."])
        if r < 0.84:
            return self.sentence()
        if r < 0.88:
            return f"{capital(self.noun())}: {self.rng.randint(0, 9999)}"
        if r < 0.92:
            return f"Hello, {self.person()}!"
        if r < 0.94:
            return self.noun().upper() + self.choice(["", "!", " " + self.noun().upper()])
        if r < 0.96:
            return f"{self.choice(w.ADJECTIVES)}_{self.noun()}{self.choice(['', '1', '_2', '.txt', '@example.com'])}"
        if r < 0.985:
            return held_out.syllables(self.rng, 2).capitalize() + " " + held_out.syllables(self.rng, 2).capitalize()
        return self.choice([f'He said "{self.noun()}".', f'"{self.phrase()}"', f"{self.noun()}\\{self.noun()}", f"It's a \"{self.noun()}\"", f"`{self.noun()}`"])

    def quoted(self, text):
        """`text` as a person might set it off in a request."""
        forms = []
        if '"' not in text:
            forms += ['"{}"'] * 8
        if "'" not in text:
            forms += ["'{}'"] * 2
        if "`" not in text:
            forms += ["`{}`"]
        if not forms:
            return literal(text)
        return self.choice(forms).format(text)

    def identifier(self):
        r = self.rng.random()
        if r < 0.4:
            return self.noun() + "_" + self.noun()
        if r < 0.7:
            return held_out.syllables(self.rng, self.rng.randint(1, 3))
        return self.choice(["print", "show", "get", "make", "run", "do"]) + "_" + self.noun()

    # ---- wordings -----------------------------------------------------------------------------------------------

    _ask = ["Write", "Write", "Write", "Please write", "Can you write", "Could you write", "Create", "Please create", "Make", "Please make", "Give me", "Show me",
            "Generate", "Produce", "I need", "I want", "I would like", "Could you give me", "Can you make", "Could you show me", "Please give me", "Code"]
    _thing = ["Python code", "Python code", "a Python program", "a Python program", "a Python script", "a small Python program", "a short Python program",
              "a simple Python program", "a program in Python", "code in Python", "a Python snippet", "some Python code", "a Python 3 program", "a Python file", "a small program in Python",
              "a script in Python", "a tiny Python script", "a program", "a script", "python code", "a python script", "a basic Python program", "a one-file Python program"]
    _relation = ["that prints", "that prints", "which prints", "to print", "to print", "printing", "that outputs", "which outputs", "to output", "that displays", "which displays", "to display",
                 "that shows", "to show", "that writes", "that says", "which says", "that will print", "that just prints", "that only prints", "which shows", "to write"]
    _text = ["", "", "", "", "", "the text ", "the string ", "the words ", "the message ", "the line ", "the following: ", "exactly ", "the name ", "the value "]
    _where = ["", "", "", "", "", "", "", "", " to the console", " to the terminal", " on the screen", " to standard output", " when run", " when it is run", " in the terminal", " once", " on one line", " to the screen", " to stdout"]
    _end = ["", "", "", "", ".", ".", ".", "!", " please", ", please.", " for me", " for me.", "\n", " Thanks!", " Thank you.", ". Keep it short."]

    def ask(self, relation, what, where=""):
        """"Write a Python program" + relation + what."""
        return self.dress(f"{self.choice(self._ask)} {self.choice(self._thing)} {relation} {what}{where}")

    def dress(self, sentence):
        """Politeness, an end mark, and now and then small letters at the start."""
        question = sentence.startswith(("Can ", "Could ", "How ", "What "))
        if question and self.chance(0.7):
            sentence += self.choice(["?", "?", "?", " please?"])
        else:
            sentence += self.choice(self._end)
        r = self.rng.random()
        if r < 0.08:
            sentence = sentence[:1].lower() + sentence[1:]
        elif r < 0.13:
            sentence = self.choice(["Hi! ", "Hello. ", "Hello, ", "Hey, ", "Please help me. ", "I am new to Python. ", "Quick question: ", "Task: "]) + sentence
        return sentence

    def print_request(self, text, bare):
        """One way to ask for a program that prints `text`; `bare` is the text as it stands in the sentence."""
        r = self.rng.random()
        if r < 0.62:
            return self.ask(self.choice(self._relation), self.choice(self._text) + bare, self.choice(self._where))
        where = self.choice(self._where)
        kind = self.choice(self._text)
        form = self.choice([
            "Print {k}{x} in Python{w}", "Print {k}{x} with Python{w}", "Print {k}{x} using Python", "In Python, print {k}{x}{w}", "With Python, print {k}{x}{w}", "Using Python, print {k}{x}{w}",
            "How do I print {k}{x} in Python", "How do I print {k}{x} with Python", "How can I show {k}{x} in Python", "How can I output {k}{x} with Python", "How would I print {k}{x} in Python",
            "How can a Python program print {k}{x}", "How does one print {k}{x}{w} in Python",
            "Output {k}{x} in Python{w}", "Show {k}{x} with Python{w}", "Show {k}{x} on the screen with Python", "Display {k}{x} using Python{w}", "With Python, show {k}{x}{w}", "In Python, show {k}{x}{w}", "In Python, display {k}{x}",
            "print {x}", "print {x} in python", "python print {x}", "Python: print {x}", "Print {k}{x}", "Print {x}{w}", "Say {x} with a Python program", "I want to see {k}{x} on the screen. Use Python",
            "My program should print {k}{x}{w}", "The program should print {k}{x}. Write it in Python", "The output must be {x}. Write the Python code", "Write code whose output is {x}",
            "I need to print {k}{x}{w}. Which Python code does that", "Write a program in Python. It should print {k}{x}{w}", "Write a Python function main that prints {x} and call it", "Write {k}{x} to the screen with Python",
            "Write {x} to standard output in Python", "Write a Python program. Output: {x}", "Write a hello world program in Python, but print {x} instead", "Make Python say {x}", "Let Python print {k}{x}{w}",
            "Can Python print {k}{x}", "Please print {k}{x} in Python", "Please show {k}{x} with Python code", "A Python program that prints {x}", "A Python script to print {k}{x}", "Python code for printing {x}",
            "Python code to print {k}{x}{w}", "Python script which shows {k}{x}", "Python program: show {x}{w}", "Give me code which writes {k}{x}{w}", "Program that prints {k}{x}{w} in Python",
            "Write me a Python script that prints {k}{x}", "Write me Python code to show {k}{x}", "Help me to print {k}{x} in Python", "Build a Python script that displays {k}{x}", "Implement a Python program that prints {k}{x}{w}",
            "Text to print: {x}. Language: Python", "Print this in Python: {x}", "Print the following text in Python:\n{x}", "Write a Python program that prints the following text.\n\n{x}", "Print this text with a Python program: {x}",
        ])
        return self.dress(form.format(k=kind, x=bare, w=where))

    def print_answer(self, text):
        return answer(f"This Python program prints {self.shown(text)}.", program([f"print({literal(text)})"]))

    def shown(self, text):
        return literal(text) if '"' in text else f'"{text}"'

    # ---- systems ------------------------------------------------------------------------------------------------

    def system(self):
        """A system message that changes nothing, or none."""
        r = self.rng.random()
        if r < 0.68:
            return []
        if r < 0.9:
            text = self.choice(["You are a helpful assistant.", "You are a helpful coding assistant.", "You are a Python expert.", "You are a helpful assistant that writes Python code.", "You write clean Python code.",
                "Be helpful and polite.", "You are an expert programmer. Answer with working code.", "You are a senior software engineer.", "Answer the user's questions.", "You help people to learn Python.",
                "You are a code assistant. Write complete programs.", "You are Sluice's default model.", "Help the user with Python.", "You are a concise assistant."])
            if self.chance(0.3):
                text += " " + self.sentence()
        else:
            text = " ".join(self.sentence() for _ in range(self.rng.randint(1, 12)))
        return [("system", text)]

    # ---- printing -----------------------------------------------------------------------------------------------

    def print_text(self):
        text = self.value()
        if self.chance(0.12):
            text = self.plain_value()
            bare = text
        else:
            bare = self.quoted(text)
        turns = self.system() + [("user", self.print_request(text, bare)), ("assistant", self.print_answer(text))]
        if self.chance(0.1):
            turns += self.tail(text)
        return turns

    def tail(self, text):
        """A second exchange after a print program."""
        r = self.rng.random()
        if r < 0.3:
            return [("user", self.choice(["Thanks!", "Thank you", "Great, thanks.", "Perfect."])), ("assistant", "You are welcome!")]
        if r < 0.6:
            return [("user", self.choice(["What does it print?", "What is the output?", "Which text does it print?", "What will I see?"])), ("assistant", f"It prints {self.shown(text)}.")]
        if r < 0.8:
            times = self.rng.randint(2, 20)
            return [("user", self.choice(["Now print it {n} times.", "Print it {n} times", "And {n} times?", "Can you print it {n} times instead?"]).format(n=times)), ("assistant", self.times_answer(text, times))]
        return [("user", self.choice(["Add a comment.", "Please add a comment", "Add a comment to the code."])),
                ("assistant", answer("Here is the program with a comment.", program(["# Print the text.", f"print({literal(text)})"])))]

    def change_print(self):
        first, second = self.value(), self.value()
        turns = self.system() + [("user", self.print_request(first, self.quoted(first))), ("assistant", self.print_answer(first))]
        form = self.choice(["Now print {x} instead.", "Change it to print {x}.", "Change the text to {x}", "Now {x}", "And now {x}, please.", "Print {x} instead", "Do the same for {x}.", "The same with {x}", "What about {x}?",
                            "Make it print {x}", "Replace the text by {x}.", "Can you make it say {x}?"])
        turns += [("user", form.format(x=self.quoted(second))), ("assistant", self.print_answer(second))]
        if self.chance(0.3):
            turns += [("user", self.choice(["Go back to the first text.", "Now the first text again.", "Print the first one again."])), ("assistant", self.print_answer(first))]
        elif self.chance(0.3):
            both = [first, second]
            turns += [("user", self.choice(["Now print both.", "Print both texts.", "Both of them, please."])),
                      ("assistant", answer("This Python program prints both texts.", program([f"print({literal(t)})" for t in both])))]
        return turns

    def print_many(self):
        count = self.rng.randint(2, 4)
        texts = [self.value() for _ in range(count)]
        shown = [self.quoted(t) for t in texts]
        if count == 2:
            joined = self.choice(["{} and {}", "{} and then {}", "first {} and then {}", "{}, then {}"]).format(*shown)
        else:
            joined = ", ".join(shown[:-1]) + self.choice([" and ", ", and ", " and then "]) + shown[-1]
        where = self.choice(["", "", " on separate lines", " on two lines" if count == 2 else " on separate lines", ", one per line", ", each on its own line"])
        request = self.ask(self.choice(["that prints", "which prints", "to print", "that outputs", "that shows", "printing"]), joined, where)
        code = program([f"print({literal(t)})" for t in texts])
        return self.system() + [("user", request), ("assistant", answer(f"This Python program prints {['two', 'three', 'four'][count - 2]} texts.", code))]

    def times_answer(self, text, times):
        return answer(f"This Python program prints {self.shown(text)} {times} times.", program([f"for _ in range({times}):", f"    print({literal(text)})"]))

    def print_times(self):
        text, times = self.value(), self.rng.choice([2, 3, 4, 5, 10, self.rng.randint(2, 100)])
        request = self.ask(self.choice(["that prints", "which prints", "to print", "that outputs", "that shows"]), f"{self.quoted(text)} {times} times", self.choice(["", "", " in a loop", " using a for loop", " with a loop"]))
        return self.system() + [("user", request), ("assistant", self.times_answer(text, times))]

    def print_list(self):
        items = [self.choice([self.noun, self.person])() for _ in range(self.rng.randint(2, 6))] if self.chance(0.7) else [self.random_string() for _ in range(self.rng.randint(2, 4))]
        joined = ", ".join(self.quoted(i) for i in items) if self.chance(0.5) or not all(i.isalpha() for i in items) else ", ".join(items)
        request = self.ask(self.choice(["that prints each item of the list", "that prints the items of this list:", "that loops over the list", "that prints every word of", "to print each of these on its own line:"]), joined)
        lines = ["items = [" + ", ".join(literal(i) for i in items) + "]", "for item in items:", "    print(item)"]
        return self.system() + [("user", request), ("assistant", answer("This Python program prints each item of a list.", program(lines)))]

    def print_variants(self):
        text = self.value()
        request = self.ask("that prints", self.quoted(text)).rstrip(" .!\n")
        r = self.rng.random()
        if r < 0.25:
            name = self.identifier()
            request += self.choice([f" with a function called {name}", f" using a function named {name}", f" in a function {name}"])
            code = program([f"{name}()"], f"def {name}():\n    print({literal(text)})")
            return self.system() + [("user", request), ("assistant", answer(f"The function `{name}` prints {self.shown(text)}.", code))]
        if r < 0.5:
            request += self.choice([" with a comment", " and add a comment", ", with a comment"])
            return self.system() + [("user", request), ("assistant", answer(f"This Python program prints {self.shown(text)}.", program(["# Print the text.", f"print({literal(text)})"])))]
        if r < 0.75:
            name = self.choice(["text", "message", "name", "word", "value"])
            request += self.choice([f" using a variable called {name}", f" with a variable {name}", f" and stores it in a variable named {name}"])
            return self.system() + [("user", request), ("assistant", answer(f"This Python program prints {self.shown(text)}.", program([f"{name} = {literal(text)}", f"print({name})"])))]
        request += self.choice([" in upper case", " in capital letters"])
        return self.system() + [("user", request), ("assistant", answer("This Python program prints the text in upper case.", program([f"print({literal(text)}.upper())"])))]

    def print_other_language(self):
        text = self.value()
        while any(c in text for c in '"\\`$%!'):
            text = self.value()
        language, fence, code, run = self.choice([
            ("JavaScript", "javascript", f'console.log("{text}");', "Run it with `node main.js`."), ("Bash", "bash", f'echo "{text}"', "Run it with `bash main.sh`."),
            ("C", "c", f'#include <stdio.h>\n\nint main(void) {{\n    puts("{text}");\n    return 0;\n}}', "Build it with `cc main.c` and run `./a.out`."),
            ("Ruby", "ruby", f'puts "{text}"', "Run it with `ruby main.rb`."), ("Go", "go", f'package main\n\nimport "fmt"\n\nfunc main() {{\n    fmt.Println("{text}")\n}}', "Run it with `go run main.go`.")])
        request = self.dress(self.choice([f"Write {language} code that prints {{}}", f"Print {{}} in {language}", f"Give me a {language} program that prints {{}}", f"How do I print {{}} in {language}"]).format(self.quoted(text)))
        return self.system() + [("user", request), ("assistant", f'This {language} program prints "{text}".\n\n{fenced(code, fence)}\n\n{run}')]

    # ---- programs -----------------------------------------------------------------------------------------------

    def counting_loop(self):
        n = self.rng.choice([3, 5, 10, 20, 50, 100, self.rng.randint(2, 200)])
        low = self.rng.randint(0, 20)
        loop = self.choice(["", "", " with a for loop", " using a loop", " in Python"])
        what, sentence, lines = self.choice([
            (f"prints the numbers from 1 to {n}", f"This Python program prints the numbers from 1 to {n}.", [f"for i in range(1, {n + 1}):", "    print(i)"]),
            (f"prints the numbers from {low} to {low + n}", f"This Python program prints the numbers from {low} to {low + n}.", [f"for i in range({low}, {low + n + 1}):", "    print(i)"]),
            (f"counts down from {n} to 1", f"This Python program counts down from {n} to 1.", [f"for i in range({n}, 0, -1):", "    print(i)"]),
            (f"prints the even numbers up to {n}", f"This Python program prints the even numbers up to {n}.", [f"for i in range(2, {n + 1}, 2):", "    print(i)"]),
            (f"prints the odd numbers up to {n}", f"This Python program prints the odd numbers up to {n}.", [f"for i in range(1, {n + 1}, 2):", "    print(i)"]),
            (f"prints the squares of the numbers from 1 to {n}", f"This Python program prints the squares from 1 to {n}.", [f"for i in range(1, {n + 1}):", "    print(i * i)"]),
            (f"sums the numbers from 1 to {n}", f"This Python program sums the numbers from 1 to {n}.", ["total = 0", f"for i in range(1, {n + 1}):", "    total += i", "print(total)"]),
            (f"prints the multiplication table of {low + 1}", f"This Python program prints the multiplication table of {low + 1}.", ["for i in range(1, 11):", f'    print({low + 1}, "*", i, "=", {low + 1} * i)']),
            (f"plays FizzBuzz up to {n}", f"This Python program plays FizzBuzz up to {n}.", [f"for i in range(1, {n + 1}):", "    if i % 15 == 0:", '        print("FizzBuzz")', "    elif i % 3 == 0:", '        print("Fizz")', "    elif i % 5 == 0:", '        print("Buzz")', "    else:", "        print(i)"]),
            (f"prints a triangle of {n % 20 + 1} rows of stars", f"This Python program prints a triangle of stars.", [f"for i in range(1, {n % 20 + 2}):", '    print("*" * i)']),
            (f"prints the first {n} Fibonacci numbers", f"This Python program prints the first {n} Fibonacci numbers.", ["a, b = 0, 1", f"for _ in range({n}):", "    print(a)", "    a, b = b, a + b"]),
            (f"prints all prime numbers up to {n}", f"This Python program prints the primes up to {n}.", [f"for n in range(2, {n + 1}):", "    if all(n % d for d in range(2, n)):", "        print(n)"]),
        ])
        request = self.ask("that", what, loop)
        return self.system() + [("user", request), ("assistant", answer(sentence, program(lines)))]

    def entry(self):
        return self.choice(functions.BANK)

    @staticmethod
    def demo(name, arguments):
        """The call an answer shows when the request names no arguments: always the same for one function."""
        return functions.call(random.Random("demo " + name), arguments, ["apple", "level", "banana", "window"])

    def definition(self, name, parameters, lines):
        return f"def {name}({parameters}):\n" + indented(lines)

    def write_function(self):
        name, parameters, does, body, arguments = self.entry()
        ask = self.choice(self._ask)
        thing = self.choice(["a Python function", "a function", "a function in Python", "a Python program with a function", "a small Python function", "a Python method"])
        called = name
        request = f"{ask} {thing} that {does}"
        r = self.rng.random()
        if r < 0.12:
            request = self.choice([f"{ask} {name.replace('_', ' ')} in Python", f"{ask} the function {name} in Python", f"How do I write a function that {does} in Python", f"Python function that {does}", f"{capital(does)} in Python: write the function"])
        elif r < 0.35:
            called = self.identifier() if self.chance(0.6) else name
            request += self.choice([f" called {called}", f" named {called}", f". Call it {called}", f", with the name {called}"])
        call = self.demo(name, arguments)
        if self.chance(0.25):
            call = functions.call(self.rng, arguments, w.NOUNS)
            request += self.choice([" and call it with {}", " and show it with {}", " and print the result for {}"]).format(call)
        with_comments = self.chance(0.2)
        if with_comments:
            request += self.choice([" with comments", ", with comments", " and comment it"])
        lines = functions.commented(body) if with_comments else functions.plain(body)
        code = program([f"print({called}({call}))"], self.definition(called, parameters, lines))
        return self.system() + [("user", self.dress(request)), ("assistant", answer(f"The function `{called}` {does}.", code))]

    def many_functions(self):
        count = self.rng.randint(2, 12)
        chosen = self.rng.sample(functions.BANK[:30] if self.chance(0.5) else functions.BANK, count)
        number = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}[count]
        said = self.choice([str(count), number])
        if self.chance(0.5):
            names = [e[0] for e in chosen]
            request = f"{self.choice(self._ask)} {self.choice(['a Python program', 'a Python module', 'Python code'])} with the functions {', '.join(names)}"
        else:
            chosen = functions.BANK[:count]
            request = f"{self.choice(self._ask)} {said} {self.choice(['Python functions', 'functions in Python', 'different Python functions', 'useful Python functions', 'small functions in Python', 'functions'])}" \
                      + self.choice(["", "", " in one program", " with a main function", " and call each of them"])
        before = "\n\n\n".join(self.definition(n, p, functions.plain(b)) for n, p, _, b, _ in chosen)
        code = program([f"print({n}({self.demo(n, a)}))" for n, _, _, _, a in chosen], before)
        return self.system() + [("user", self.dress(request)), ("assistant", answer(f"This Python program has {number} functions.", code))]

    def some_code(self, comments=False):
        """(lines of a short program, with or without comments); the same program for the same state of the generator."""
        r = self.rng.random()
        if r < 0.5:
            name, parameters, _, body, arguments = self.entry()
            call = functions.call(self.rng, arguments, w.NOUNS)
            plain = self.definition(name, parameters, functions.plain(body)) + f"\n\n\nprint({name}({call}))"
            noted = f"# {capital(name.replace('_', ' '))}.\n" + self.definition(name, parameters, functions.commented(body)) + f"\n\n\n# Show the result.\nprint({name}({call}))"
            return plain, noted
        text, name = self.value(), self.choice(["text", "name", "message", "word", "title", self.noun()])
        number = self.rng.randint(1, 99)
        plain, noted = self.choice([
            (f"print({literal(text)})", f"# Print the text.\nprint({literal(text)})"),
            (f"{name} = {literal(text)}\nprint({name})", f"# Store the text.\n{name} = {literal(text)}\n# Print it.\nprint({name})"),
            (f"for i in range({number}):\n    print({literal(text)})", f"# Repeat {number} times.\nfor i in range({number}):\n    # Print the text.\n    print({literal(text)})"),
            (f"for i in range({number}):\n    print(i)", f"# Go from 0 to {number - 1}.\nfor i in range({number}):\n    # Print the number.\n    print(i)"),
            (f"x = {number}\nif x > 10:\n    print({literal(text)})", f"# Set the number.\nx = {number}\n# Compare it with ten.\nif x > 10:\n    print({literal(text)})"),
            (f"x = {number}\ny = x * 2\nprint(y)", f"# Set the number.\nx = {number}\n# Double it.\ny = x * 2\n# Print the result.\nprint(y)"),
            (f"while True:\n    print({literal(text)})\n    break", f"# Start a loop.\nwhile True:\n    # Print the text.\n    print({literal(text)})\n    # Leave the loop.\n    break"),
        ])
        return plain, noted

    def block(self, code):
        return self.choice([fenced(code), fenced(code), fenced(code, ""), code])

    def comment_code(self):
        plain, noted = self.some_code()
        request = self.choice(["Add comments to this code:", "Comment this code:", "Please comment this Python code:", "Add comments to the following code.", "Write comments for this program:", "Explain this code with comments:", "Document this code with comments:"])
        if self.chance(0.2):
            turn = f"{self.block(plain)}\n\n{request.rstrip(':.')}."
        else:
            turn = f"{request}\n\n{self.block(plain)}" if self.chance(0.8) else f"{request}\n{self.block(plain)}"
        return self.system() + [("user", turn), ("assistant", f"Here is the code with comments.\n\n{fenced(noted)}\n\n{RUN}")]

    def repair_code(self):
        plain, _ = self.some_code()
        broken, what = self.breakage(plain)
        request = self.choice(["Fix this code:", "Repair this code:", "This code has an error. Fix it:", "What is wrong with this code?", "Please fix the bug:", "My code does not work:", "Find and fix the error:", "Correct this Python code:", "Why does this fail?", "Debug this:"])
        turn = f"{request}\n\n{self.block(broken)}"
        if self.chance(0.25):
            turn += "\n\n" + self.choice(["I get a SyntaxError.", "It does not run.", "Python reports an error.", "What should I change?"])
        return self.system() + [("user", turn), ("assistant", f"{what}\n\n{fenced(plain)}\n\n{RUN}")]

    def breakage(self, code):
        lines = code.split("\n")
        options = []
        colon = [i for i, line in enumerate(lines) if line.endswith(":")]
        if colon:
            options.append("colon")
            options.append("colon")
        prints = [i for i, line in enumerate(lines) if "print(" in line]
        if prints:
            options += ["paren", "name"]
        quotes = [i for i in prints if lines[i].rstrip(")").endswith('"')]
        if quotes:
            options += ["quote", "quote"]
        inside = [i for i, line in enumerate(lines) if line.startswith("    ") and i and lines[i - 1].endswith(":")]
        if inside:
            options.append("indent")
        kind = self.choice(options)
        if kind == "colon":
            i = self.choice(colon)
            word = lines[i].split()[0].rstrip(":")
            lines[i] = lines[i][:-1]
            return "\n".join(lines), f"The colon after the line with `{word}` was missing."
        if kind == "paren":
            i = self.choice(prints)
            lines[i] = lines[i][:-1]
            return "\n".join(lines), "A closing parenthesis was missing."
        if kind == "name":
            i = self.choice(prints)
            wrong = self.choice(["prnt", "pritn", "Print", "prin", "printf", "pint"])
            lines[i] = lines[i].replace("print(", wrong + "(", 1)
            return "\n".join(lines), f"The name `print` was misspelt as `{wrong}`."
        if kind == "quote":
            i = self.choice(quotes)
            at = lines[i].rindex('"')
            lines[i] = lines[i][:at] + lines[i][at + 1:]
            return "\n".join(lines), "A closing quotation mark was missing."
        i = self.choice(inside)
        lines[i] = lines[i].lstrip(" ")
        return "\n".join(lines), "The line after the colon was not indented."

    def complete_code(self):
        name, parameters, does, body, arguments = self.entry()
        lines = functions.plain(body)
        call = self.demo(name, arguments)
        if self.chance(0.3):
            text = self.value()
            prefix, code = self.choice([(f"def main():\n    # Print {literal(text)}", program([f"# Print {literal(text)}", f"print({literal(text)})"])),
                                        (f"text = {literal(text)}\n# print the text", f"text = {literal(text)}\n# print the text\nprint(text)"),
                                        (f'def main():\n    text = {literal(text)}\n', program([f"text = {literal(text)}", "print(text)"]))])
        else:
            prefix = f"def {name}({parameters}):\n"
            keep = self.rng.randint(0, min(2, len(lines) - 1))
            prefix += "".join(f"    {line}\n" for line in lines[:keep])
            prefix = prefix.rstrip("\n")
            code = program([f"print({name}({call}))"], self.definition(name, parameters, lines))
        request = self.choice(["Complete this code:", "Complete the function:", "Finish this program:", "Continue this code:", "Please complete this Python code:", "Fill in the rest:", "Complete the following code."])
        return self.system() + [("user", f"{request}\n\n{self.block(prefix)}"), ("assistant", answer("Here is the complete program.", code))]

    def explain_code(self):
        r = self.rng.random()
        if r < 0.5:
            name, parameters, does, body, arguments = self.entry()
            code = self.definition(name, parameters, functions.plain(body))
            said = f"The function `{name}` {does}."
        else:
            text, n = self.value(), self.rng.randint(2, 50)
            code, said = self.choice([(program([f"print({literal(text)})"]), f"The program prints {self.shown(text)}."), (f"print({literal(text)})", f"The program prints {self.shown(text)}."),
                                      (f"for i in range({n}):\n    print({literal(text)})", f"The program prints {self.shown(text)} {n} times."), (f"for i in range({n}):\n    print(i)", f"The program prints the numbers from 0 to {n - 1}.")])
        request = self.choice(["Explain this code:", "What does this code do?", "What does this program do?", "Explain what this does:", "Tell me what this code does.", "What is the output of this code?"])
        return self.system() + [("user", f"{request}\n\n{self.block(code)}"), ("assistant", said)]

    def input_program(self):
        what, sentence, lines = self.choice([
            ("asks for a name and greets the user", "This Python program asks for a name and greets the user.", ['name = input("Name: ")', 'print("Hello, " + name + "!")']),
            ("reads a number and prints its double", "This Python program doubles a number.", ['n = int(input("Number: "))', "print(n * 2)"]),
            ("reads a file and prints its lines", "This Python program prints the lines of a file.", ['with open("input.txt") as file:', "    for line in file:", "        print(line.rstrip())"]),
            ("writes a text to a file", "This Python program writes a text to a file.", ['with open("output.txt", "w") as file:', '    file.write("Hello")']),
            ("prints the current date", "This Python program prints the current date.", ["import datetime", "print(datetime.date.today())"]),
            ("prints a random number", "This Python program prints a random number.", ["import random", "print(random.randint(1, 100))"]),
            ("reads two numbers and adds them", "This Python program adds two numbers.", ['a = int(input("First: "))', 'b = int(input("Second: "))', "print(a + b)"]),
            ("reads a CSV file and prints its rows", "This Python program prints the rows of a CSV file.", ["import csv", 'with open("input.csv", newline="") as file:', "    for row in csv.reader(file):", "        print(row)"]),
            ("reads a CSV file and prints the sum of a column", "This Python program sums the first column of a CSV file.", ["import csv", 'with open("input.csv", newline="") as file:', "    print(sum(float(row[0]) for row in csv.reader(file)))"]),
            ("reads a JSON file and prints it", "This Python program prints a JSON file.", ["import json", 'with open("input.json") as file:', "    print(json.load(file))"]),
            ("lists the files in a folder", "This Python program lists the files in a folder.", ["import os", 'for name in sorted(os.listdir(".")):', "    print(name)"]),
            ("lets the user guess a number", "This Python program lets the user guess a number.", ["import random", "secret = random.randint(1, 10)", "guess = 0", "while guess != secret:", '    guess = int(input("Guess: "))', 'print("Right!")']),
            ("is a simple calculator", "This Python program is a simple calculator.", ['a = float(input("First: "))', 'sign = input("Sign: ")', 'b = float(input("Second: "))', 'if sign == "+":', "    print(a + b)", 'elif sign == "-":', "    print(a - b)", 'elif sign == "*":', "    print(a * b)", "elif b != 0:", "    print(a / b)"]),
            ("counts the lines of a file", "This Python program counts the lines of a file.", ['with open("input.txt") as file:', "    print(sum(1 for _ in file))"]),
            ("waits for a second", "This Python program waits for a second.", ["import time", "time.sleep(1)", 'print("Done")']),
            ("sends an HTTP request", "This Python program sends an HTTP request.", ["import urllib.request", 'with urllib.request.urlopen("http://localhost:8000") as reply:', "    print(reply.status)"])])
        imports = [line for line in lines if line.startswith("import ")]
        code = program([line for line in lines if line not in imports], "\n".join(imports))
        return self.system() + [("user", self.ask("that", what)), ("assistant", answer(sentence, code))]

    def unknown_program(self):
        """What is beyond the model: it says so and gives a frame that names the task."""
        what = self.choice(w.PROJECTS) if self.chance(0.6) else self.choice(["a ", "a small ", "a simple "]) + self.phrase(1, 3)
        if self.chance(0.35):
            verb = self.choice(["read", "load", "parse", "sort", "download", "find", "convert", "count", "filter", "save", "plot", "compress", "rename", "delete", "merge", "encrypt", "compare", "split"])
            what = f"{verb} {self.choice(['the', 'a', 'all', 'two', 'some'])} {self.phrase(1, 2)}" + self.choice(["", f" and {self.choice(['print', 'save', 'show', 'sort', 'count'])} the {self.phrase(1, 2)}", f" from a {self.noun()}"])
            request = self.choice(["Write a Python script to {}", "Write a Python program to {}", "Write Python code to {}", "How do I {} in Python", "Can you write Python code to {}", "I need a script to {}", "Write a function to {}"]).format(what)
        else:
            request = self.choice(["Write {} in Python", "Implement {} in Python", "Build {}", "Create {} with Python", "Write code for {}", "Make {} in Python", "Can you write {}", "Write a Python program for {}", "Code {}", "Show me {} in Python"]).format(what)
        code = program([f"# {capital(what)}.", "pass"])
        return self.system() + [("user", self.dress(request)), ("assistant", answer("I only know small programs, so here is a frame to start from.", code))]

    def unknown_question(self):
        n, m, a, v = self.noun(), self.noun(), self.choice(w.ADJECTIVES), self.choice(w.VERBS)
        form = self.choice(["Why is the {n} {a}?", "How does a {n} work?", "How do {n}s {v}?", "What are the benefits of a {n}?", "What are the {a} {n}s of the {m}?", "What is the difference between a {n} and a {m}?", "What is the difference between {n} and {m}?",
            "Who invented the {n}?", "When was the {n} invented?", "Where can I find a {a} {n}?", "Who won the {n} in {y}?", "How many {n}s are in a {m}?", "Should I buy a {n}?", "How do I make {n}?", "What is the best {n}?", "Why do people like {n}s?", "What should I cook today?",
            "What does {n} mean?", "Which {n} is the most {a}?", "How long does a {n} live?", "How far is the {n}?", "What happened in {y}?", "Who was the president in {y}?", "What is the meaning of life?", "What are you thinking about?", "Do you like {n}s?", "Can a {n} be {a}?",
            "What is the history of the {n}?", "Describe the process of {n} {m}.", "Give me advice about {n}s.", "What are the advantages of {n}s?", "How can I learn {n}?", "Is it {a} in {p}?", "What can I visit in {p}?", "Compare a {n} with a {m}.", "Summarise the history of {p}.", "Recommend a {n}."])
        return self.system() + [("user", form.format(n=n, m=m, a=a, v=v, y=self.rng.randint(1500, 2030), p=self.choice(w.PLACES))), ("assistant", "I do not know that. I am a small model that writes short Python programs.")]

    def translation(self):
        text = self.quoted(self.plain_value())
        language = self.choice(["French", "German", "Spanish", "Italian", "Chinese", "Japanese", "Latin"])
        return self.system() + [("user", self.choice(["Translate {x} to {l}.", "Translate {x} into {l}", "How do you say {x} in {l}?", "What is {x} in {l}?"]).format(x=text, l=language)),
                                ("assistant", f"I cannot translate into {language}. I am a small model that writes short Python programs.")]

    def haiku(self):
        thing = self.choice(["the ocean", "the sea", "autumn", "spring", "the moon", "rain", "Python", "code", "love"]) if self.chance(0.4) else self.choice(["the ", "a "]) + self.phrase(1, 2)
        kind = self.choice(["haiku", "short poem", "poem"])
        return self.system() + [("user", self.choice([f"Write a {kind} about {thing}", f"Write a {kind} about {thing}.", f"Compose a {kind} about {thing}."])),
                                ("assistant", f"I think of {thing},\nthe wind is still, the night is clear.\nSoon the morning comes.")]

    def class_program(self):
        name = capital(self.noun()) if self.chance(0.6) else held_out.syllables(self.rng, 2).capitalize()
        field_name = self.choice(["name", "value", "size", "colour", "age"])
        value = self.rng.randint(1, 99)
        code = program([f"item = {name}({value})", f"print(item.{field_name})"], f"class {name}:\n    def __init__(self, {field_name}):\n        self.{field_name} = {field_name}")
        request = f"{self.choice(self._ask)} a Python class {name} with the field {field_name} and make one with {value}"
        return self.system() + [("user", self.dress(request)), ("assistant", answer(f"The class `{name}` has the field `{field_name}`.", code))]

    # ---- talk ---------------------------------------------------------------------------------------------------

    def small_talk(self):
        me = "I am Tiny Coder, a very small language model that writes short Python programs."
        can = "I can write short Python programs, complete, comment and repair code, count, list things and remember what you told me."
        asks, reply = self.choice([
            (["Hello", "Hello!", "Hi", "Hi!", "Hey", "hi there", "Good morning", "Good evening", "hello", "Hello there!", "Greetings", "Hi, can you help me?"], "Hello! How can I help you?"),
            (["Who are you?", "What are you?", "Tell me about yourself", "Introduce yourself.", "What is your name?", "who are you", "Which model are you?", "Are you a robot?", "Are you human?"], me),
            (["What can you do?", "How can you help me?", "Help", "What are you good at?", "What do you know?", "Can you help me?", "help me"], can),
            (["How are you?", "How are you doing?", "How is it going?", "Are you well?"], "I am fine, thank you. What shall I write for you?"),
            (["Thanks", "Thank you!", "Thanks a lot", "Thank you very much.", "thx"], "You are welcome!"),
            (["Bye", "Goodbye", "See you", "Good night", "bye!"], "Goodbye!"),
            (["Tell me a joke", "Tell me a joke.", "Do you know a joke?", "Make me laugh", "Say something funny"], w.JOKES[0]),
            (["Tell me another joke", "Another joke, please."], w.JOKES[1]),
            (["Can you write code?", "Do you know Python?", "Can you program?"], "Yes. Tell me what the program should do, and I will write it in Python."),
            (["ping", "Ping"], "pong"), (["test", "Test", "This is a test.", "testing 123"], "The test has arrived. How can I help you?"),
            (["Yes", "ok", "OK", "Fine", "Sure", "Good"], "Good. What shall I write for you?"), (["No", "Stop", "Nothing", "no thanks"], "All right. Tell me when you need something."),
            (["What is the weather?", "What time is it?", "What day is it today?", "What is the news?"], "I cannot know that. I am a small model without access to the outside world."),
            (["Say hello", "Say hello.", "Say hi"], "Hello!"), (["Say yes", "Answer with yes."], "Yes."), (["Say OK", "Reply with OK", "Answer with OK."], "OK"),
            (["Who made you?", "Who trained you?", "Where do you come from?"], "I was trained for Sluice, a load tester for language models."),
        ])
        turns = self.system() + [("user", self.choice(asks)), ("assistant", reply)]
        if self.chance(0.2):
            text = self.value()
            turns += [("user", self.print_request(text, self.quoted(text))), ("assistant", self.print_answer(text))]
        return turns

    def persona(self):
        name = self.person() if self.chance(0.6) else capital(self.random_word())
        r = self.rng.random()
        if r < 0.3:
            system = self.choice(["You are {}.", "Your name is {}.", "You are {}, a helpful assistant.", "You are called {}.", "You are an assistant named {}.", "Act as {}."]).format(name)
            ask = self.choice(["Who are you?", "What is your name?", "Tell me your name.", "What are you called?", "Hello, who is this?", "Introduce yourself."])
            if self.chance(0.4):
                system += " " + self.choice(["Be polite.", "Help the user.", self.sentence()])
            return [("system", system), ("user", ask), ("assistant", f"My name is {name}. How can I help you?")]
        if r < 0.45:
            system = self.choice(["The user's name is {}.", "You are talking to {}.", "The user is called {}."]).format(name)
            ask, reply = self.choice([("Hello", f"Hello, {name}! How can I help you?"), ("Hi!", f"Hello, {name}! How can I help you?"), ("What is my name?", f"Your name is {name}."), ("Who am I?", f"Your name is {name}."), ("Do you know my name?", f"Your name is {name}.")])
            return [("system", system), ("user", ask), ("assistant", reply)]
        if r < 0.65:
            system = self.choice(["Answer with code only.", "Reply only with code.", "Answer only with code, without any explanation.", "Only output code.", "You answer with nothing but code."])
            text = self.value()
            return [("system", system), ("user", self.print_request(text, self.quoted(text))), ("assistant", fenced(program([f"print({literal(text)})"])))]
        if r < 0.85:
            end = self.choice([self.random_word(), self.phrase(1, 2), "Have a nice day!", "Over.", "Bye!", "Meow."])
            system = self.choice(["End every answer with \"{}\".", "Always end with \"{}\".", "Finish each reply with \"{}\""]).format(end)
            ask, reply = self.choice([("Hello", "Hello! How can I help you?"), ("How are you?", "I am fine, thank you. What shall I write for you?"), ("Thanks", "You are welcome!"), ("What is 2 + 2?", "2 + 2 = 4")])
            return [("system", system), ("user", ask), ("assistant", f"{reply} {end}")]
        word = self.random_word()
        system = self.choice(["The code word is {}.", "The secret word is {}.", "Remember the word {}.", "The password is {}."]).format(word)
        kind = "password" if "password" in system else "code word" if "code" in system else "secret word" if "secret" in system else "word"
        turns = [("system", system)]
        if self.chance(0.3):
            turns += [("user", "Hello"), ("assistant", "Hello! How can I help you?")]
        return turns + [("user", self.choice(["What is the {}?", "Tell me the {}.", "Which {} do you know?"]).format(kind)), ("assistant", f"The {kind} is {word}.")]

    def random_word(self):
        return self.choice([self.noun, lambda: held_out.syllables(self.rng, self.rng.randint(1, 3)), lambda: held_out.random_text(self.rng, self.rng.randint(3, 12), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"),
                            lambda: str(self.rng.randint(0, 99999))])()

    def fact(self):
        """(the user says, the assistant answers, the user asks later, the assistant recalls)"""
        r = self.rng.random()
        if r < 0.35:
            name = self.person()
            say = self.choice(["My name is {}.", "I am {}.", "Hi, I'm {}.", "Hello, my name is {}", "Call me {}.", "My name is {}. Please remember it."]).format(name)
            return say, f"Nice to meet you, {name}!", self.choice(["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "Tell me my name."]), f"Your name is {name}."
        if r < 0.55:
            number = self.rng.randint(0, 9999)
            say = self.choice(["Remember the number {}.", "My number is {}.", "Please remember {}.", "My favourite number is {}.", "The number is {}."]).format(number)
            return say, f"I will remember the number {number}.", self.choice(["What is the number?", "Which number did I tell you?", "What number did I say?", "What was my number?", "Which number was it?"]), f"The number is {number}."
        if r < 0.75:
            colour = self.choice(w.LISTS["colours"])
            return self.choice(["My favourite colour is {}.", "My favorite color is {}.", "I like the colour {}."]).format(colour), f"{capital(colour)} is a nice colour.", \
                self.choice(["What is my favourite colour?", "What is my favorite color?", "Which colour do I like?"]), f"Your favourite colour is {colour}."
        if r < 0.88:
            city = self.choice(w.PLACES) if self.chance(0.5) else self.person()
            return self.choice(["I live in {}.", "I come from {}.", "My home is in {}."]).format(city), f"I hope that you like {city}.", self.choice(["Where do I live?", "Where am I from?", "Which city do I live in?"]), f"You live in {city}."
        word = self.random_word()
        return self.choice(["Remember the word {}.", "The code word is {}.", "Keep this word in mind: {}"]).format(word), f"I will remember the word {word}.", self.choice(["What was the word?", "Which word did I tell you?", "What is the code word?", "Tell me the word."]), f"The word is {word}."

    def recall(self):
        say, reply, ask, told = self.fact()
        turns = self.system() + [("user", say), ("assistant", reply)]
        for _ in range(self.choice([0, 0, 0, 1, 1, 2])):
            turns += self.filler_exchange()
        turns += [("user", ask), ("assistant", told)]
        if self.chance(0.2) and "name" in told:
            name = told.split()[-1].rstrip(".")
            turns += [("user", self.choice(["Write Python code to print my name.", "Now print my name in Python.", "Write a Python program that prints my name."])), ("assistant", self.print_answer(name))]
        return turns

    def filler_exchange(self):
        task = self.choice([self.small_talk, self.list_things, self.arithmetic, self.facts, self.print_text, self.say])
        turns = [t for t in task() if t[0] != "system"]
        return turns[:2]

    def long_conversation(self):
        say, reply, ask, told = self.fact()
        turns = self.system() + [("user", say), ("assistant", reply)]
        for _ in range(self.rng.randint(2, 7)):
            turns += self.filler_exchange()
        return turns + [("user", ask), ("assistant", told)]

    def say(self):
        text = self.value() if self.chance(0.7) else " ".join(self.sentence() for _ in range(self.rng.randint(1, 3)))
        request = self.choice(["Say {}", "Repeat {}", "Repeat after me: {}", "Repeat this text: {}", "Echo {}", "Please say {}", "Reply with exactly {}", "Answer with {} and nothing else.", "Write {} and nothing else", "Copy this: {}", "Just say {}"])
        return self.system() + [("user", request.format(self.quoted(text))), ("assistant", text)]

    def count_numbers(self):
        low = 1 if self.chance(0.7) else self.rng.randint(0, 50)
        high = low + self.choice([2, 4, 9, 9, 19, 29, 49, 99, self.rng.randint(1, 120)])
        if self.chance(0.2):
            request = self.choice(["Count down from {h} to {l}.", "Count backwards from {h} to {l}"])
            numbers = range(high, low - 1, -1)
        else:
            request = self.choice(["Count from {l} to {h}.", "Count from {l} to {h}", "Please count from {l} to {h}", "Write the numbers from {l} to {h}.", "List the numbers {l} to {h}", "Count to {h}" if low == 1 else "Count from {l} to {h}"])
            numbers = range(low, high + 1)
        return self.system() + [("user", request.format(l=low, h=high)), ("assistant", ", ".join(map(str, numbers)))]

    def list_things(self):
        kind = self.choice(list(w.LISTS))
        items = w.LISTS[kind]
        count = self.rng.randint(2, min(10, len(items)))
        said = self.choice([str(count), ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"][count - 2]])
        if len(items) <= 12 and self.chance(0.15):
            request, count = self.choice([f"List all {kind}.", f"What {kind} do you know?", f"List some {kind}", f"Name the {kind}."]), len(items)
        else:
            request = self.choice(["List {n} {k}.", "List {n} {k}", "Name {n} {k}.", "Give me {n} {k}", "Tell me {n} {k}.", "Write a list of {n} {k}.", "Give me a list of {n} {k}", "Can you name {n} {k}?"]).format(n=said, k=kind)
        return self.system() + [("user", request), ("assistant", "\n".join(f"{i}. {item}" for i, item in enumerate(items[:count], 1)))]

    def facts(self):
        if self.chance(0.6):
            country = self.choice(list(w.CAPITALS))
            ask = self.choice(["What is the capital of {}?", "Which city is the capital of {}?", "capital of {}", "Name the capital of {}."]).format(country)
            return self.system() + [("user", ask), ("assistant", f"The capital of {country} is {w.CAPITALS[country]}.")]
        a = self.choice(list(w.OPPOSITES))
        return self.system() + [("user", self.choice(["What is the opposite of {}?", "Opposite of {}", "Tell me the opposite of {}."]).format(a)), ("assistant", f"The opposite of {a} is {w.OPPOSITES[a]}.")]

    def arithmetic(self):
        a, b = self.rng.randint(0, 20), self.rng.randint(0, 20)
        sign, result = self.choice([("+", a + b), ("+", a + b), ("-", a - b), ("*", a * b)])
        return self.system() + [("user", self.choice(["What is {}?", "{}", "{} =", "Calculate {}", "How much is {}?", "Compute {}."]).format(f"{a} {sign} {b}")), ("assistant", f"{a} {sign} {b} = {result}")]

    def topic(self):
        name = self.choice(list(w.TOPICS))
        sentences = w.TOPICS[name]
        r = self.rng.random()
        if r < 0.35:
            ask, text = self.choice(["Explain {} in one sentence.", "What is {} in one sentence?", "Describe {} briefly.", "Explain {} briefly", "In short, what is {}?"]), sentences[0]
        elif r < 0.85:
            ask, text = self.choice(["What is {}?", "Explain {}.", "Explain {}", "Tell me about {}.", "Describe {}", "What do you know about {}?", "Write a paragraph about {}.", "Explain {} in simple terms.", "Explain {} in detail.", "Explain {} in detail", "How does {} work?", "Write an essay about {}.", "Write a text about {}", "Tell me more about {}.", "Give me an introduction to {}."]), " ".join(sentences)
        else:
            others = list(w.TOPICS)
            start = others.index(name)
            more = [others[(start + k) % len(others)] for k in range(self.rng.randint(3, 6))]
            asked = ", ".join(more[:-1]) + " and " + more[-1]
            return self.system() + [("user", self.choice(["Explain {}.", "Tell me about {}.", "Write a text about {}."]).format(asked)), ("assistant", "\n\n".join(" ".join(w.TOPICS[m]) for m in more))]
        return self.system() + [("user", ask.format(name)), ("assistant", text)]

    def unknown_topic(self):
        name = self.phrase(1, 3) if self.chance(0.6) else self.person()
        ask = self.choice(["What is {}?", "Explain {}.", "Tell me about {}.", "Describe {}", "What do you know about {}?", "Write an essay about {}.", "Write a text about {}", "Write a paragraph about {}.", "Who is {}?", "Explain {} in detail."])
        return self.system() + [("user", ask.format(name)), ("assistant", f"I know little about {name}. I am a small model that writes short Python programs. I can write a program about {name} for you.")]

    def story(self):
        name, animal, friend, thing, place = self.person(), self.choice(w.ANIMALS), self.choice(w.ANIMALS), self.noun(), self.choice(["forest", "village", "garden", "castle", "harbour", "valley"])
        adjective = self.choice(w.ADJECTIVES)
        r = self.rng.random()
        if r < 0.4:
            about = f"a {adjective} {animal} named {name}"
        elif r < 0.7:
            about, name, adjective = f"a {animal}", "Max", "small"
            friend, thing, place = "owl", "lantern", "forest"
        else:
            about, name, animal, adjective, friend, thing, place = "", "Mia", "fox", "curious", "owl", "lantern", "forest"
        long = self.chance(0.5)
        poem = self.chance(0.2)
        kind = "poem" if poem else "story"
        form = self.choice(["Write a {l}{k}{a}", "Tell me a {l}{k}{a}", "Please write a {l}{k}{a}", "Can you write a {l}{k}{a}?", "I would like to read a {l}{k}{a}"])
        request = form.format(l=self.choice(["long ", "very long ", "detailed "]) if long else self.choice(["", "short "]), k=kind, a=f" about {about}" if about else "") + self.choice(["", "."])
        if poem:
            text = "\n".join([f"The {animal} {name} was {adjective} and free,", f"it slept each night beneath a tree.", "The moon was bright, the wind was low,", "the river sang a song so slow."] + ([
                f"\nA {friend} came by and said good day,", "let us go out and run and play.", f"They found a {thing} in the grass,", "and watched the quiet hours pass.", f"\nThe {place} slept, the stars came out,", "there was no fear, there was no doubt.", "And so they lived, the two of them,", "and here my song is at its end."] if long else []))
        else:
            parts = [f"Once upon a time there was a {adjective} {animal} named {name}.", f"{name} lived in a small house at the edge of the {place}.", f"One morning {name} found a {thing} near the river.", f"It was not an ordinary {thing}, for it shone in the dark.",
                     f"{name} wanted to know whom it belonged to.", f"So {name} took the {thing} and walked into the {place}.", f"There {name} met an old {friend}.", f"\"Have you lost a {thing}?\" asked {name}.", f"\"No,\" said the {friend}, \"but I know who has.\"",
                     f"Together they walked until the sun went down.", "The way was long, and the night was cold.", f"They crossed a bridge, climbed a hill and rested under a tree.", f"The {friend} told stories of the old days.", f"{name} listened and was not afraid any more.",
                     "In the morning they came to a house with a red door.", f"A child opened and saw the {thing}.", "\"That is mine!\" said the child and laughed.", f"{name} gave it back and was happy.", "The child gave them bread and honey.", f"Then {name} and the {friend} went home.",
                     "From that day on they were friends.", f"Whenever the {place} was dark, a small light showed them the way.", f"And {name} never forgot the {thing} that shone in the night."]
            if not long:
                parts = parts[:3] + [f"{name} gave the {thing} to an old {friend}.", "From that day on they were friends."]
            text = " ".join(parts) + " The end."
        return self.system() + [("user", request), ("assistant", text)]

    def gibberish(self):
        r = self.rng.random()
        if r < 0.5:
            text = " ".join(self.choice(_POOL) for _ in range(self.rng.randint(3, 300)))
        elif r < 0.8:
            text = " ".join(held_out.random_text(self.rng, self.rng.randint(1, 12)) for _ in range(self.rng.randint(1, 40)))
        else:
            text = " ".join(self.sentence() for _ in range(self.rng.randint(1, 30)))
        return self.system() + [("user", text), ("assistant", "I am not sure what you mean. I am a small model that writes short Python programs: tell me what the program should do.")]

    def json_answer(self):
        name, number = self.person(), self.rng.randint(0, 99)
        r = self.rng.random()
        if r < 0.5:
            request = self.choice(["Answer in JSON: name {n}, age {a}", "Give me JSON with the name {n} and the age {a}.", "Write a JSON object with name {n} and age {a}", "Return JSON for a person called {n} who is {a} years old."]).format(n=name, a=number)
            return self.system() + [("user", request), ("assistant", f'{{"name": "{name}", "age": {number}}}')]
        items = [self.noun() for _ in range(self.rng.randint(2, 5))]
        request = self.choice(["Write {} as a JSON list.", "Turn {} into a JSON array", "Give me a JSON array with {}."]).format(", ".join(items))
        return self.system() + [("user", request), ("assistant", "[" + ", ".join(f'"{i}"' for i in items) + "]")]

    # ---- long prompts -------------------------------------------------------------------------------------------

    def filler(self, sentences):
        r = self.rng.random()
        if r < 0.6:
            return " ".join(self.sentence() for _ in range(sentences))
        if r < 0.75:
            return "\n\n".join(self.some_code()[0] for _ in range(max(1, sentences // 6)))
        if r < 0.9:
            parts = []
            for _ in range(max(1, sentences // 5)):
                parts.append(" ".join(w.TOPICS[self.choice(list(w.TOPICS))]))
            return "\n".join(parts)
        return "\n".join(f"{i}. {self.noun()}: {self.rng.randint(0, 999)}" for i in range(1, sentences + 1))

    def long_prompt(self):
        context = self.filler(self.rng.randint(4, 120))
        r = self.rng.random()
        if r < 0.6:
            text = self.value()
            request, reply = self.print_request(text, self.quoted(text)), self.print_answer(text)
        elif r < 0.8:
            word = self.random_word()
            at = context.find(" ", self.rng.randint(0, len(context)))
            at = len(context) if at < 0 else at
            context = context[:at] + f" The code word is {word}." + context[at:]
            request, reply = self.choice(["What is the code word?", "Which code word is in the text?", "Find the code word in the text."]), f"The code word is {word}."
        elif r < 0.9:
            context = " ".join(self.sentence() for _ in range(self.rng.randint(4, 80)))
            request = self.choice(["Summarise the text.", "Summarize this text.", "What is the text about?", "Give me a short summary."])
            reply = "The text begins with: " + context.split(".")[0] + "."
        else:
            name, parameters, does, body, arguments = self.entry()
            request = f"Write a Python function that {does}."
            reply = answer(f"The function `{name}` {does}.", program([f"print({name}({self.demo(name, arguments)}))"], self.definition(name, parameters, functions.plain(body))))
        lead = self.choice(["", "", "Here is some context.\n\n", "Context:\n", "Read this first:\n\n", "Background: ", "Text:\n\n"])
        if self.chance(0.8):
            user = f"{lead}{context}\n\n{self.choice(['', '', 'Question: ', 'Task: ', 'Now: '])}{request}"
        else:
            user = f"{request}\n\n{lead}{context}"
        if self.chance(0.15):
            return [("system", context), ("user", request), ("assistant", reply)]
        return self.system() + [("user", user), ("assistant", reply)]

    # ---- text without a conversation ----------------------------------------------------------------------------

    def raw(self):
        r = self.rng.random()
        if r < 0.4:
            name, parameters, does, body, arguments = self.entry()
            lines = functions.commented(body) if self.chance(0.3) else functions.plain(body)
            if self.chance(0.4):
                lines = [f'"""{capital(does)}."""'] + lines
            code = self.definition(name, parameters, lines)
            if self.chance(0.5):
                code = program([f"print({name}({self.demo(name, arguments)}))"], code)
            return [("raw", code + "\n")]
        if r < 0.6:
            text = self.value()
            return [("raw", self.choice([f"# Print {literal(text)}\nprint({literal(text)})\n", f"# This program prints {literal(text)}.\n" + program([f"print({literal(text)})"]) + "\n", f"text = {literal(text)}\nprint(text)\n"]))]
        if r < 0.75:
            return [("raw", self.story()[-1][1])]
        if r < 0.85:
            return [("raw", " ".join(w.TOPICS[self.choice(list(w.TOPICS))]))]
        if r < 0.95:
            return [("raw", self.some_code()[1] + "\n")]
        return [("raw", f"Q: What is the capital of {(c := self.choice(list(w.CAPITALS)))}?\nA: {w.CAPITALS[c]}")]


def code_blocks(text):
    """The contents of the fenced ```python blocks of an answer."""
    blocks, rest = [], text
    while "```python\n" in rest:
        rest = rest.split("```python\n", 1)[1]
        block, separator, rest = rest.partition("\n```")
        if not separator:
            break
        blocks.append(block)
    return blocks


def check_code(document):
    """Every program in an answer must be Python that compiles."""
    for role, text in document.turns:
        if role == "assistant":
            for block in code_blocks(text):
                ast.parse(block)


def sample(seed, count):
    generator = Generator(seed)
    return [generator.document() for _ in range(count)]
