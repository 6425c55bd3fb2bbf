"""The two programs together, as a user runs them: every scenario file, the exit codes, Ctrl-C, and nothing left behind.

Run by ctest (one entry a test): python3 test_sluice.py SLUICE_BINARY TEST_NAME
"""

import base64
import csv
import gzip
import hashlib
import http.server
import json
import os
import pathlib
import resource
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
SLUICE = None  # set by main
PLAIN_ENVIRONMENT = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")}


def run(*arguments, timeout=150, environment=PLAIN_ENVIRONMENT, **kwargs):
    return subprocess.run([SLUICE, *arguments], cwd=ROOT, env=environment, timeout=timeout, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)


def processes_of(parent):
    """Pids of live children of `parent` by /proc."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds):
    """Polls a condition that another process brings about; returns whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


class Login(http.server.BaseHTTPRequestHandler):
    """Gives a token for a POST, and answers what lies under it."""

    protocol_version = "HTTP/1.1"
    asked = []  # paths of GET, in order

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b'{"token": "hunter2"}')

    def do_GET(self):
        Login.asked.append(self.path)
        known = self.path.startswith("/hunter2/")
        self.answer(200 if known else 404, b"ok")

    def log_message(self, *_):
        pass


class HoldingProxy:
    """Hands on what a server says once so many bytes of it have come, or its answer has ended. What is asked passes at once."""

    def __init__(self, to, holds):
        self.to, self.holds = to, holds
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # closed
            server = socket.create_connection(("127.0.0.1", self.to))
            threading.Thread(target=self.carry, args=(client, server, 1), daemon=True).start()
            threading.Thread(target=self.carry, args=(server, client, self.holds), daemon=True).start()

    @staticmethod
    def carry(source, sink, holds):
        held = b""
        try:
            while data := source.recv(65536):
                held += data
                if len(held) >= holds or held.endswith(b"\r\n0\r\n\r\n"):
                    sink.sendall(held)
                    held = b""
            sink.sendall(held)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side has gone
        finally:
            source.close()


class Streams(http.server.BaseHTTPRequestHandler):
    """A chat stream that finishes twice; under /echo an error event that repeats what authorised the request."""

    protocol_version = "HTTP/1.0"

    @staticmethod
    def chunk(delta, finish="null"):
        return ('data: {"id":"c-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{%s},"finish_reason":%s}]}\n\n'
                % (delta, finish)).encode()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if self.path == "/v1/messages" and self.headers["anthropic-version"]:
            self.wfile.write((ROOT / "tests" / "support" / "streams" / "anthropic.sse").read_bytes())
        elif self.path == "/v1/responses":
            self.wfile.write((ROOT / "tests" / "support" / "streams" / "responses.sse").read_bytes())
        elif self.path.startswith("/echo"):
            error = {"error": {"message": "refused: " + self.headers["Authorization"]}}
            self.wfile.write(b"data: " + json.dumps(error).encode() + b"\n\n")
        else:
            self.wfile.write(Streams.answer)

    def log_message(self, *_):
        pass


Streams.answer = (Streams.chunk('"role":"assistant","content":""') + Streams.chunk('"content":"a"') + Streams.chunk("", '"stop"') +
                  Streams.chunk("", '"stop"') + b"data: [DONE]\n\n")


