#!/usr/bin/env python3
"""weft-perf from outside: the table as scripts parse it, the JSON, checking that can fail, bad flags."""
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

PERF, RUN = sys.argv[1:3]
COLLECTIVES = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "alltoall", "gather",
               "scatter", "sendrecv"]
NO_IN_PLACE = ["alltoall", "sendrecv"]
# Names that say a launcher is at work; the tests start from none.
LAUNCHER = ("WEFT_", "OMPI_", "PMI_", "SLURM_", "NCCL_COMM_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK")
ENV = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER)}


def start(command, **extra):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                          env={**ENV, **extra})


def perf(*words, **extra):
    return start([PERF, *words], **extra)


def rows(text):
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


class Table(unittest.TestCase):
    def test_thirteen_fields_for_every_collective(self):
        for name in COLLECTIVES:
            with self.subTest(name):
                done = perf(name, "-t", "2", "-b", "64", "-e", "1K", "-f", "4", "-n", "2")
                self.assertEqual(done.returncode, 0, done.stderr)
                data = rows(done.stdout)
                self.assertEqual([row[0] for row in data], ["64", "256", "1024"])
                for row in data:
                    self.assertEqual(len(row), 13)
                    self.assertEqual(row[2], "float")
                    self.assertEqual(row[8], "0")
                    self.assertEqual(row[9:] == ["N/A"] * 4, name in NO_IN_PLACE)
                    self.assertEqual(row[3], "sum" if "reduce" in name else "none")

    def test_header_and_footer(self):
        text = perf("all_reduce", "-t", "2", "-b", "8", "-e", "8", "-n", "1").stdout
        self.assertRegex(text, r"\A# weft-perf nccl-headers=\d+ nccl-library=\d+\n")
        self.assertIn("# Collective test starting: all_reduce\n", text)
        self.assertRegex(text, r"#\s+size\s+count\s+type\s+redop\s+root\s+time\s+algbw\s+busbw\s+#wrong\s+time")
        self.assertIn("# Out of bounds values : 0 OK\n", text)
        self.assertRegex(text, r"# Avg bus bandwidth    : [0-9.e+-]+\n")
        self.assertTrue(text.endswith("# Collective test concluded: all_reduce\n"))

    def test_unchecked(self):
        row = rows(perf("all_reduce", "-t", "2", "-b", "8", "-e", "8", "-n", "1", "-c", "0").stdout)[0]
        self.assertEqual((len(row), row[8], row[12]), (13, "N/A", "N/A"))

    def test_every_type_and_operation(self):
        done = perf("all_reduce", "-t", "3", "-b", "1000", "-e", "1000", "-n", "1", "-d", "all", "-o", "all")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(len({(row[2], row[3]) for row in rows(done.stdout)}), 12 * 6)

    def test_every_root(self):
        done = perf("gather", "-t", "3", "-b", "999", "-e", "999", "-n", "1", "-r", "all")
        self.assertEqual([row[4] for row in rows(done.stdout)], ["0", "1", "2"])


class Registered(unittest.TestCase):
    """On host memory, where there are no windows, and that is said."""

    def text(self, *words, **extra):
        done = start([RUN, "-n", "2", "--", PERF, "all_gather", "-b", "1K", "-e", "1M", "-f", "1024", "-n", "2", *words], **extra)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual([row[8] for row in rows(done.stdout)], ["0", "0"])
        return done.stdout

    def test_the_header_says_what_came_about(self):
        self.assertIn("\n# registered: yes\n", self.text("-R", "1"))
        self.assertIn("\n# registered: yes\n", self.text("-R", "1", "--mem", "malloc"))
        self.assertIn("\n# registered: no\n", self.text("-R", "1", NCCL_LOCAL_REGISTER="0"))
        self.assertIn("\n# windows: no\n", self.text("-R", "2"))
        for text in (self.text(), self.text("-R", "0")):
            self.assertNotIn("registered", text)
            self.assertNotIn("windows", text)


class Json(unittest.TestCase):
    def test_schema(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.json")
            done = start([RUN, "-n", "2", "--", PERF, "all_gather", "-b", "8", "-e", "64", "-f", "8", "-n", "2",
                          "--json", path])
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as file:
                data = json.load(file)
        self.assertEqual(list(data), ["op", "ranks", "hosts", "rows"])
        self.assertEqual((data["op"], data["ranks"], data["hosts"]), ("all_gather", 2, 1))
        self.assertEqual([row["bytes"] for row in data["rows"]], [8, 64])
        for row in data["rows"]:
            self.assertEqual(list(row), ["bytes", "count", "type", "redop", "time_us", "algbw_gbs", "busbw_gbs",
                                         "wrong"])
            self.assertEqual((row["type"], row["redop"], row["wrong"]), ("float", "none", 0))
            self.assertGreater(row["time_us"], 0)

    def test_a_file_that_cannot_be_written(self):
        done = perf("all_reduce", "-t", "1", "-b", "8", "-e", "8", "--json", "/nowhere/rows.json")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nowhere/rows.json", done.stderr)


class Checking(unittest.TestCase):
    def test_one_flipped_bit_is_found(self):
        for name in COLLECTIVES:
            with self.subTest(name):
                done = perf(name, "-t", "2", "-b", "64", "-e", "64", "-n", "1", WEFT_PERF_CORRUPT="1")
                self.assertEqual(done.returncode, 1)
                self.assertIn("FAILED", done.stdout)
                self.assertNotEqual(rows(done.stdout)[0][8], "0")

    def test_the_launcher_hears_of_it(self):
        done = start([RUN, "-n", "2", "--", PERF, "all_reduce", "-b", "64", "-e", "64", "-n", "1"],
                     WEFT_PERF_CORRUPT="1")
        self.assertNotEqual(done.returncode, 0)


class AlgorithmSetting(unittest.TestCase):
    def run_with(self, setting):
        return start([RUN, "-n", "2", "--", PERF, "all_reduce", "-b", "64", "-e", "64", "-n", "1"], NCCL_ALGO=setting)

    def test_lists_written_for_nccl_run(self):
        for setting in ("Ring,Tree", "^Tree", "allreduce:tree,ring;broadcast:ring"):
            done = self.run_with(setting)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertNotIn("WARN", done.stdout + done.stderr)

    def test_a_list_weft_has_nothing_of_is_told_once_per_process(self):
        done = self.run_with("NVLS")
        text = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, text)
        self.assertEqual(text.count('NCCL_ALGO: "NVLS" names nothing Weft has'), 2, text)

    def test_a_name_nobody_has_is_refused(self):
        done = self.run_with("teapot")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('"teapot" is no algorithm', done.stdout + done.stderr)


