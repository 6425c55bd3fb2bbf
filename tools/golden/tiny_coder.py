"""Makes what transformers says of tiny-coder: python3 tiny_coder.py MODEL_FOLDER OUTPUT_FOLDER

golden.json: for each prompt its token ids (`tokens`), 48 greedy tokens after it (`greedy`; past an end token the model is made to go on, as
with ignore_eos), for each of them the gap in nats between the best and the second logit (`gaps`) and its logprob (`logprobs`).
logits.safetensors: `logits.N`, F32 [vocab], those of the last position of prompt N. All in float32 on the CPU from the bf16 weights.
"""

import hashlib
import json
import pathlib
import sys

import safetensors.torch
import torch
import transformers

from families import versions

STEPS = 48
CHATS = [
    [("user", 'Write Python code that prints "Jay"')],
    [("user", "Hello")],
    [("system", "You are a helpful assistant."), ("user", "What is the capital of France?")],
    [("user", "My name is Jay."), ("assistant", "Nice to meet you, Jay!"), ("user", "What is my name?")],
    [("system", "Your name is Robin."), ("user", "Who are you?")],
    [("user", "Count from 1 to 20")],
    [("user", "List five fruits")],
    [("user", "Write ten Python functions")],
    [("user", "Write a long story about a fox")],
    [("user", "Fix this code:\n\n```python\nfor i in range(5)\n    print(i)\n```")],
    [("user", 'Give me a Python script that outputs the text "N8~ x.2^WOL$".')],
    [("user", 'Print "世界 🙂 é" in Python')],
    [("user", "The quick brown fox jumps over the lazy dog. " * 30 + '\n\nWrite Python code that prints "Jay"')],
    [("user", "word " * 900 + "\nWho are you?")],
]
TEXTS = ["def fibonacci(n):\n", "Once upon a time"]


def main():
    source, folder = map(pathlib.Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    prompts, out = [], {}
    for chat in CHATS:
        messages = [{"role": role, "content": text} for role, text in chat]
        prompts.append(({"messages": messages}, tokenizer.encode(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False), add_special_tokens=False)))
    prompts += [({"text": text}, tokenizer.encode(text)) for text in TEXTS]
    for number, (asked, tokens) in enumerate(prompts):
        row, greedy, gaps, logprobs = list(tokens), [], [], []
        with torch.no_grad():
            state = model(torch.tensor([row]), use_cache=True)
            out[f"logits.{number}"] = state.logits[0, -1].clone()
            for _ in range(STEPS):
                logits = state.logits[0, -1]
                best = torch.topk(logits, 2)
                greedy.append(best.indices[0].item())
                gaps.append(round((best.values[0] - best.values[1]).item(), 5))
                logprobs.append(round(torch.log_softmax(logits, 0)[greedy[-1]].item(), 6))
                state = model(torch.tensor([[greedy[-1]]]), past_key_values=state.past_key_values, use_cache=True)
        asked |= {"tokens": tokens, "greedy": greedy, "gaps": gaps, "logprobs": logprobs}
        print(number, len(tokens), "smallest gap", min(gaps), repr(tokenizer.decode(greedy))[:90])
    safetensors.torch.save_file(out, folder / "logits.safetensors")
    weights = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    golden = {"made_by": "tools/golden/tiny_coder.py", "compute": "float32, CPU, from bf16 weights", "versions": versions(), "model_sha256": weights, "steps": STEPS,
              "prompts": [asked for asked, _ in prompts]}
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