class TellingEngine(http.server.BaseHTTPRequestHandler):
    """A stream whose engine says where its time went: in its usage, and as a timeline by the request's x-request-id."""

    protocol_version = "HTTP/1.1"
    timelines = {}

    def write_chunk(self, data, event):
        before = time.monotonic_ns()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
        self.timeline["writes"].append({"before_ns": before, "after_ns": time.monotonic_ns(), "bytes": len(data), "event": event})

    def do_POST(self):
        received = time.monotonic_ns()
        self.rfile.read(int(self.headers["Content-Length"]))
        self.timeline = {"id": self.headers["x-request-id"], "clock": "CLOCK_MONOTONIC", "received_ns": received, "writes": [], "steps": []}
        queued = time.monotonic_ns()
        time.sleep(0.002)  # waits
        began = time.monotonic_ns()
        time.sleep(0.02)  # computes
        ended = time.monotonic_ns()
        self.timeline["steps"].append({"start_ns": began, "end_ns": ended, "kind": "prefill", "rows": 3})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.write_chunk(Streams.chunk('"role":"assistant","content":""'), "role")
        first = time.monotonic_ns()
        for text in "ab":
            self.write_chunk(Streams.chunk(f'"content":"{text}"'), "content")
            step = time.monotonic_ns()
            time.sleep(0.005)
            self.timeline["steps"].append({"start_ns": step, "end_ns": time.monotonic_ns(), "kind": "decode", "rows": 1})
        metrics = {"queue_time_ms": (began - received) / 1e6, "prefill_time_ms": (ended - began) / 1e6,
                   "output_time_ms": (first - ended) / 1e6, "server_ttft_ms": (first - received) / 1e6}
        usage = {"id": "c-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [],
                 "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, "metrics": metrics}
        self.write_chunk(Streams.chunk("", '"stop"') + b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n", "finish")
        self.wfile.write(b"0\r\n\r\n")
        self.timeline.update(queued_ns=queued, prefill_start_ns=began, prefill_end_ns=ended, first_token_ns=ended, finished_ns=time.monotonic_ns(),
                             prompt_tokens=3, cached_tokens=0, completion_tokens=2, finish_reason="stop", steps_dropped=0, writes_dropped=0)
        TellingEngine.timelines[f"/v1/requests/{self.timeline['id']}/timeline"] = self.timeline

    def do_GET(self):
        timeline = TellingEngine.timelines.get(self.path)
        body = json.dumps(dict(timeline or {}, now_ns=time.monotonic_ns())).encode()
        self.send_response(200 if timeline else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def slices(trace):
    """(pid, tid) -> slices of that row, in the order of their beginnings, each with its end."""
    rows = {}
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            rows.setdefault((event["pid"], event["tid"]), []).append(dict(event, end=event["ts"] + event["dur"]))
    for row in rows.values():
        row.sort(key=lambda event: (event["ts"], -event["dur"]))
    return rows


class EndToEnd(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="sluice-e2e-")
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "out"

    def summary(self):
        return json.loads((self.out / "summary.json").read_text())

    def check_scenario(self, name, *options, time_scale, abandoned=()):
        done = run("run", f"scenarios/{name}", "--out-dir", str(self.out), "--time-scale", str(time_scale), *options)
        self.assertEqual(done.returncode, 0, done.stdout)
        summary = self.summary()
        self.assertTrue(summary["thresholds"])
        for threshold in summary["thresholds"]:
            self.assertIsNotNone(threshold.get("actual"), threshold)
            self.assertIn(threshold["verdict"], ("pass", "inconclusive"), threshold)  # scaled down, few samples prove little
        self.assertTrue(summary["steps"])
        for step in summary["steps"]:
            if step["name"] not in abandoned:
                self.assertGreater(step["count"], 0, f"{step['name']} never ran")
        for check in summary["checks"]:
            self.assertGreater(check["passes"] + check["fails"], 0, check)
        page = (self.out / "report.html").read_text()
        self.assertIn("<html", page)
        self.assertNotIn("https://cdn", page)
        xml.etree.ElementTree.parse(self.out / "junit.xml")
        for file in ("summary.json", "report.html"):
            self.assertIn(str(self.out / file), done.stdout, "the run says where its files are")
        return summary, done.stdout

    def test_quickstart_passes_on_the_real_model(self):
        summary, output = self.check_scenario("quickstart.yaml", time_scale=0.5)
        self.assertIn("ttft", output)
        self.assertGreater(summary["instrument"]["events_kernel_stamped"], 0)
        self.assertEqual(summary["exit_code"], 0)

    def test_load_runs_scaled_down(self):
        self.check_scenario("load.yaml", time_scale=0.015)

    def test_streaming_runs_scaled_down(self):
        self.check_scenario("streaming.yaml", time_scale=0.02)

    def test_executors_each_begin_what_they_are_to(self):
        summary, _ = self.check_scenario("executors.yaml", time_scale=1)
        scenarios = {scenario["name"]: scenario for scenario in summary["scenarios"]}
        iterations = {name: scenario["iterations"] for name, scenario in scenarios.items()}
        self.assertEqual(iterations["shared"], 20)
        self.assertEqual(iterations["each"], 20)
        self.assertEqual(iterations["steady"], 30)
        self.assertEqual(iterations["rising"], 42, "the area under its rate: 22 + 20")
        self.assertEqual({scenario["dropped"] for scenario in scenarios.values()}, {0})

    def test_trace_replays_what_was_recorded(self):
        summary, _ = self.check_scenario("trace.yaml", time_scale=1)
        scenarios = {scenario["name"]: scenario for scenario in summary["scenarios"]}
        recorded = [json.loads(line) for line in (ROOT / "scenarios/data/mooncake_trace.jsonl").read_text().splitlines()]
        self.assertEqual(scenarios["conversations"]["executor"], "trace")
        self.assertEqual(scenarios["conversations"]["iterations"], len(recorded))
        self.assertEqual(scenarios["own"]["iterations"], 4)
        self.assertEqual({scenario["dropped"] for scenario in scenarios.values()}, {0})
        # Each block that another request has asked for before is found in the cache, but for a prompt's last tokens.
        seen, again = set(), 0
        for request in recorded:
            blocks = request["hash_ids"][:request["input_length"] // 512]
            again += 512 * sum(block in seen for block in blocks)
            seen.update(blocks)
        self.assertGreater(again, 10_000, "the trace has prefixes to share")
        self.assertGreater(summary["metrics"]["cached_tokens"]["count"], 0.9 * again)

    def test_controlled_takes_orders_while_it_runs(self):
        process = subprocess.Popen([SLUICE, "run", "scenarios/controlled.yaml", "--out-dir", str(self.out), "--control", "127.0.0.1:0"],
                                   cwd=ROOT, env=PLAIN_ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        line = process.stderr.readline()
        self.assertIn("can be controlled at http://127.0.0.1:", line)
        url = line.split()[-1]

        def patch(body):
            request = urllib.request.Request(url, json.dumps(body).encode(), method="PATCH")
            return json.load(urllib.request.urlopen(request, timeout=10))

        def vus():
            return json.load(urllib.request.urlopen(url, timeout=10))["vus"]

        self.assertEqual(patch({"vus": 7})["vus-max"], 20)
        self.assertTrue(wait_until(lambda: vus() == 7, 10))
        patch({"stopped": True})
        out, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 105, out + errors)
        self.assertEqual(self.summary()["scenarios"][0]["vus_max"], 7)

    def test_conversation_talks_and_leaves_early(self):
        summary, _ = self.check_scenario("conversation.yaml", time_scale=0.5, abandoned=("left early",))
        self.assertGreater(summary["metrics"]["abandoned"]["count"], 0)
        self.assertEqual(summary["metrics"]["iterations_failed"]["count"], 0)

    def write_scenario(self, text):
        file = self.out.with_suffix(".yaml")
        file.write_text(text)
        return str(file)

    def serve_login(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Login)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        Login.asked = []
        return server.server_address[1]

    def test_teardown_runs_also_when_a_threshold_has_aborted_the_load(self):
        done = run("run", self.write_scenario("""
name: aborted
target: {url: "http://127.0.0.1:%d"}
setup:
  - http: {post: /login}
    capture: {token: $.token}
teardown:
  - http: {get: "/${token}/bye"}
scenarios:
  ask: {executor: constant-vus, duration: 60s, flow: [{http: {get: /gone}}, {sleep: 50ms}]}
thresholds:
  http_req_failed: {threshold: rate == 0, abort_on_fail: true}
""" % self.serve_login()), "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 99, done.stdout)
        self.assertEqual(Login.asked[-1], "/hunter2/bye")
        self.assertNotIn("hunter2", done.stdout)

    def test_teardown_runs_also_when_the_load_cannot_be_driven(self):
        done = run("run", self.write_scenario("""
name: too many
target: {url: "http://127.0.0.1:%d"}
setup:
  - http: {post: /login}
    capture: {token: $.token}
teardown:
  - http: {get: "/${token}/left"}
scenarios:
  ask: {executor: constant-vus, vus: 5000, duration: 1s, flow: [{http: {get: /}}]}
""" % self.serve_login()), "--out-dir", str(self.out), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000)))
        self.assertEqual(done.returncode, 106, done.stdout)
        self.assertIn("raise the limit", done.stdout)
        self.assertEqual(Login.asked[-1], "/hunter2/left")

    def test_a_failed_setup_exits_100_and_a_failed_teardown_101(self):
        port = self.serve_login()
        scenario = """
name: token
target: {url: "http://127.0.0.1:%d"}
setup:
  - http: {post: /login, json: {user: tester}}
    capture: {token: %s}
teardown:
  - http: {get: "/%s"}
scenarios:
  ask: {executor: constant-vus, duration: 300ms, flow: [{http: {get: "/${token}/x"}}, {sleep: 50ms}]}
thresholds:
  http_req_failed: rate == 0
"""
        for path, last, code in (("$.token", "${token}/bye", 0), ("$.tokens", "${token}/bye", 100), ("$.token", "gone", 101)):
            done = run("run", self.write_scenario(scenario % (port, path, last)), "--out-dir", str(self.out))
            self.assertEqual(done.returncode, code, done.stdout)
            self.assertNotIn("hunter2", done.stdout)
            if code == 100:
                self.assertIn("setup: capture 'token': nothing at $.tokens", done.stdout)
            if code == 101:
                self.assertIn("teardown: the step 'GET /gone': HTTP status 404", done.stdout)
                self.assertNotIn("hunter2", (self.out / "summary.json").read_text())

    def test_find_max_reports_the_curve_of_its_search(self):
        summary, output = self.check_scenario("find_max.yaml", "-e", "TRIAL=1s", "-e", "MAX_RATE=32", time_scale=1)
        search = summary["search"]
        self.assertEqual(search["unit"], "iterations/s")
        self.assertGreaterEqual(search["best"], 4)
        self.assertGreater(len(search["trials"]), 1)
        self.assertIn("held, and nothing above it was allowed to be tried", output)
        self.assertIn('id="search"', (self.out / "report.html").read_text())

    def test_stable_ends_the_run_before_its_time(self):
        summary, output = self.check_scenario("stable.yaml", time_scale=1)
        self.assertLess(summary["duration_s"], 110, "of 120; a busy machine may take longer to be stable")
        stability = summary["stability"]
        self.assertTrue(stability["ended_run"])
        self.assertEqual(stability["to_s"] - stability["from_s"], 3 * 2)
        self.assertLessEqual(max(metric["deviation"] for metric in stability["metrics"]), 0.1)
        self.assertIn("stable from", output)
        self.assertIn('id="stability"', (self.out / "report.html").read_text())

    def check_engine(self, summary, output):
        """The engine's own figures stand beside the latencies; those of a GPU only where one was used."""
        engine = summary["engine"]
        self.assertEqual(engine["model"], "tiny-coder")
        self.assertEqual(engine["backend_wanted"], "auto")
        self.assertGreater(engine["samples"], 0)
        for name in ("kv_cache_usage", "engine_running", "engine_queued"):
            self.assertGreater(summary["metrics"][name]["count"], 0, name)
        self.assertGreater(summary["metrics"]["engine_steps"]["count"], 0)
        self.assertTrue(any("kv_cache_usage_percent" in point for point in summary["series"]))
        on_gpu = engine["gpu"] != ""
        self.assertEqual("gpu_utilization" in summary["metrics"], on_gpu)
        self.assertEqual(any("gpu_power_w" in point for point in summary["series"]), on_gpu)
        page = (self.out / "report.html").read_text()
        self.assertIn('id="chart-kv"', page)
        self.assertEqual('id="chart-gpu"' in page, on_gpu)
        self.assertIn("█ ENGINE", output)
        if engine["backend"]:
            self.assertIn(f"tiny-coder on {engine['backend']} (auto)", output, "the run says on what it ran")

    def test_gpu_load_runs_with_whatever_there_is(self):
        self.check_engine(*self.check_scenario("gpu_load.yaml", time_scale=1))

    def test_gpu_streaming_runs_with_whatever_there_is(self):
        summary, output = self.check_scenario("gpu_streaming.yaml", time_scale=1)
        self.check_engine(summary, output)
        self.assertEqual(summary["metrics"]["stream_findings"]["count"], 0)

    def test_gpu_memory_stress_preempts_and_still_answers_right(self):
        summary, output = self.check_scenario("gpu_memory_stress.yaml", time_scale=1)
        self.check_engine(summary, output)
        self.assertGreater(summary["metrics"]["engine_preemptions"]["count"], 0)
        self.assertEqual(sum(point.get("engine_preemptions", 0) for point in summary["series"]),
                         summary["metrics"]["engine_preemptions"]["count"])
        for check in summary["checks"]:
            self.assertEqual(check["fails"], 0, check)

    def test_service_levels_hold_in_every_window(self):
        summary, output = self.check_scenario("service_levels.yaml", time_scale=1)
        self.assertGreater(summary["warmup_requests"], 0)
        self.assertAlmostEqual(summary["warmup_s"], 1)
        self.assertIn(f"warm-up: {summary['warmup_requests']} requests", output)
        results = {(result["metric"], result["expression"]): result for result in summary["thresholds"]}
        windows = results["ttft", "p(95) < 2s"]["windows"]
        self.assertGreaterEqual(windows["judged"], 4)
        self.assertEqual(windows["failed"], 0)
        rush = summary["scenarios"][0]
        self.assertEqual(len(rush["stages"]), 3)
        self.assertEqual(sum(stage["requests"] for stage in rush["stages"]), rush["requests"])
        self.assertEqual((rush["stages"][0]["from_s"], rush["stages"][0]["to_s"]), (-1, 2))
        asked = summary["metrics"]["asked"]
        self.assertTrue(asked["custom"])
        self.assertGreater(asked["count"], rush["requests"] * 0.8)
        self.assertIn("SCENARIOS AND STAGES", output)

    def test_an_open_model_that_drops_iterations_fails_by_a_default_gate(self):
        file = self.out / "busy.yaml"
        self.out.mkdir(parents=True, exist_ok=True)
        text = ("name: busy\ntarget: {engine: {model: tiny-coder, backend: scripted}}\nscenarios:\n  a:\n    executor: constant-arrival-rate\n"
                "    rate: 50\n    duration: 1s\n    max_vus: 1\n    flow: [{chat: {prompt: a, max_tokens: 2}}, {sleep: 100ms}]\n")
        file.write_text(text)
        done = run("run", str(file), "--out-dir", str(self.out / "gated"))
        self.assertEqual(done.returncode, 99, done.stdout)
        self.assertIn("default gate", done.stdout)
        file.write_text(text + "gates: {dropped_iterations: off, achieved_rate: off}\n")
        done = run("run", str(file), "--out-dir", str(self.out / "open"))
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_data_runs_and_leaves_every_sample(self):
        """Also what --out and --summary-export write, against the summary of the same run."""
        ndjson, table, export = (self.out.parent / name for name in ("a.ndjson.gz", "a.csv", "k6.json"))
        summary, _ = self.check_scenario("data.yaml", "--out", f"ndjson={ndjson}", "--out", f"csv={table}",
                                         "--summary-export", str(export), time_scale=1)
        self.assertGreater(summary["instrument"]["samples"], 0)
        self.assertEqual(summary["instrument"]["samples_dropped"], 0)
        requests = summary["metrics"]["http_reqs"]["count"]
        points = [json.loads(line) for line in gzip.open(ndjson, "rt")]
        self.assertEqual(sum(1 for p in points if p["type"] == "Point" and p["metric"] == "http_reqs"), requests)
        described = [p["metric"] for p in points if p["type"] == "Metric"]
        self.assertEqual(len(described), len(set(described)))
        gaps = [p["data"]["value"] for p in points if p["type"] == "Point" and p["metric"] == "icl"]
        self.assertEqual(len(gaps), summary["metrics"]["icl"]["count"])
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(sum(1 for row in rows if row["metric_name"] == "http_reqs"), requests)
        self.assertEqual({row["scenario"] for row in rows if row["metric_name"] == "http_reqs"},
                         {"random_prompts", "each_conversation_once", "tasks_in_turn"})
        k6 = json.loads(export.read_text())
        self.assertEqual(k6["metrics"]["http_reqs"]["count"], requests)
        self.assertEqual(k6["metrics"]["checks"]["thresholds"], {"rate == 100%": False}, "true would mean failed")
        self.assertIn("status == 200", k6["root_group"]["checks"])

    def check_nesting(self, trace):
        for row in slices(trace).values():
            around = []
            for event in row:
                while around and around[-1]["end"] <= event["ts"] + 1e-6:
                    around.pop()
                if around:
                    self.assertLessEqual(event["end"], around[-1]["end"] + 1e-6, (event, around[-1]))
                around.append(event)

    def test_a_trace_shows_client_and_engine_on_one_clock(self):
        port = self.serve(TellingEngine)
        trace_file = self.out.parent / "trace.json"
        done = run("run", self.write_scenario("""
name: traced
target: {url: "http://127.0.0.1:%d"}
scenarios:
  ask: {executor: per-vu-iterations, vus: 2, iterations: 5, flow: [{chat: {prompt: a, model: m}}]}
thresholds:
  ttft_prefill: min >= 20ms
  ttft_queue: min >= 2ms
  ttft_network: max < 1s
""" % port), "--out-dir", str(self.out), "--out", f"trace={trace_file}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(str(trace_file), done.stdout)
        trace = json.loads(trace_file.read_text())
        about = trace["otherData"]
        self.assertEqual((about["requests"], about["requests_left_out"], about["requests_with_engine"]), (10, 0, 10), about)
        self.assertIn("the same for client and engine", about["clock"])
        self.assertNotIn("no_engine", about)
        self.check_nesting(trace)
        requests = {}
        for (process, _), row in slices(trace).items():
            for event in row:
                if "request_id" in event.get("args", {}):
                    requests.setdefault(event["args"]["request_id"], {})[process] = event
        self.assertEqual(len(requests), 10)
        for client, engine in ((both[1], both[2]) for both in requests.values()):
            self.assertLess(client["ts"], engine["ts"], "one clock: it is sent before it is received")
            self.assertLess(engine["ts"], client["end"])
        names = {event["name"] for row in slices(trace).values() for event in row}
        self.assertLessEqual({"connect", "send", "wait", "receive", "parse", "queue", "prefill", "decode", "prefill step", "decode step", "write"}, names)
        split = self.summary()["ttft_split"]
        self.assertEqual((split["requests"], split["sources"]), (10, ["engine"]))
        self.assertEqual([part["name"] for part in split["parts"]], ["client", "network", "queue", "prefill", "output"])
        if split["exceeded"] == 0:
            self.assertAlmostEqual(sum(part["mean_ms"] for part in split["parts"]), split["whole"]["mean_ms"], places=3)
        self.assertIn("Of 10 streams; source: engine", done.stdout)
        self.assertIn("Where the time to the first token went", (self.out / "report.html").read_text())

    def test_a_trace_of_the_engine_has_its_steps_and_writes(self):
        trace_file = self.out.parent / "trace.json"
        done = run("run", "scenarios/layers.yaml", "-e", "CONCURRENCY=2", "--out-dir", str(self.out), "--out", f"trace={trace_file}")
        self.assertEqual(done.returncode, 0, done.stdout)
        trace = json.loads(trace_file.read_text())
        self.assertEqual((trace["otherData"]["requests"], trace["otherData"]["requests_with_engine"]), (64, 64), trace["otherData"])
        self.check_nesting(trace)
        engine = [event for (process, _), row in slices(trace).items() if process == 2 for event in row]
        for name, at_least in (("queue", 64), ("prefill", 64), ("decode", 64), ("decode step", 64 * 40), ("write", 64 * 2)):  # on a busy machine tokens share a write
            self.assertGreaterEqual(sum(event["name"] == name for event in engine), at_least, name)
        split = self.summary()["ttft_split"]
        self.assertEqual((split["requests"], split["sources"]), (64, ["engine"]))

    def test_a_trace_of_a_server_that_tells_nothing_has_the_clients_side(self):
        port = self.serve_streams()
        trace_file = self.out.parent / "trace.json.gz"
        scenario = self.write_scenario("""
name: silent
target: {url: "http://127.0.0.1:%d"}
scenarios:
  ask: {executor: per-vu-iterations, vus: 1, iterations: 3, flow: [{chat: {prompt: a, model: m}}]}
""" % port)
        done = run("run", scenario, "--out-dir", str(self.out), "--out", f"trace={trace_file}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("the trace: the engine tells nothing of 3 of 3: it answered 501 to GET /v1/requests/", done.stdout)
        trace = json.loads(gzip.open(trace_file, "rt").read())
        self.assertIn("it answered 501", trace["otherData"]["no_engine"])
        self.assertEqual({process for process, _ in slices(trace)}, {1})
        self.check_nesting(trace)
        self.assertNotIn("ttft_split", self.summary())
        for wrong, said in ((["trace="], "names no file"), (["trace=/nowhere/t.json"], "/nowhere/t.json"),
                            ([f"csv={trace_file}", f"trace={trace_file}"], "stands twice")):
            done = run("run", scenario, "--out-dir", str(self.out), *(word for each in wrong for word in ("--out", each)))
            self.assertEqual(done.returncode, 104, done.stdout)
            self.assertIn(said, done.stdout)

    def test_samples_on_stdout_are_alone_there(self):
        done = subprocess.run([SLUICE, "run", "scenarios/data.yaml", "--out", "csv=-", "-q", "--out-dir", str(self.out), "--time-scale", "0.5"],
                              cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(all(len(row) == 19 for row in csv.reader(done.stdout.splitlines())))
        self.assertIn("THRESHOLDS", done.stderr)

    def test_http_runs_on_the_scripted_engine(self):
        summary, _ = self.check_scenario("http.yaml", time_scale=1)
        self.assertGreaterEqual(summary["metrics"]["http_reqs"]["count"], 2 * 5 * 4 + 2 * 3)

    def test_http2_runs_with_and_without_tls(self):
        for tls in [], ["--tls"]:
            with subprocess.Popen([str(pathlib.Path(SLUICE).parent / "http2_server"), *tls], stdout=subprocess.PIPE, text=True) as server:
                self.addCleanup(server.kill)
                url = server.stdout.readline().strip()
                summary, output = self.check_scenario("http2.yaml", "-e", "HTTP=h2", "-e", f"BASE_URL={url}", "-e", "TLS_VERIFY=false", time_scale=0.5)
                server.kill()
            metrics = summary["metrics"]
            self.assertEqual(metrics["http_req_failed"]["rate"], 0, output)
            self.assertEqual(metrics["http_req_connecting"]["percentiles"]["p95"], 0, "nearly all find the connection open")
            self.assertGreater(metrics["http_reqs"]["count"], 200)

    def test_websocket_talks_with_an_echo_server(self):
        def read(stream, size):
            data = stream.read(size)
            if len(data) < size:
                raise ConnectionError
            return data

        class Echo(socketserver.StreamRequestHandler):
            def handle(self):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = self.rfile.readline()
                    if not line:
                        return
                    head += line
                key = [line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")][0].split(b": ")[1]
                accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
                self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                answers = {1: 0x81, 8: 0x88, 9: 0x8A}  # echo, close, pong; short ones only
                try:
                    while True:
                        first, size = read(self.rfile, 2)
                        mask = read(self.rfile, 4)
                        text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(read(self.rfile, size & 0x7F)))
                        self.wfile.write(bytes([answers[first & 0x0F], len(text)]) + text)
                except ConnectionError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        server = Server(("127.0.0.1", 0), Echo)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(lambda: (server.shutdown(), server.server_close()))
        summary, output = self.check_scenario("websocket.yaml", "-e", f"WS_URL=ws://127.0.0.1:{server.server_address[1]}/chat", time_scale=1)
        self.assertEqual(summary["metrics"]["ws_sessions"]["count"], 12)
        self.assertEqual(summary["metrics"]["ws_msgs_sent"]["count"], 24)
        self.assertEqual(summary["metrics"]["ws_ping"]["count"], 12)
        self.assertNotIn("http_reqs", [name for name, metric in summary["metrics"].items() if metric["count"]])
        self.assertIn("ws_connecting", output)

    def check_conformance(self, *options):
        summary, output = self.check_scenario("conformance.yaml", *options, time_scale=1)
        self.assertEqual(summary.get("findings", []), [], output)
        self.assertEqual(summary["metrics"]["stream_findings"]["count"], 0)
        judged = [threshold for threshold in summary["thresholds"] if threshold["source"] == "conformance"]
        self.assertEqual([(threshold["expression"], threshold["actual"]) for threshold in judged], [("count == 0 (fail_on: warning)", 0)])
        return summary

    def test_a_chunk_policy_sends_70_percent_fewer_chunks_and_the_same_text(self):
        done = run("run", "scenarios/chunking.yaml", "-e", "ITERATIONS=3", "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("text == plain", done.stdout)
        # Without the policy it is seen.
        done = run("run", "scenarios/chunking.yaml", "-e", "ITERATIONS=1", "-e", "MIN_CHARS=1", "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 99, done.stdout)

    def test_conformance_of_the_engine_at_one_stream(self):
        self.check_conformance()
        done = run("run", self.write_scenario("""
name: the real model
target: {engine: {model: tiny-coder, backend: cpu}}
conformance: {fail_on: warning}
scenarios:
  ask:
    executor: per-vu-iterations
    iterations: 3
    flow: [{chat: {prompt: "Write a function, number ${iteration}.", max_tokens: 60}}, {completion: {prompt: "def f(", max_tokens: 30}}]
"""), "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.summary().get("findings", []), [], done.stdout)

    def test_conformance_of_the_engine_at_a_thousand_streams(self):
        summary = self.check_conformance("-e", "STREAMS=1000", "-e", "EACH=1")
        self.assertEqual(summary["scenarios"][0]["vus_max"], 1000)
        self.assertEqual(summary["steps"][0]["count"], 1000)

    def test_conformance_fails_a_run_and_says_where(self):
        port = self.serve_streams()
        ndjson = self.out.parent / "found.ndjson"
        scenario = """
name: found
target: {url: "http://127.0.0.1:%d"}
conformance: {fail_on: error%s}
scenarios:
  ask: {executor: per-vu-iterations, vus: 2, iterations: 3, flow: [{chat: {prompt: a, model: m}}]}
"""
        done = run("run", self.write_scenario(scenario % (port, "")), "--out-dir", str(self.out), "--out", f"ndjson={ndjson}")
        self.assertEqual(done.returncode, 99, done.stdout)
        self.assertIn("count == 0 (fail_on: error)", done.stdout)
        summary = self.summary()
        self.assertEqual(len(summary["findings"]), 1)
        finding = summary["findings"][0]
        self.assertEqual((finding["rule"], finding["severity"], finding["count"]), ("finish-twice", "error", 6))
        self.assertIn("finish_reason", finding["example"])
        self.assertEqual(finding["stream_id"], "c-1")
        offset = Streams.answer.index(b"data:", Streams.answer.index(b'"stop"'))
        self.assertEqual(finding["offset"], offset)
        self.assertIn(f"stream c-1, byte {offset}", done.stdout)
        self.assertIn(f"stream c-1, byte {offset}", (self.out / "report.html").read_text())
        points = [json.loads(line) for line in ndjson.read_text().splitlines()]
        found = [point["data"] for point in points if point["type"] == "Point" and point["metric"] == "stream_findings"]
        self.assertEqual(len(found), 6)
        self.assertEqual(found[0]["tags"]["rule"], "finish-twice")
        self.assertEqual(found[0]["metadata"], {"severity": "error", "offset": str(offset), "stream_id": "c-1", "bytes": finding["example"]})
        done = run("run", self.write_scenario(scenario % (port, ", allow: [finish-twice]")), "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(self.summary()["findings"][0]["severity"], "note")

    def serve_streams(self):
        return self.serve(Streams)

    def serve(self, handler):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(lambda: (server.shutdown(), server.server_close()))
        return server.server_address[1]

    def test_check_stream_judges_what_was_recorded(self):
        streams = ROOT / "tests" / "support" / "streams"
        clean = {"openai": ("openai.sse", "openai_tools.sse"), "vllm": ("vllm.sse",), "llamacpp": ("llamacpp.sse",), "sglang": ("sglang.sse",),
                 "anthropic": ("anthropic.sse", "anthropic_tools.sse"), "responses": ("responses.sse", "responses_incomplete.sse", "responses_tools.sse"),
                 "raw": ("openai.sse",)}
        for dialect, files in clean.items():
            for file in files:
                done = run("check-stream", str(streams / file), "--dialect", dialect, "--fail-on", "warning")
                self.assertEqual(done.returncode, 0, done.stdout)
                self.assertTrue(done.stdout.endswith("\nclean\n"), done.stdout)
        self.assertEqual(run("check-stream", str(streams / "openai_completion.sse"), "--api", "completions").returncode, 0)
        done = run("check-stream", str(streams / "vllm.sse"), "--fail-on", "warning")
        self.assertEqual(done.returncode, 99, done.stdout)
        self.assertIn("finish-with-content", done.stdout)
        self.assertEqual(run("check-stream", str(streams / "vllm.sse"), "--fail-on", "warning", "--allow", "finish-with-content").returncode, 0)
        done = run("check-stream", str(streams / "anthropic_error.sse"), "--dialect", "anthropic", "--json")
        self.assertEqual(done.returncode, 99, done.stdout)
        result = json.loads(done.stdout)
        self.assertEqual([(f["rule"], f["severity"], f["count"]) for f in result["findings"]], [("error-event", "fatal", 1)])
        stream = (streams / "anthropic_error.sse").read_bytes()
        self.assertEqual(result["findings"][0]["offset"], stream.index(b"event: error"))
        self.assertEqual((result["verdict"], result["stream"]["events"], result["stream"]["characters"]), ("fail", 4, 5))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = (streams / "openai.sse").read_bytes()
        chunk = b"%x\r\n" % len(body) + body + b"\r\n"
        for sent, code, said in ((head + chunk + b"0\r\n\r\n", 0, "clean"), (head + chunk, 99, "truncated"), (body[:-30], 99, "no-done"),
                                 (b"HTTP/1.1 503 Busy\r\n\r\nbusy", 99, "http-status"), (b"HTTP/1.1\r\n", 104, "no status")):
            done = subprocess.run([SLUICE, "check-stream", "-"], input=sent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
            self.assertEqual(done.returncode, code, done.stdout)
            self.assertIn(said, done.stdout.decode())
        for arguments in (("nowhere.sse",), (str(streams / "openai.sse"), "--dialect", "vlm"), (str(streams / "openai.sse"), "--fail-on", "never"),
                          (str(streams / "openai.sse"), "--allow", "nothing"), (str(streams / "openai.sse"), "--header", "s3cret-without-colon"), ()):
            done = run("check-stream", *arguments)
            self.assertEqual(done.returncode, 104, done.stdout)
            self.assertNotIn("s3cret", done.stdout)

    def test_check_stream_asks_a_server(self):
        engine = subprocess.Popen([str(pathlib.Path(SLUICE).parent / "sluice-engine"), "--backend", "scripted", "--script", "ttft=20ms,gap=2ms", "--port", "0"], stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (engine.kill(), engine.stderr.close(), engine.wait()))
        url = next(line.split()[-1] for line in engine.stderr if "listening on" in line)
        for path, api in (("", "chat"), ("/v1", "chat"), ("/v1/chat/completions", "chat"), ("/v1/completions", "completions")):
            done = run("check-stream", f"http://{url}{path}", "--json", "--fail-on", "warning")
            self.assertEqual(done.returncode, 0, done.stdout)
            result = json.loads(done.stdout)
            self.assertEqual(result["api"], api)
            self.assertEqual(result["findings"], [])
            self.assertGreater(result["stream"]["chunks"], 8)
            self.assertGreater(result["stream"]["ttft_ms"], 0)
            self.assertGreater(result["stream"]["gap_p50_ms"], 1)
        done = run("check-stream", f"http://{url}")
        self.assertIn("TTFT", done.stdout)
        self.assertEqual(run("check-stream", f"http://{url}/v1/completions", "--api", "chat").returncode, 104)
        done = run("check-stream", "http://127.0.0.1:9")
        self.assertEqual(done.returncode, 106, done.stdout)

    def test_check_stream_asks_in_the_words_of_the_dialect(self):
        port = self.serve_streams()
        for dialect, finish in (("anthropic", "end_turn"), ("responses", "completed")):
            done = run("check-stream", f"http://127.0.0.1:{port}", "--dialect", dialect, "--model", "m", "--json", "--fail-on", "warning")
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertEqual(json.loads(done.stdout)["stream"]["finish_reason"], finish)

    def test_check_stream_shows_no_secret(self):
        """A server that repeats the headers of the request in an error event."""
        port = self.serve_streams()
        for option in [], ["--json"]:
            done = run("check-stream", f"http://127.0.0.1:{port}/echo", "--model", "m", "--header", "Authorization: Bearer s3cret-of-mine", *option)
            self.assertEqual(done.returncode, 99, done.stdout)
            self.assertIn("error-event", done.stdout)
            self.assertIn("********", done.stdout)
            self.assertNotIn("s3cret", done.stdout)

    def test_faults_are_each_found_and_counted_by_cause(self):
        summary, _ = self.check_scenario("faults.yaml", time_scale=1)
        self.assertEqual([check for check in summary["checks"] if check["fails"]], [])

    def start_engine(self, *options):
        engine = subprocess.Popen([str(pathlib.Path(SLUICE).parent / "sluice-engine"), "--port", "0", *options], stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (engine.kill(), engine.stderr.close(), engine.wait()))
        return "http://" + next(line.split()[-1] for line in engine.stderr if "listening on" in line)

    @staticmethod
    def recorded(path):
        """The pieces of each stream, in order, and how it ended."""
        streams = {}
        for line in map(json.loads, path.read_text().splitlines()[1:]):
            stream = streams.setdefault(line["stream"], {"pieces": [], "times": [], "end": None})
            if "end" in line:
                stream["end"] = line["end"]
            elif "us" in line:
                stream["pieces"].append(line["text"].encode() if "text" in line else base64.b64decode(line["base64"]))
                stream["times"].append(line["us"])
            else:
                stream["path"], stream["status"] = line["path"], line["status"]
        return streams

    def test_a_recording_is_judged_replayed_and_run_against(self):
        folder = self.out.parent
        first, second, of_run = folder / "first.jsonl", folder / "second.jsonl", folder / "run.jsonl"
        url = self.start_engine("--backend", "scripted", "--script", "ttft=30ms,gap=10ms")
        done = run("record", url, "--file", str(first), "--count", "3", "--max-tokens", "12", "--header", "Authorization: Bearer s3cret-of-mine")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("3 of 3 streams", done.stdout)
        self.assertNotIn("s3cret", first.read_text())
        streams = self.recorded(first)
        self.assertEqual([(stream["path"], stream["status"], stream["end"]) for stream in streams.values()], [("/v1/chat/completions", 200, "complete")] * 3)
        for stream in streams.values():
            self.assertEqual(len(stream["pieces"]), 16, "role, twelve tokens, finish, usage, [DONE]")
            self.assertTrue(stream["pieces"][-1].endswith(b"data: [DONE]\n\n"))
            self.assertGreater(stream["times"][12] - stream["times"][1], 30_000, "110 ms, but for a busy machine")
        done = run("check-stream", str(first))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("3 streams: 3 clean", done.stdout)

        replay = self.start_engine("--replay", str(first))
        done = run("record", replay, "--file", str(second), "--count", "3")
        self.assertEqual(done.returncode, 0, done.stdout)
        again = self.recorded(second)
        self.assertEqual([stream["pieces"] for stream in again.values()], [stream["pieces"] for stream in streams.values()])
        for stream, recorded in zip(again.values(), streams.values()):
            late = sorted(abs(a - b) for a, b in zip(stream["times"], recorded["times"]))
            self.assertLess(late[len(late) // 2], 30_000, "on a busy machine; how well it is kept is measured in replay_test.cpp")
        scenario = """
name: replayed
target: {url: "%s"}
scenarios:
  ask: {executor: per-vu-iterations, vus: 2, iterations: 3, flow: [{chat: {prompt: a, max_tokens: 12}, check: [status == 200, chunks == 12, finish_reason == length]}]}
thresholds: {checks: rate == 1, stream_failed: rate == 0}
"""
        done = run("run", self.write_scenario(scenario % replay), "--out-dir", str(self.out), "--out", f"record={of_run}")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(len(self.recorded(of_run)), 6)
        for stream in self.recorded(of_run).values():
            self.assertIn(stream["pieces"], [recorded["pieces"] for recorded in streams.values()])

    def test_what_is_wrong_in_a_stream_is_wrong_in_its_replay(self):
        first, second = self.out.parent / "first.jsonl", self.out.parent / "second.jsonl"
        faults = ["reset@5", "close@5", "truncated@5", "malformed@5", "half-codepoint@5", "error-event@5", "no-done", "no-finish", "crosstalk@5", "http-503", "stall@5:10s"]
        flow = "{chat: {prompt: a, max_tokens: 12}, abandon: {after_events: 3}}, " + ", ".join("{chat: {prompt: a, max_tokens: 12, body: {sluice_fault: '%s'}}}" % fault for fault in faults)
        scenario = """
name: faults
target: {url: "%s", request_timeout: 1s}
scenarios:
  ask: {executor: per-vu-iterations, flow: [%s]}
"""
        found = []
        source = self.start_engine("--backend", "scripted", "--script", "ttft=20ms,gap=5ms")
        for file in (first, second):
            done = run("run", self.write_scenario(scenario % (source, flow)), "--out-dir", str(self.out), "--out", f"record={file}")
            self.assertEqual(done.returncode, 0, done.stdout)
            done = run("check-stream", str(file), "--json")
            self.assertEqual(done.returncode, 99, done.stdout)
            found.append([(stream["end"], stream["stream"]["status"], [(finding["rule"], finding["offset"]) for finding in stream["findings"]])
                          for stream in json.loads(done.stdout)["streams"]])
            source = self.start_engine("--replay", str(first))
        self.assertEqual([end for end, _, _ in found[0]], ["cut", "reset", "closed", "closed"] + ["complete"] * 7 + ["timeout"])
        self.assertEqual(found[0], found[1])
        pieces = [[stream["pieces"] for stream in self.recorded(file).values()] for file in (first, second)]
        self.assertEqual(pieces[0], pieces[1])

    def test_buffering_asks_the_engine_in_two_ways_alike(self):
        summary, output = self.check_scenario("buffering.yaml", "-e", "QUESTIONS=4", time_scale=1)
        buffering = summary["buffering"]
        self.assertEqual([(way["scenario"], way["verdict"]) for way in buffering["scenarios"]], [("direct", "none"), ("via", "none")], buffering)
        self.assertEqual(buffering["comparison"]["layer"], "nobody")
        self.assertIn("No buffering on either way", output)
        self.assertEqual(summary["metrics"]["tokens_per_chunk"]["avg"], 1)

    def test_buffering_blames_the_proxy_between(self):
        engine = subprocess.Popen([str(pathlib.Path(SLUICE).parent / "sluice-engine"), "--backend", "scripted", "--script", "ttft=100ms,gap=25ms,tokens=40", "--port", "0"], stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (engine.kill(), engine.stderr.close(), engine.wait()))
        url = next(line.split()[-1] for line in engine.stderr if "listening on" in line)
        for holds, verdict, said in ((2048, "proxy buffers", "The proxy between buffers"), (1 << 20, "whole answer at once", "The proxy between keeps the whole answer back")):
            proxy = HoldingProxy(int(url.rsplit(":", 1)[1]), holds)
            self.addCleanup(proxy.listener.close)
            done = run("run", "scenarios/buffering.yaml", "-e", f"BASE_URL=http://{url}", "-e", f"VIA_URL=http://127.0.0.1:{proxy.port}", "-e", "QUESTIONS=3", "--out-dir", str(self.out))
            self.assertEqual(done.returncode, 0, done.stdout)
            direct, via = self.summary()["buffering"]["scenarios"]
            self.assertEqual((direct["verdict"], via["verdict"]), ("none", verdict), done.stdout)
            self.assertEqual(self.summary()["buffering"]["comparison"]["layer"], "between")
            self.assertGreater(via["ttft_p50_ms"], direct["ttft_p50_ms"] + 50)
            self.assertLess(via["gap_p50_ms"], direct["gap_p50_ms"])
            self.assertIn(said, " ".join(done.stdout.split()))
            self.assertIn(said, (self.out / "report.html").read_text())
            done = run("check-stream", f"http://127.0.0.1:{proxy.port}", "--model", "scripted", "--json")
            self.assertEqual(json.loads(done.stdout)["stream"]["buffering"], verdict, done.stdout)

    def test_layers_ask_the_same_with_and_without_http(self):
        summary, _ = self.check_scenario("layers.yaml", time_scale=1)
        engine = pathlib.Path(SLUICE).parent / "sluice-engine"
        done = subprocess.run([engine, "bench", "--requests", "scenarios/data/requests.jsonl", "--model", "tiny-coder", "--json"], cwd=ROOT,
                              env=PLAIN_ENVIRONMENT, timeout=100, text=True, stdout=subprocess.PIPE)
        service = json.loads(done.stdout)
        self.assertEqual((done.returncode, service["layer"], service["errors"]), (0, "service", 0))
        self.assertEqual(service["requests"], summary["steps"][0]["count"])
        for name in ("prompt_tokens", "output_tokens"):
            self.assertEqual(service[name], summary["metrics"][name]["count"])

    def test_every_scenario_file_is_run_here(self):
        named = {"buffering.yaml", "chunking.yaml", "conformance.yaml", "controlled.yaml", "conversation.yaml", "data.yaml", "executors.yaml", "faults.yaml", "find_max.yaml", "gpu_load.yaml", "gpu_memory_stress.yaml", "gpu_streaming.yaml", "http.yaml", "http2.yaml", "layers.yaml", "load.yaml", "quickstart.yaml", "service_levels.yaml", "stable.yaml", "streaming.yaml", "trace.yaml", "websocket.yaml"}
        self.assertEqual({path.name for path in (ROOT / "scenarios").glob("*.yaml")}, named)

    def test_calibrate_measures_its_own_error_and_reports_name_it(self):
        state = dict(os.environ, XDG_STATE_HOME=str(self.out.parent))
        done = run("calibrate", "--streams", "20,1", "--seconds", "0.5", environment=state)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("0 lost", done.stdout)
        stored = json.loads((self.out.parent / "sluice/calibration.json").read_text())
        self.assertEqual([row["streams"] for row in stored["rows"]], [1, 20])
        done = run("run", "scenarios/quickstart.yaml", "--time-scale", "0.1", "--out-dir", str(self.out), environment=state)
        self.assertIn("calibrated 20", done.stdout)
        self.assertEqual(self.summary()["instrument"]["calibration"]["streams"], 20)

    def test_a_missed_threshold_exits_99(self):
        done = run("run", "scenarios/quickstart.yaml", "-e", "TTFT_THRESHOLD=1us", "--out-dir", str(self.out), "--time-scale", "0.2")
        self.assertEqual(done.returncode, 99, done.stdout)
        verdicts = {threshold["metric"]: threshold["verdict"] for threshold in self.summary()["thresholds"]}
        self.assertEqual(verdicts["ttft"], "fail")

    def test_an_invalid_scenario_exits_104_and_names_every_problem(self):
        file = self.out.with_suffix(".yaml")
        file.write_text("name: bad\nscenarioz: {}\ntarget: {url: http://127.0.0.1:1}\nthresholds:\n  ttft: p(95) < soon\n")
        done = run("run", str(file))
        self.assertEqual(done.returncode, 104, done.stdout)
        self.assertIn(":2:1:", done.stdout)
        self.assertIn("scenarios", done.stdout)
        self.assertIn(":5:", done.stdout)

    def test_an_unreachable_target_exits_106(self):
        file = self.out.with_suffix(".yaml")
        file.write_text("name: nobody\ntarget: {url: 'http://127.0.0.1:9'}\nscenarios:\n  a:\n    executor: constant-vus\n    vus: 1\n"
                        "    duration: 1s\n    flow:\n      - http: {get: /}\n")
        done = run("run", str(file), "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 106, done.stdout)
        self.assertIn("127.0.0.1:9", done.stdout)

    def start(self, *options):
        process = subprocess.Popen([SLUICE, "run", "scenarios/streaming.yaml", "--time-scale", "0.5", "--out-dir", str(self.out), *options],
                                   cwd=ROOT, env=PLAIN_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(lambda: (process.kill() if process.poll() is None else None, process.stdout.close(), process.wait()))
        self.lines = []
        reader = threading.Thread(target=lambda: self.lines.extend(iter(process.stdout.readline, "")), daemon=True)
        reader.start()
        self.assertTrue(wait_until(lambda: processes_of(process.pid), 30), "the engine was started")
        self.assertTrue(wait_until(lambda: any("requests" in line or "reqs" in line for line in self.lines), 60), "".join(self.lines))
        return process, processes_of(process.pid), reader

    def test_ctrl_c_drains_reports_and_exits_105(self):
        process, engine, reader = self.start()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(60), 105)
        reader.join(5)
        self.assertEqual(self.summary()["outcome"], "interrupted")
        self.assertFalse([pid for pid in engine if is_alive(pid)])

    def test_a_second_ctrl_c_stops_at_once(self):
        process, engine, _ = self.start()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(20), 105)
        self.assertTrue(wait_until(lambda: not any(is_alive(pid) for pid in engine), 10))

    def test_a_killed_run_leaves_no_engine_behind(self):
        process, engine, _ = self.start()
        process.kill()
        process.wait(10)
        self.assertTrue(wait_until(lambda: not any(is_alive(pid) for pid in engine), 10))

    def test_an_engine_that_cannot_start_shows_its_log_and_exits_106(self):
        file = self.out.with_suffix(".yaml")
        file.write_text("name: no model\ntarget: {engine: {model: /nonexistent-model}}\nscenarios:\n  a:\n    executor: constant-vus\n    vus: 1\n"
                        "    duration: 1s\n    flow:\n      - chat: {prompt: hello}\n")
        done = run("run", str(file), "--out-dir", str(self.out))
        self.assertEqual(done.returncode, 106, done.stdout)
        self.assertIn("nonexistent-model", done.stdout)

    @unittest.skipIf(pathlib.Path("/dev/nvidiactl").exists(), "there is a GPU")
    def test_cuda_without_a_gpu_is_said_by_the_engine_and_exits_106(self):
        hidden = dict(PLAIN_ENVIRONMENT, CUDA_VISIBLE_DEVICES="")  # where there is a GPU after all
        done = run("run", "scenarios/gpu_load.yaml", "-e", "BACKEND=cuda", "--out-dir", str(self.out), environment=hidden)
        self.assertEqual(done.returncode, 106, done.stdout)
        self.assertIn("the engine ended with exit code 1 before it was ready; the end of its log:", done.stdout)
        said = [line for line in done.stdout.splitlines() if line.startswith("sluice-engine: ")]
        self.assertTrue(any("CUDA" in line for line in said), done.stdout)
        self.assertFalse((self.out / "report.html").exists(), "there was no run to report")

    def test_a_server_that_only_errors_fails_the_run_and_counts_by_cause(self):
        class Refuse(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self):
                models = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(models)))
                self.end_headers()
                self.wfile.write(models)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(lambda: (server.shutdown(), server.server_close()))
        done = run("run", "scenarios/quickstart.yaml", "-e", f"BASE_URL=http://127.0.0.1:{server.server_port}", "--out-dir", str(self.out),
                   "--time-scale", "0.05")
        self.assertEqual(done.returncode, 99, done.stdout)
        self.assertIn("503", json.dumps(self.summary()["failures"]))


if __name__ == "__main__":
    SLUICE = sys.argv.pop(1)
    unittest.main(argv=[sys.argv[0], *(f"EndToEnd.{name}" for name in sys.argv[1:])], verbosity=2)
