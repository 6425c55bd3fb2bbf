"""`sluice suite`, and each of its cases against a server that breaks just what the case is about.

Run by ctest (one entry a test): python3 test_suites.py SLUICE_BINARY TEST_NAME
"""

import http.server
import itertools
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = ROOT / "scenarios" / "suites" / "cases"
SLUICE = None  # set by main
PLAIN_ENVIRONMENT = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")}
JAY = 'Here it is:\n\n```python\nprint("Jay")\n```\n'


class Model(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible server. The first part of the path says what it does wrong: http://.../few-chunks/v1/..."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # each piece when it is made
    count = itertools.count()
    last_name = "Nobody"
    backend = "test"
    status = "ok"

    def log_message(self, *_):
        pass

    def send(self, status, body, content_type="application/json"):
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        mode, path = self.split()
        if path == "/v1/models":
            if mode == "locked":
                return self.send(401, "{}")
            return self.send(200, json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}))
        if path == "/health":
            return self.send(200, "{}")
        if path == "/api/v1/health" and mode == "fallen-back":
            return self.send(200, json.dumps({"status": "degraded", "backend": "legacy", "models": ["m"]}))
        if path == "/metrics":
            running = 3 if mode == "keeps-running" else 0
            return self.send(200, f'vllm:num_requests_running{{model_name="m"}} {running}.0\nvllm:kv_cache_usage_perc 0.0\n', "text/plain")
        self.send(404, "{}")

    def split(self):
        mode, _, path = self.path.lstrip("/").partition("/")
        return (mode, "/" + path) if mode not in ("v1", "health", "metrics", "api") else ("", self.path)

    def do_POST(self):
        mode, path = self.split()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        turn = next(Model.count)
        if mode == "refuses-some" and turn % 3 == 2:
            return self.send(429, '{"error": {"message": "too many"}}')
        if mode == "resets-some" and turn % 5 == 4:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return self.connection.close()
        chat = path == "/v1/chat/completions"
        if mode == "no-completions" and not chat:
            return self.send(404, '{"error": {"message": "no such endpoint"}}')
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        pieces, finish = self.answer(mode, body, prompt, turn)
        words = " ".join(m["content"] for m in body["messages"]) if chat else prompt
        usage = {"prompt_tokens": 7 if mode == "forgets" else len(words), "completion_tokens": sum(map(len, pieces))}  # a token a character
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        head = {"id": f"c-{turn}", "created": 7, "model": "m", "object": "chat.completion.chunk" if chat else "text_completion"}
        if not body.get("stream"):
            if mode == "whole-fails":
                return self.send(500, '{"error": {"message": "not today"}}')
            text = "".join(pieces) + (" indeed" if mode == "whole-differs" else "")
            said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            head["object"] = "chat.completion" if chat else "text_completion"
            return self.send(200, json.dumps({**head, "choices": [{"index": 0, **said, "finish_reason": finish}], "usage": usage}))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def event(choice=None, finish=None, **more):
            choices = [] if choice is None else [{"index": 0, **choice, "finish_reason": finish}]
            return b"data: " + json.dumps({**head, "choices": choices, **more}).encode() + b"\n\n"

        def delta(**members):
            return {"delta": members} if chat else {"text": members.get("content", "")}

        if chat:
            self.chunk(event(delta(role="assistant", content="")))
        time.sleep(0.05 if mode == "slow-first" else 0.001)
        if mode == "bursts":
            for start in range(0, len(pieces), 8):
                self.chunk(b"".join(event(delta(content=piece)) for piece in pieces[start:start + 8]))
                time.sleep(0.12)
        else:
            for number, piece in enumerate(pieces):
                if mode == "stops-early" and number == 20:
                    return self.chunk(b"")
                self.chunk(event(delta(content=piece)))
                time.sleep(0.0003)
        self.chunk(event(delta(), finish))
        if body.get("stream_options", {}).get("include_usage"):
            self.chunk(event(usage=usage))
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, data):
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    @staticmethod
    def answer(mode, body, prompt, turn):
        limit = body.get("max_tokens", 100)
        if "prints" in prompt and '"' in prompt:
            name = prompt.split('"')[1]
            if mode == "wrong-name":
                name, Model.last_name = Model.last_name, name
            text = JAY.replace("Jay", name)
        else:
            text = "def add(a, b):\n    return a + b\n" * 40
        if mode == "broken-code":
            text = text.replace("print(", "print((")
        if mode == "moody":
            text = f"{turn} " + text
        pieces = [text] if mode == "one-chunk" else [text[i:i + 1] for i in range(len(text))]
        finish = "stop" if mode == "always-stop" or len(pieces) <= limit else "length"
        return pieces[:limit], finish


