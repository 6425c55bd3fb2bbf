"""The corpus as numbered shards of token ids: python3 pack.py FOLDER --shards N --workers K

A shard is a function of its number alone (seed = number), so that any part of the corpus can be made again anywhere.
FOLDER/NNNNN.npz holds `tokens` (uint16; bit 15 marks a token that is to be predicted: those of the assistant's turns with their
ends, and all of raw text) and `starts` (int64, one past the last document included). Each is complete once it exists.
Every document has passed held_out.violation(); FOLDER/NNNNN.json counts documents, tokens, refusals and characters.
"""

import argparse
import json
import multiprocessing
import os
import pathlib

import numpy
from tokenizers import Tokenizer

import corpus

DOCUMENTS = 16_384          # a shard's, before those longer than the context are left out
CONTEXT = 2048
LEARN = 1 << 15
TRAINING_SEED = 1_000_000   # shard 0's; the tokenizer's and the tests' samples have small seeds


def encode(tokenizer, documents):
    """The token arrays of these documents, as the chat template and the tokenizer would give them."""
    special = {name: tokenizer.token_to_id(f"<|{name}|>") for name in ("begin", "end", "system", "user", "assistant")}
    flat = [text if role == "raw" else text.strip() for document in documents for role, text in document.turns]
    encoded = iter(tokenizer.encode_batch(flat, add_special_tokens=False))
    for document in documents:
        ids = [special["begin"]]
        for role, _ in document.turns:
            part = next(encoded).ids
            if role == "raw":
                ids += [token | LEARN for token in part] + [special["end"] | LEARN]
            elif role == "assistant":
                ids += [special[role]] + [token | LEARN for token in part] + [special["end"] | LEARN]
            else:
                ids += [special[role]] + part + [special["end"]]
        yield ids


def write_shard(folder, number, tokenizer):
    generator = corpus.Generator(TRAINING_SEED + number)
    tokens, starts, left_out, kinds = [], [0], 0, {}
    for _ in range(DOCUMENTS // 1024):
        documents = [generator.document() for _ in range(1024)]
        for document, ids in zip(documents, encode(tokenizer, documents)):
            if len(ids) > CONTEXT:
                left_out += 1
                continue
            kinds[document.kind] = kinds.get(document.kind, 0) + len(ids)
            tokens += ids
            starts.append(len(tokens))
    path = folder / f"{number:05d}.npz"
    with open(folder / f".{number:05d}.part", "wb") as file:
        numpy.savez(file, tokens=numpy.array(tokens, dtype=numpy.uint16), starts=numpy.array(starts, dtype=numpy.int64))
    (folder / f"{number:05d}.json").write_text(json.dumps({"documents": len(starts) - 1, "tokens": len(tokens), "left_out": left_out, "refused": generator.rejected, "kinds": kinds}))
    os.rename(folder / f".{number:05d}.part", path)


def work(arguments, worker):
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    for number in range(arguments.first + worker, arguments.first + arguments.shards, arguments.workers):
        write_shard(arguments.folder, number, tokenizer)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "models/tiny-coder")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    workers = [multiprocessing.Process(target=work, args=(arguments, k)) for k in range(arguments.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    raise SystemExit(any(worker.exitcode for worker in workers))


if __name__ == "__main__":
    main()
