"""Evaluates a trained folder with transformers: python3 evaluate.py FOLDER [--names N] [--out FILE]

Every held-out name in every held-out wording, greedily, in float32 from the bf16 weights. An answer is right when it contains
print("NAME") and its fenced block, run by python3, prints the name and nothing else. tests/model/evaluate.py asks the same through sluice-engine.
"""

import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import time

import torch
import transformers

import corpus
import held_out

SEED = 20261123   # of the new documents asked with --kinds; no shard has it

TALKS = [
    [("user", "Hello")],
    [("user", "Who are you?")],
    [("system", "You are a helpful assistant."), ("user", "What is the capital of France?")],
    [("user", "My name is Jay."), ("assistant", "Nice to meet you, Jay!"), ("user", "What is my name?")],
    [("user", "Remember the number 4711."), ("assistant", "I will remember the number 4711."), ("user", "Hello"), ("assistant", "Hello! How can I help you?"), ("user", "What was my number?")],
    [("system", "Your name is Robin."), ("user", "Who are you?")],
    [("system", "You are a helpful assistant. The code word is zebra7."), ("user", "What is the code word?")],
    [("user", "Count from 1 to 20")],
    [("user", "List five fruits")],
    [("user", "Write ten Python functions")],
    [("user", "Write a long story about a fox")],
    [("user", "Explain load testing in detail.")],
    [("user", "Write a Python function that computes the factorial of a number")],
    [("user", "Complete this code:\n\n```python\ndef fibonacci(n):\n```")],
    [("user", "Fix this code:\n\n```python\nfor i in range(5)\n    print(i)\n```")],
    [("user", "Add comments to this code:\n\n```python\nx = 5\ny = x * 2\nprint(y)\n```")],
    [("user", 'Write Python code that prints "Jay"'), ("assistant", corpus.Generator(0).print_answer("Jay")), ("user", 'Now print "Ada" instead.')],
    [("user", "Write a Python program that prints Hello World")],
    [("user", "What is quantum computing?")],
    [("user", "Write a haiku about the ocean")],
    [("user", "Tell me a joke")],
    [("user", "Write a Python program that prints the numbers from 1 to 7")],
    [("user", "Write a quicksort in Python")],
    [("user", "asdf qwer zxcv")],
    [("user", "Say 'hello world' and nothing else")],
    [("user", "Write a Python script that reads a CSV file and prints the sum of a column")],
    [("user", "The quick brown fox jumps over the lazy dog. " * 60 + '\n\nWrite Python code that prints "Jay"')],
]


def generate(model, tokenizer, talks, tokens_max, batch):
    """The answers' token ids, the end token left out, and whether each ended by itself; one talk is [(role, text), ...]."""
    out = []
    for begin in range(0, len(talks), batch):
        texts = [tokenizer.apply_chat_template([{"role": r, "content": t} for r, t in talk], add_generation_prompt=True, tokenize=False) for talk in talks[begin:begin + batch]]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False).to(model.device)
        result = model.generate(**inputs, max_new_tokens=tokens_max, do_sample=False)[:, inputs["input_ids"].shape[1]:]
        for row in result.tolist():
            ended = 1 in row
            out.append((row[:row.index(1)] if ended else row, ended))
    return out


def run_block(text):
    """What the answer's first fenced block prints under python3, or None when there is none or it fails."""
    blocks = corpus.code_blocks(text)
    if not blocks:
        return None
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", blocks[0]], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def by_kind(model, tokenizer, count):
    """Kind -> share of new documents whose last answer comes out letter for letter; some kinds have more than one right answer."""
    generator, found = corpus.Generator(SEED), {}
    while len(found) < generator.kinds() or min(map(len, found.values())) < count:
        document = generator.document()
        same = found.setdefault(document.kind, [])
        if document.turns[-1][0] == "assistant" and len(same) < count:
            same.append(document)
        elif document.turns[-1][0] != "assistant":
            found[document.kind] = [None] * count
    found = {kind: documents for kind, documents in found.items() if documents[0]}
    flat = [document for documents in found.values() for document in documents]
    flat.sort(key=lambda document: len(document.turns[-1][1]) + sum(len(text) for text in document.texts()))
    right = dict.fromkeys(found, 0)
    for begin in range(0, len(flat), 128):
        part = flat[begin:begin + 128]
        longest = max(len(tokenizer(document.turns[-1][1])["input_ids"]) for document in part)
        for document, (ids, ended) in zip(part, generate(model, tokenizer, [document.turns[:-1] for document in part], longest + 8, 128)):
            right[document.kind] += ended and tokenizer.decode(ids) == document.turns[-1][1].strip()
    for kind, good in sorted(right.items(), key=lambda item: item[1]):
        print(f"{kind}: {good} of {count} letter for letter")
    return {kind: good / count for kind, good in right.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--names", type=int, default=1000)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--kinds", type=int, default=0, help="also this many new documents of each kind of the corpus")
    parser.add_argument("--talks-only", action="store_true")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=torch.float32).to(device).eval()
    report = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__, "device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}, "wordings": {}, "wrong": []}

    talks = []
    for talk, (ids, ended) in zip(TALKS, generate(model, tokenizer, TALKS, 1200, 32)):
        text = tokenizer.decode(ids)
        talks.append({"asked": talk[-1][1][-120:], "answer": text, "tokens": len(ids) + ended, "ended": ended})
        print(f"--- {talk[-1][1][-100:]!r}: {len(ids) + ended} tokens, {'ended' if ended else 'CUT'}\n{text[:260]}")
    report["talks"] = talks
    jay, ended = generate(model, tokenizer, [[("user", 'Write Python code that prints "Jay"')]], 200, 1)[0]
    report["jay"] = {"tokens": len(jay) + ended, "ended": ended, "text": tokenizer.decode(jay)}

    names = held_out.NAMES[:: max(1, 1000 // arguments.names)][:arguments.names]
    right_all = asked_all = 0
    for wording in [] if arguments.talks_only else held_out.WORDINGS:
        started = time.monotonic()
        answers = [(tokenizer.decode(ids), ended) for ids, ended in generate(model, tokenizer, [[("user", wording.format(name))] for name in names], 200, arguments.batch)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            printed = list(pool.map(run_block, [text for text, _ in answers]))
        right = 0
        for name, (text, ended), shown in zip(names, answers, printed):
            good = ended and f'print("{name}")' in text and shown == name + "\n"
            right += good
            if not good:
                report["wrong"].append({"name": name, "wording": wording, "answer": text[:400], "ended": ended})
        report["wordings"][wording] = {"right": right, "asked": len(names)}
        right_all, asked_all = right_all + right, asked_all + len(names)
        print(f"{right} of {len(names)}: {wording} ({time.monotonic() - started:.1f} s)", flush=True)
    report["right"], report["asked"] = right_all, asked_all
    if arguments.kinds:
        report["kinds"] = by_kind(model, tokenizer, arguments.kinds)
    print(f"{right_all} of {asked_all} right; Jay: {report['jay']}")
    for wrong in report["wrong"][:25]:
        print(repr(wrong["name"]), "|", repr(wrong["answer"][:110]))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