class Suites(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-suite-")
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(lambda: (self.server.shutdown(), self.server.server_close()))

    def url(self, mode):
        return f"http://127.0.0.1:{self.server.server_port}" + (f"/{mode}" if mode else "")

    def run_sluice(self, *arguments, environment=None):
        return subprocess.run([SLUICE, *arguments], cwd=ROOT, env={**PLAIN_ENVIRONMENT, **(environment or {})}, timeout=180, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def suite(self):
        return json.loads((self.out / "suite.json").read_text())

    # ---- each case sees its mistake ---------------------------------------------------------------------------------

    def check_case(self, case, mode, requirement, *variables, good=True):
        """The case passes on the server as it should be, and fails, by this requirement, on one that does it wrong."""
        if good:
            done = self.run_sluice("run", str(CASES / case), "-e", f"BASE_URL={self.url('')}", "--out-dir", str(self.out), *variables)
            self.assertEqual(done.returncode, 0, done.stdout)
        done = self.run_sluice("run", str(CASES / case), "-e", f"BASE_URL={self.url(mode)}", "--out-dir", str(self.out), *variables)
        self.assertEqual(done.returncode, 99, done.stdout)
        summary = json.loads((self.out / "summary.json").read_text())
        failed = [f"{t['metric']}: {t['expression']}" for t in summary["thresholds"] if t["verdict"] == "fail"]
        failed += [check["name"] for check in summary["checks"] if check["fails"]]
        self.assertTrue(any(requirement in each for each in failed), f"{requirement} is not among {failed}")

    def test_basic_streaming_sees_an_answer_in_one_piece(self):
        self.check_case("basic_streaming.yaml", "one-chunk", "chunks > 1")

    def test_output_accuracy_sees_code_that_is_none(self):
        self.check_case("output_accuracy.yaml", "broken-code", "code_parses: python")

    def test_output_accuracy_sees_another_text(self):
        self.check_case("output_accuracy.yaml", "wrong-name", 'text contains', good=False)

    def test_performance_sees_too_few_chunks(self):
        self.check_case("performance.yaml", "one-chunk", "stream_chunks: min >= 50", good=False)

    def test_performance_sees_a_late_first_chunk(self):
        self.check_case("performance.yaml", "slow-first", "ttft", "-e", "TTFT_THRESHOLD=20ms", good=False)

    def test_endpoints_sees_one_that_is_missing(self):
        self.check_case("endpoints.yaml", "no-completions", "status == 200")

    def test_chunk_buffering_sees_bursts(self):
        self.check_case("chunk_buffering.yaml", "bursts", "stream_findings{rule:proxy-buffering}")

    def test_chunk_buffering_sees_a_whole_answer(self):
        self.check_case("chunk_buffering.yaml", "one-chunk", "stream_findings{rule:whole-answer-in-one-chunk}", good=False)

    def test_end_to_end_sees_a_way_that_fails(self):
        self.check_case("end_to_end.yaml", "whole-fails", "http_req_failed")

    def test_streaming_and_whole_sees_two_texts(self):
        self.check_case("streaming_and_whole.yaml", "whole-differs", "same_text_as: streamed")

    def test_long_answer_sees_one_that_stops(self):
        self.check_case("long_answer.yaml", "stops-early", "stream_failed")

    def test_rapid_fire_sees_refusals(self):
        self.check_case("rapid_fire.yaml", "refuses-some", "http_req_failed")

    def test_system_message_sees_one_that_does_not_arrive(self):
        self.check_case("system_message.yaml", "forgets", "usage.prompt_tokens > without")

    def test_multi_turn_sees_a_server_that_forgets(self):
        self.check_case("multi_turn.yaml", "forgets", "usage.prompt_tokens > second")

    def test_temperature_sees_moods_at_zero(self):
        self.check_case("temperature.yaml", "moody", "same_text_as: at 0", good=False)

    def test_temperature_sees_that_seeds_change_nothing(self):
        self.check_case("temperature.yaml", "", "text != one", good=False)

    def test_finish_reasons_sees_a_cut_that_is_called_a_stop(self):
        self.check_case("finish_reasons.yaml", "always-stop", "finish_reason == length", good=False)

    def test_ttft_sees_a_slow_first_token(self):
        self.check_case("ttft.yaml", "slow-first", "ttft: med", "-e", "TTFT_THRESHOLD=20ms")

    def test_batch_sees_broken_connections(self):
        self.check_case("batch.yaml", "resets-some", "stream_failed")

    def test_cross_talk_sees_the_name_of_another(self):
        self.check_case("cross_talk.yaml", "wrong-name", "no_crosstalk")

    def test_determinism_sees_answers_that_differ(self):
        self.check_case("determinism.yaml", "moody", "deterministic")

    def test_abandonment_sees_requests_that_go_on(self):
        self.check_case("abandonment.yaml", "keeps-running", "running == 0")

    def test_every_case_is_in_the_full_suite_and_tested_here(self):
        text = pathlib.Path(__file__).read_text()
        full = (ROOT / "scenarios" / "suites" / "full.yaml").read_text()
        for case in CASES.glob("*.yaml"):
            self.assertIn(f"cases/{case.name}", full)
            self.assertIn(f'"{case.name}"', text)

    # ---- the command --------------------------------------------------------------------------------------------------

    def test_quick_passes_on_the_engine(self):
        done = self.run_sluice("suite", "quick", "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 0, done.stdout)
        suite = self.suite()
        self.assertEqual(suite["outcome"], "passed")
        self.assertEqual({case["outcome"] for case in suite["cases"]}, {"passed"})
        self.assertEqual(suite["simulated"], "")
        for case in suite["cases"]:
            self.assertTrue(case["requirements"], case)
            self.assertTrue((self.out / case["folder"] / "report.html").exists())
            self.assertIn(case["name"], done.stdout)
        junit = xml.etree.ElementTree.parse(self.out / "junit.xml").getroot()
        self.assertEqual(junit.get("failures"), "0")
        self.assertGreater(int(junit.get("tests")), 20)

    def test_full_passes_on_the_engine(self):
        done = self.run_sluice("suite", "full", "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual({case["outcome"] for case in self.suite()["cases"]}, {"passed"})

    def test_a_target_that_is_not_there_is_simulated_and_everything_says_so(self):
        done = self.run_sluice("suite", "quick", "--url", "http://127.0.0.1:9", "--out-dir", str(self.out), "--only", "streaming",
                               environment={"MODEL": "a-model-of-that-server"})
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("SIMULATED", done.stdout)
        suite = self.suite()
        self.assertIn("http://127.0.0.1:9 cannot be reached", suite["simulated"])
        self.assertIn("Simulated", (self.out / "report.html").read_text())
        self.assertIn('name="simulated"', (self.out / "junit.xml").read_text())
        for case in suite["cases"]:
            folder = self.out / case["folder"]
            self.assertIn("cannot be reached", json.loads((folder / "summary.json").read_text())["simulated"])
            self.assertIn("Simulated", (folder / "report.html").read_text())
            self.assertIn('name="simulated"', (folder / "junit.xml").read_text())

    def test_a_server_that_is_there_and_speaks_no_http_is_not_simulated(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def hang_up():
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        done = self.run_sluice("suite", "quick", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}", "--out-dir", str(self.out), "--only", "basic")
        self.assertEqual(done.returncode, 106, done.stdout)
        self.assertEqual(self.suite()["simulated"], "")
        self.assertIn("/health: ", done.stdout)

    def test_no_fallback_exits_106_and_leaves_nothing(self):
        done = self.run_sluice("suite", "quick", "--no-fallback", environment={"VLLM_SERVER_URL": "http://127.0.0.1:9"})
        self.assertEqual(done.returncode, 106, done.stdout)
        self.assertIn("http://127.0.0.1:9 cannot be reached", done.stdout)

    def test_a_failed_preflight_skips_the_cases_and_exits_106(self):
        for mode, said in (("fallen-back", "the server says that it is 'degraded' on 'legacy'"), ("locked", "status 401")):
            with self.subTest(mode):
                done = self.run_sluice("suite", "quick", "--url", self.url(mode), "--out-dir", str(self.out), "--only", "basic")
                self.assertEqual(done.returncode, 106, done.stdout)
                self.assertIn(said, done.stdout)
                self.assertEqual([case["outcome"] for case in self.suite()["cases"]], ["skipped"])

    def test_a_failed_case_fails_the_suite_with_its_likely_cause(self):
        done = self.run_sluice("suite", "quick", "--out-dir", str(self.out), "--only", "performance",
                               environment={"VLLM_SERVER_URL": self.url("one-chunk")})
        self.assertEqual(done.returncode, 99, done.stdout)
        failed = [each for each in self.suite()["cases"][0]["requirements"] if each["verdict"] == "fail"]
        self.assertIn("few and large", next(each["cause"] for each in failed if each["requirement"] == "stream_chunks"))
        junit = xml.etree.ElementTree.parse(self.out / "junit.xml").getroot()
        self.assertEqual(int(junit.get("failures")), len(failed))

    def test_run_does_not_begin_on_a_server_that_has_fallen_back(self):
        file = self.out.with_suffix(".yaml")
        file.write_text(f"name: t\ntarget: {{url: '{self.url('')}', expect_models: [llama], expect_backend: vllm}}\n"
                        "scenarios: {a: {executor: constant-vus, duration: 1s, flow: [{http: {get: /}}]}}\n")
        done = self.run_sluice("run", str(file), "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 106, done.stdout)
        self.assertIn("preflight: models: the server does not offer 'llama'", done.stdout)

    def test_what_is_wrong_with_a_suite_is_said_with_its_place(self):
        file = self.out.with_suffix(".yaml")
        file.write_text("name: mine\ncases:\n  - {run: nowhere.yaml}\n")
        done = self.run_sluice("suite", str(file))
        self.assertEqual(done.returncode, 104, done.stdout)
        self.assertIn("nowhere.yaml", done.stdout)
        done = self.run_sluice("suite", "quik")
        self.assertEqual(done.returncode, 104, done.stdout)
        self.assertIn("there is no suite 'quik'", done.stdout)
        done = self.run_sluice("suite", "quick", "-e", "TTFT_TRESHOLD=1s", "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 104, done.stdout)
        self.assertIn("no case of the suite has such a variable", done.stdout)


if __name__ == "__main__":
    SLUICE = sys.argv.pop(1)
    unittest.main(argv=[sys.argv[0], *(f"Suites.{name}" for name in sys.argv[1:])], verbosity=2)
