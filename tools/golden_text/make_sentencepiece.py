"""Adds to tests/support/golden_text/: small tokenizers of SentencePiece's kind, and what Hugging Face's tokenizers makes of the same texts.

    python tools/golden_text/make_sentencepiece.py       (from the repository's root, after make_tokenizers.py; needs tokenizers 0.23)

Characters instead of bytes, spaces as U+2581, bytes as a last resort: Llama 2, Mistral, Phi-3 and Gemma write their tokenizer.json so, each in
its own way. Files as make_tokenizers.py has them, with its inputs.jsonl. Runs of byte tokens in decoded.<name>.jsonl are valid UTF-8: of others
tokenizers gives up the whole, and we what is invalid.
"""
import base64
import collections
import json
import pathlib
import random

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SEED = 20261125
CHARACTERS = 110  # that have a token
OUT = pathlib.Path("tests/support/golden_text")
SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LEGACY = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
DECODER = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
STRIPPED = decoders.Sequence(DECODER + [decoders.Strip(" ", 1, 0)])


def corpus():
    lines = [json.loads(line) for line in (OUT / "inputs.jsonl").read_text().splitlines()[:60]]
    texts = [base64.b64decode(line["input"]).decode("utf-8", "replace") for line in lines] * 3
    counts = collections.Counter("".join(texts))
    kept = set(sorted(counts, key=lambda character: (-counts[character], character))[:CHARACTERS])
    return ["".join(character if character in kept else " " for character in text) for text in texts]


def vocabulary(size, fallback=True):
    """Tokens and merges of a BPE over words that begin with U+2581, with few characters: the others are left to bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(Regex(r"[\n\t]"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, "always")
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=size, show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].get)
    tokens = ["<unk>", "<s>", "</s>"] + (BYTES if fallback else []) + learned
    return {token: number for number, token in enumerate(tokens)}, model["merges"]


def file(normalizer, pre_tokenizer, decoder, size=500, fallback=True, added=(), unknown="<unk>", fuse=True, bos=True, ignore_merges=False):
    vocab, merges = vocabulary(size, fallback)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(merge) for merge in merges], unk_token=unknown, fuse_unk=fuse, byte_fallback=fallback, ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    data = json.loads(tokenizer.to_str())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    named = [{"content": "<unk>"}, {"content": "<s>"}, {"content": "</s>"}] + list(added)
    ids = dict(vocab)
    for token in named:
        ids.setdefault(token["content"], len(ids))
        data["added_tokens"].append({"id": ids[token["content"]]} | flags | token)
    if bos:
        data["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                                  "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                                  "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return data


def metaspace(scheme, split):
    return pre_tokenizers.Metaspace(SPACE, scheme, split)


def made():
    chat = [{"content": f"<|{name}|>", "rstrip": True} for name in ("system", "end", "user", "assistant", "endoftext")]
    odd = [{"content": "word", "normalized": True, "special": False, "single_word": True}, {"content": "the quick", "normalized": True, "special": False},
           {"content": "<tool>", "special": False}, {"content": "<mask>", "lstrip": True}]
    yield "llama2", file(LEGACY, None, STRIPPED)
    yield "phi3", file(LEGACY, None, STRIPPED, added=chat)
    yield "mistral", file(None, metaspace("first", False), STRIPPED, added=[{"content": "[INST]"}, {"content": "[/INST]"}])
    yield "gemma", file(normalizers.Replace(" ", SPACE), pre_tokenizers.Split(" ", "merged_with_previous"), decoders.Sequence(DECODER), bos=False)
    yield "metaspace", file(None, metaspace("always", True), decoders.Metaspace(SPACE, "always", True), fallback=False, fuse=False, added=odd)
    yield "metaspace_never", file(normalizers.NFC(), metaspace("never", True), decoders.Sequence(DECODER), fuse=False, added=odd, ignore_merges=True)
    # Some bytes have no token: characters that need them are unknown, others next to them are not.
    data = file(LEGACY, pre_tokenizers.Digits(True), STRIPPED, fuse=False, added=odd)
    for token in BYTES[0xC3:0xE3]:
        data["model"]["vocab"][token.replace("<0x", "<0y")] = data["model"]["vocab"].pop(token)
    yield "some_bytes", data


def valid_runs(ids, tokens):
    run, runs = b"", []
    for token in [tokens.get(number, "") for number in ids] + [""]:
        if token in BYTES:
            run += bytes([BYTES.index(token)])
        elif run:
            runs.append(run)
            run = b""
    return all(run.decode("utf-8", "ignore").encode() == run for run in runs)


def decodings(tokenizer, random_):
    tokens = {number: token for token, number in tokenizer.get_vocab().items()}
    characters = [[tokenizer.token_to_id(BYTES[byte]) for byte in character.encode()] for character in "\u00e9\u4e2d\U0001f44d\n\u0000 "]
    while True:
        ids = []
        for _ in range(random_.randrange(0, 10)):
            draw = random_.random()
            if draw < 0.3 and None not in characters[0]:
                ids += random_.choice(characters)
            elif draw < 0.45:
                ids.append(random_.choice([0, 1, 2, tokenizer.token_to_id(SPACE), tokenizer.get_vocab_size() + 2]))
            else:
                ids.append(random_.randrange(259 if len(tokens) > 300 else 3, tokenizer.get_vocab_size()))
        if None not in ids and valid_runs(ids, tokens):
            yield ids


def main():
    random_ = random.Random(SEED)
    lines = [json.loads(line) for line in (OUT / "inputs.jsonl").read_text().splitlines()]
    for name, data in made():
        text = json.dumps(data, ensure_ascii=False)
        (OUT / f"{name}.json").write_text(text + "\n")
        tokenizer = Tokenizer.from_str(text)
        with open(OUT / f"ids.{name}.jsonl", "w") as file_:
            for line in lines:
                item = base64.b64decode(line["input"]).decode("utf-8", "replace")
                file_.write(json.dumps(tokenizer.encode(item, add_special_tokens=line["special"]).ids, separators=(",", ":")) + "\n")
        with open(OUT / f"decoded.{name}.jsonl", "w") as file_:
            for _, ids in zip(range(150), decodings(tokenizer, random_)):
                file_.write(json.dumps({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False), "without_special": tokenizer.decode(ids, skip_special_tokens=True)}) + "\n")
        print(name, tokenizer.get_vocab_size(), tokenizer.encode("Hello w\u00f6rld, \u4e2d\u6587 the quick word").tokens)


main()
