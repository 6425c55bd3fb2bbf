"""Asks the shipped model for programs it never saw, through sluice-engine over HTTP, and runs what it answers.

    python3 evaluate.py --engine build/dev/bin/sluice-engine [--names 1000] [--all-wordings]

Starts the engine on a free port, asks for the held-out names in the held-out wordings (greedily, 8 requests at once), and fails when
fewer than 98 % of the answers contain print("NAME") in a fenced block that prints the name and nothing else; also when the streamed
answer for "Jay", a remembered value or a long answer is not as the model's card says. Exit code 1 on failure.
"""

import argparse
import concurrent.futures
import contextlib
import ctypes
import http.client
import io
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "tools/train_tiny_coder"))
import corpus  # noqa: E402
import held_out  # noqa: E402

LEAST = 0.98


class Engine:
    """The engine as a child that ends with us; `port` is known once it listens."""

    def __init__(self, command, wait_s):
        self.log, self.port = [], None
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace",
                                        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))
        listening = threading.Event()

        def read():
            for line in self.process.stdout:
                self.log.append(line.rstrip())
                del self.log[:-200]
                match = re.search(r"listening on \S*:(\d+)", line)
                if match and self.port is None:
                    self.port = int(match.group(1))
                    listening.set()
            listening.set()
        threading.Thread(target=read, daemon=True).start()
        deadline = time.monotonic() + wait_s
        listening.wait(wait_s)
        while self.port is None or not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit("the engine did not become ready:\n" + "\n".join(self.log))
            time.sleep(0.02)

    def ready(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def request(self, body, seconds=300):
        """(status, bytes) of one chat completion."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        return reply.status, data

    def ask(self, *turns, **more):
        """(text, finish reason, completion tokens) of a greedy answer that is not streamed."""
        body = {"model": "tiny-coder", "messages": [{"role": role, "content": text} for role, text in turns], "temperature": 0, "max_tokens": 200} | more
        status, data = self.request(body)
        if status != 200:
            raise SystemExit(f"HTTP {status}: {data[:500]!r}")
        reply = json.loads(data)
        choice = reply["choices"][0]
        return choice["message"]["content"], choice["finish_reason"], reply["usage"]["completion_tokens"]


RUNS = threading.Lock()


def output(block):
    """What the program prints, or None when it fails. Programs here only print: a process each would cost more than the model."""
    shown = io.StringIO()
    with RUNS, contextlib.redirect_stdout(shown):
        try:
            exec(compile(block, "answer", "exec"), {"__name__": "__main__", "__builtins__": {"print": print, "range": range}})
        except Exception:
            return None
    return shown.getvalue()


def subprocess_output(block):
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", block], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def names(engine, count, all_wordings):
    chosen = held_out.NAMES[::max(1, 1000 // count)][:count]
    asked = [(name, wording) for number, name in enumerate(chosen) for wording in (held_out.WORDINGS if all_wordings else [held_out.WORDINGS[number % len(held_out.WORDINGS)]])]

    def one(number):
        name, wording = asked[number]
        text, finish, _ = engine.ask(("user", wording.format(name)))
        blocks = corpus.code_blocks(text)
        run = subprocess_output if number % 10 == 0 else output
        good = finish == "stop" and len(blocks) == 1 and f'print("{name}")' in blocks[0] and run(blocks[0]) == name + "\n"
        return good, name, wording, text
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(len(asked))))
    right = sum(good for good, *_ in results)
    for good, name, wording, text in results:
        if not good:
            print(f"wrong: {wording.format(name)!r} -> {text[:160]!r}")
    print(f"{right} of {len(asked)} programs are right ({len(chosen)} names, {time.monotonic() - started:.1f} s)")
    return right >= LEAST * len(asked)


def streamed(engine):
    """The streamed answer for Jay has 55 to 95 chunks with text and ends by itself."""
    status, data = engine.request({"model": "tiny-coder", "messages": [{"role": "user", "content": 'Write Python code that prints "Jay"'}], "temperature": 0, "stream": True})
    events = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
    deltas = [json.loads(event)["choices"] for event in events if event.strip() != "[DONE]"]
    texts = [choices[0]["delta"].get("content") for choices in deltas if choices]
    texts = [text for text in texts if text]
    finish = [choices[0]["finish_reason"] for choices in deltas if choices and choices[0].get("finish_reason")]
    print(f"Jay: HTTP {status}, {len(texts)} chunks, finish {finish}")
    return status == 200 and 'print("Jay")' in "".join(texts) and 55 <= len(texts) <= 95 and finish == ["stop"]


def talks(engine):
    """Context is kept, lists and counts come out, long answers are long."""
    good = True
    for turns, expected in (
        ((("user", "My name is Jay."), ("assistant", "Nice to meet you, Jay!"), ("user", "What is my name?")), "Your name is Jay."),
        ((("system", "Your name is Robin."), ("user", "Who are you?")), "My name is Robin. How can I help you?"),
        ((("user", "Count from 1 to 12"),), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12"),
        ((("user", "List three planets"),), "1. Mercury\n2. Venus\n3. Earth"),
        ((("system", "You are a helpful assistant."), ("user", "What is the capital of France?")), "The capital of France is Paris."),
    ):
        text, finish, _ = engine.ask(*turns)
        if (text, finish) != (expected, "stop"):
            print(f"wrong: {turns[-1][1]!r} -> {text!r} ({finish})")
            good = False
    text, finish, tokens = engine.ask(("user", "Write ten Python functions"), max_tokens=900)
    print(f"ten functions: {tokens} tokens, finish {finish}")
    blocks = corpus.code_blocks(text)
    return good and finish == "stop" and tokens > 300 and len(blocks) == 1 and blocks[0].count("def ") == 11 and subprocess_output(blocks[0]) is not None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, default=TREE / "models/tiny-coder")
    parser.add_argument("--names", type=int, default=60)
    parser.add_argument("--all-wordings", action="store_true")
    arguments = parser.parse_args()
    engine = Engine([str(arguments.engine), "--model", str(arguments.model), "--port", "0", "--backend", "cpu"], 120)
    try:
        results = [names(engine, arguments.names, arguments.all_wordings), streamed(engine), talks(engine)]
    finally:
        engine.stop()
    raise SystemExit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
