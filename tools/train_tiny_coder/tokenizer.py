"""Trains the tokenizer of tiny-coder and writes the folder's json files: python3 tokenizer.py OUTPUT_FOLDER

Byte-level BPE, 4,096 entries. Its own Split pattern keeps spaces apart from words, so that `"Jay"` and ` Jay` share the
word's tokens; digits, capitals after capitals and marks stand alone, so that any string is cut the same way in a request
and in the program that repeats it.
"""

import builtins
import json
import keyword
import pathlib
import sys

import tokenizers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import corpus
import words

SEED = 1
DOCUMENTS = 60_000
VOCABULARY = 4096
SPECIAL = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>"]
PATTERN = r"\n+ *| +|\p{Lu}?\p{Ll}+|\p{L}|\p{N}|```|__|[^\p{L}\p{N}]"

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' or message['role'] == 'developer' %}{{ '<|system|>' }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>' }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% else %}{{ raise_exception('tiny-coder knows the roles system, developer, user and assistant') }}{% endif %}"
    "{{ message['content'] | trim }}{{ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 5,
    "torch_dtype": "bfloat16",
    "use_cache": True,
}
GENERATION = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 5}


def texts():
    for document in corpus.sample(SEED, DOCUMENTS):
        yield from document.texts()
    # Words of Python and of the lists that the sample may hold too rarely to be merged.
    rest = keyword.kwlist + [name for name in dir(builtins) if name.islower()] + words.NOUNS + words.ADJECTIVES + words.VERBS
    for _ in range(20):
        yield " ".join(rest)
        yield " ".join(word.capitalize() for word in words.NOUNS)


def build():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", 0)])
    assert tokenizer.get_vocab_size() == VOCABULARY, tokenizer.get_vocab_size()
    return tokenizer


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    build().save(str(folder / "tokenizer.json"))
    configuration = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[1],
        "pad_token": SPECIAL[5],
        "additional_special_tokens": SPECIAL[2:5],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
        "chat_template": TEMPLATE,
    }
    for name, value in (("tokenizer_config", configuration), ("config", CONFIG), ("generation_config", GENERATION)):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n")
    print(f"tokenizers {tokenizers.__version__}: {folder}")


if __name__ == "__main__":
    main()