# What users' scripts look for in NCCL's log (formats of NCCL 2.28.9, src/init.cc and src/enqueue.cc).
class Log(unittest.TestCase):
    WHO = r"[^\s:.]+:\d+:\d+ \[\d+\] NCCL INFO "
    COMMAND = [RUN, "-n", "2", "--", PERF, "all_reduce", "-b", "64", "-e", "64", "-n", "1"]

    def logs(self, **env):
        """The output, and the text of every log file by its name."""
        with tempfile.TemporaryDirectory() as folder:
            done = start(self.COMMAND, NCCL_DEBUG_FILE=os.path.join(folder, "log.%h.%p"), **env)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            texts = {}
            for name in os.listdir(folder):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    texts[name] = file.read()
        return done.stdout, texts

    def test_a_file_per_process_with_the_lines_that_are_parsed(self):
        out, texts = self.logs(NCCL_DEBUG="info", NCCL_DEBUG_SUBSYS="init,COLL")
        host = os.uname().nodename.split(".")[0]
        self.assertEqual(len(texts), 2)
        self.assertNotIn("NCCL INFO", out)
        versions = 0
        for name, text in texts.items():
            self.assertRegex(name, rf"\Alog\.{re.escape(host)}\.\d+\Z")
            versions += len(re.findall(rf"^{self.WHO}NCCL version \d+\.\d+\.\d+\+\S+$", text, re.M))
            self.assertRegex(text, rf"(?m)^{self.WHO}comm 0x[0-9a-f]+ rank [01] nranks 2 cudaDev [01] nvmlDev [01] "
                                   r"busId [0-9a-f]+ commId 0x[0-9a-f]+ - Init COMPLETE$")
            self.assertRegex(text, rf"(?m)^{self.WHO}AllReduce: opCount [0-9a-f]+ sendbuff 0x[0-9a-f]+ recvbuff "
                                   r"0x[0-9a-f]+ count 16 datatype 7 op 0 root 0 comm 0x[0-9a-f]+ \[nranks=2\] "
                                   r"stream (0x[0-9a-f]+|\(nil\))$")
        self.assertEqual(versions, 1)

    def test_all_but_a_subsystem(self):
        _, texts = self.logs(NCCL_DEBUG="INFO", NCCL_DEBUG_SUBSYS="^COLL")
        text = "".join(texts.values())
        self.assertIn("Init COMPLETE", text)
        self.assertNotIn("opCount", text)

    def test_the_version_alone_stays_on_the_terminal(self):
        out, texts = self.logs(NCCL_DEBUG="VERSION")
        self.assertEqual(texts, {})
        self.assertEqual(len(re.findall(r"^(?:\[\d+\] )?NCCL version \d+\.\d+\.\d+\+\S+$", out, re.M)), 1, out)


class BadInput(unittest.TestCase):
    def refused(self, done, text):
        self.assertEqual(done.returncode, 2)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(text, done.stderr)

    def test_one_line_each(self):
        self.refused(perf(), "name a collective")
        self.refused(perf("all_shuffle"), "all_shuffle")
        self.refused(perf("all_reduce", "--fast"), "--fast")
        self.refused(perf("all_reduce", "-b", "8x"), "8x")
        self.refused(perf("all_reduce", "-b", "8M", "-e", "8K"), "-b")
        self.refused(perf("all_reduce", "-R", "3"), "'3' is not a value for option -R")
        self.refused(perf("all_reduce", "-R", "2", "--mem", "malloc"), "ncclMemAlloc")
        self.refused(perf("broadcast", "-t", "2", "-r", "2"), "root 2")

    def test_a_launcher_without_a_meeting_point(self):
        done = perf("all_reduce", OMPI_COMM_WORLD_RANK="0", OMPI_COMM_WORLD_SIZE="4")
        self.refused(done, "NCCL_COMM_ID")
        self.assertIn("weft-run -n 4", done.stderr)

    def test_threads_are_for_a_process_alone(self):
        done = perf("all_reduce", "-t", "2", WEFT_RANK="0", WEFT_RANK_COUNT="2", NCCL_COMM_ID="127.0.0.1:1")
        self.refused(done, "-t 2")
        self.assertIn("weft-run", done.stderr)

    def test_help(self):
        done = perf("-h")
        self.assertEqual(done.returncode, 0)
        for name in COLLECTIVES:
            self.assertIn(name, done.stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
