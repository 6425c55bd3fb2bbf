"""sluice-engine as a program: what it prints, how it ends. Run: command_line_test.py ENGINE"""
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ENGINE = sys.argv.pop(1)
SCRIPTED = [ENGINE, "--backend", "scripted", "--port", "0"]


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Running:
    """An engine whose stderr is read up to the line that names its port."""

    def __init__(self, *arguments, command=SCRIPTED):
        self.process = subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.connections = []
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            match = re.fullmatch(r"sluice-engine: listening on 127\.0\.0\.1:(\d+)", self.lines[-1])
            if match:
                self.port = int(match[1])
                return
        raise AssertionError(f"ended before it listened: {self.lines}")

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    def ready(self):
        return self.get("/ready")[0] == 200

    def stream(self, **more):
        """A chat whose first content has come. Close it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, **more}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        line = b" "
        while line and b'"content":" ' not in line:
            line = response.readline()
        self.connections.append(connection)
        return response

    def end(self):
        self.lines += self.process.stderr.read().splitlines()
        self.process.stderr.close()
        for connection in self.connections:
            connection.close()
        return self.process.wait(20)


class CommandLine(unittest.TestCase):
    def refused(self, *arguments):
        # Where there is a GPU it is hidden: what is refused must not depend on the machine.
        done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=60,
                              env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))
        return done.returncode, done.stderr

    def test_says_what_is_wrong_and_ends(self):
        for arguments, message in (
            ([], "--model is missing"),
            (["--backend", "cuda", "--model", "x"], "backend cuda: "),  # no such backend, no driver, or no GPU
            (["--shape", "no-such-shape", "--backend", "cpu"], "'no-such-shape' is not a shape: write one of tiny-15m"),
            (["--shape", "tiny-15m", "--model", "x"], "leave out --model"),
            (["--model", "no-such-model"], "there is no model 'no-such-model': looked for a config.json in"),
            (["--backend", "scripted", "--script", "speed=1"], "unknown key 'speed'"),
            (["--model", "x", "--script", "gap=1ms"], "--script only means something with --backend scripted"),
            (["--backend", "scripted", "--chunking", "min_chars=9,max_chars=8"], "chunking: min_chars is 9 and max_chars 8"),
            (["bench", "--json"], "--json without a file"),
            (["bench", "--requests", "/no/such/file", "--backend", "scripted"], "/no/such/file"),
            (["--backend", "scripted", "--host", "nowhere"], "cannot listen on nowhere"),
            (["--backend", "scripted", "--emit-log", "/no/such/folder/log"], "/no/such/folder/log: cannot create"),
        ):
            code, error = self.refused(*arguments)
            self.assertEqual(code, 1, arguments)
            self.assertIn("sluice-engine: ", error)
            self.assertIn(message, error)
        self.assertNotEqual(self.refused("--prot", "1")[0], 0)

    def test_names_its_port_once_and_ends_in_order_on_sigterm(self):
        engine = Running()
        self.assertTrue(wait_until(engine.ready))
        engine.process.send_signal(signal.SIGTERM)
        self.assertEqual(engine.end(), 0)
        self.assertEqual(sum("listening on" in line for line in engine.lines), 1)

    def test_random_weights_of_a_shape_answer_and_say_what_they_are(self):
        engine = Running(command=[ENGINE, "--model", "shape:tiny-15m", "--backend", "cpu", "--slots", "2", "--port", "0"])
        self.assertTrue(wait_until(engine.ready))
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=20)
        body = {"messages": [{"role": "user", "content": " water runs down"}], "max_tokens": 8, "temperature": 0}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        self.assertEqual(answer["model"], "tiny-15m")
        self.assertEqual(answer["usage"]["completion_tokens"], 8)
        self.assertNotEqual(answer["choices"][0]["message"]["content"], "")
        self.assertIn(b'sluice_engine_info{backend="cpu"', engine.get("/metrics")[1])
        engine.process.send_signal(signal.SIGTERM)
        self.assertEqual(engine.end(), 0)

    def test_bench_measures_the_requests_of_a_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            for number in range(6):
                file.write(json.dumps({"messages": [{"role": "user", "content": f"number {number}"}], "max_tokens": 5}) + "\n")
            file.flush()
            command = [ENGINE, "--script", "ttft=5ms,gap=1ms", "--log-level", "error", "bench", "--backend", "scripted",
                       "--requests", file.name]
            hashes = set()
            for concurrency in "1", "4":
                done = subprocess.run([*command, "--concurrency", concurrency, "--json"], capture_output=True, text=True, timeout=60)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                figures = json.loads(done.stdout)
                self.assertEqual((figures["layer"], figures["requests"], figures["errors"]), ("service", 6, 0))
                self.assertEqual(figures["output_tokens"], 30)
                for name, least in ("ttft_ms", 5), ("tpot_ms", 0), ("e2e_ms", 9):
                    self.assertGreaterEqual(figures[name]["p95"], figures[name]["p50"])
                    self.assertGreaterEqual(figures[name]["p50"], least)
                hashes.add(figures["text_hash"])
            self.assertEqual(len(hashes), 1)
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertIn("6 requests, 1 at a time", done.stdout)

    def test_sigterm_lets_a_stream_finish(self):
        engine = Running("--script", "gap=20ms,tokens=10")
        self.assertTrue(wait_until(engine.ready))
        stream = engine.stream()
        engine.process.send_signal(signal.SIGTERM)
        self.assertTrue(stream.read().endswith(b"data: [DONE]\n\n"))
        self.assertEqual(engine.end(), 0)

    def test_the_second_signal_ends_at_once(self):
        engine = Running("--script", "gap=1m,tokens=10")
        self.assertTrue(wait_until(engine.ready))
        stream = engine.stream()
        engine.process.send_signal(signal.SIGTERM)
        # Draining is visible: nobody can connect any more.
        def refuses():
            try:
                engine.get("/health")
                return False
            except OSError:
                return True
        self.assertTrue(wait_until(refuses))
        self.assertIsNone(engine.process.poll())
        engine.process.send_signal(signal.SIGTERM)
        self.assertEqual(engine.end(), 128 + signal.SIGTERM)
        stream.close()

    def test_dies_with_its_parent(self):
        program = (
            "import subprocess, sys, time; p = subprocess.Popen(sys.argv[1:]); "
            "print(p.pid, flush=True); time.sleep(600)"
        )
        parent = subprocess.Popen(
            [sys.executable, "-c", program, *SCRIPTED, "--die-with-parent"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        child = int(parent.stdout.readline())
        self.assertIn("listening on", parent.stderr.readline())
        parent.kill()
        parent.wait()

        def gone():
            try:
                with open(f"/proc/{child}/stat") as stat:
                    return stat.read().rsplit(")", 1)[1].split()[0] == "Z"
            except FileNotFoundError:
                return True

        self.assertTrue(wait_until(gone))
        parent.stdout.close()
        parent.stderr.close()

    def test_does_not_start_when_its_parent_is_gone_already(self):
        done = subprocess.run([*SCRIPTED, "--die-with-parent", "--parent-pid", "1234567"], capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertNotIn(b"listening", done.stderr)


if __name__ == "__main__":
    unittest.main()
