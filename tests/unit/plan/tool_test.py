"""weft-plan from outside: every action, its JSON, its pictures, and one line for every wrong use."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

TOOL = os.path.join(os.environ["WEFT_TEST_BIN"], "weft-plan")
P5 = ["--topology", "p5.48xlarge"]
SMALL = ["--topology", "hosts=2 ranks=4 rails=4 nic=12.5GB/s nvlink=450GB/s alpha=20us"]
LEVELS = ["--coll", "all_gather", "--bytes", "64K", "--algo", "hier:mesh", *SMALL]

NCCL = """<system version="1">
  <cpu numaid="0">
    <pci busid="0000:10:1c.0" class="0x030200" vendor="0x10de" device="0x20b0"/>
    <pci busid="0000:10:1d.0" class="0x030200" vendor="0x10de" device="0x20b0"/>
    <pci busid="0000:10:1b.0" class="0x020000" vendor="0x1d0f" device="0xefa0"/>
  </cpu>
</system>
"""

# One hop, two ranks: right; and the same without rank 1's put.
GOOD = """weft-plan 1
shape coll=all_gather algo=direct ranks=2 root=0 chunks=1 in=1 out=2 slots=2 loads=0
rank 0
lane scratch=0
grant out1 to 1 chunk 0
put <- in0 to 1 chunk 0
copy out0 <- in0 chunk 0
wait out1 from 1 chunk 0
rank 1
lane scratch=0
grant out0 to 0 chunk 0
put <- in0 to 0 chunk 0
copy out1 <- in0 chunk 0
wait out0 from 0 chunk 0
"""


def run(*arguments):
    return subprocess.run([TOOL, *arguments], text=True, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=100)


class Tool(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def good(self, *arguments):
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def data(self, *arguments):
        return json.loads(self.good(*arguments, "--json"))

    def bad(self, *arguments):
        """The one line of a refusal, without the tool's name."""
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("weft-plan: "), done.stderr)
        return done.stderr[len("weft-plan: "):-1]

    def test_print(self):
        text = self.good("print", "--coll", "all_gather", "--ranks", "2", "--algo", "direct")
        self.assertTrue(text.startswith("# all_gather of 8K on 2 ranks: direct because"), text)
        self.assertIn("weft-plan 1\nshape coll=all_gather", text)
        again = self.file("again.plan", text)
        self.assertEqual(self.good("prove", "--file", again), "proved: 2 ranks, 2 of them run, 8 steps\n")
        part = self.data("print", *LEVELS, "--rank", "5")
        self.assertEqual([rank["rank"] for rank in part["ranks"]], [5])
        self.assertEqual(part["algorithm"], "hier:mesh")
        self.assertIn("put <- in0 to 1 chunk 0", part["ranks"][0]["lanes"][0]["steps"])

    def test_prove(self):
        self.assertIn("proved: 8 ranks", self.good("prove", *LEVELS))
        self.assertTrue(self.data("prove", "--hosts", "0-3/4-7", "--coll", "all_gather")["proved"])
        self.assertIn("proved: 8 ranks", self.good("prove", "--ranks-of-hosts", "0-3/4-7"))

    def test_bytes_are_those_of_nccl_tests(self):
        for coll, whole in [("all_gather", True), ("reduce_scatter", True), ("alltoall", True),
                            ("all_reduce", False), ("broadcast", False)]:
            found = self.data("print", "--coll", coll, "--bytes", "1M", "--ranks", "4", "--rank", "0")
            self.assertEqual(found["bytes"], 1 << 20)
            rest = self.data("print", "--coll", coll, "--count", "1000", "--ranks", "4", "--rank", "0")
            self.assertEqual(rest["bytes"], 4000 * (4 if whole else 1))

    def test_price(self):
        found = self.data("price", *LEVELS)
        self.assertEqual(found["method"], "closed form")
        simulated = self.data("simulate", *LEVELS)
        self.assertAlmostEqual(found["time_us"] / simulated["time_us"], 1, delta=0.6)
        self.assertEqual(found["bound_us"], round(simulated["bound_us"], 3))
        self.assertIn("post 0.4 us", found["assumed"])
        self.assertIn("latency inside hosts 2 us", self.good("price", *LEVELS))

    def test_counts(self):
        found = self.data("simulate", *LEVELS)
        block = (64 << 10) // 8
        # Every rank sends its block over its rail, and two blocks to each of three neighbours.
        self.assertEqual(len(found["ranks"]), 8)
        for rank in found["ranks"]:
            self.assertEqual(rank["between_hosts"],
                             {"payload_bytes": block, "data_messages": 1, "control_messages": 0})
            self.assertEqual(rank["inside"],
                             {"payload_bytes": 6 * block, "data_messages": 6, "control_messages": 0})
        self.assertEqual([host["between_hosts"]["payload_bytes"] for host in found["hosts"]], [4 * block] * 2)
        self.assertEqual(found["bytes_per_nic"], block)
        # Granted, each of them is allowed by a message first.
        large = self.data("simulate", *LEVELS, "--bytes", "1M", "--strands", "1")["ranks"][7]
        self.assertEqual(large["between_hosts"]["control_messages"], 1)
        self.assertEqual(large["inside"]["control_messages"], 6)
        # The tile is chosen for the strands asked for, and the reason tells their price.
        cut = self.data("simulate", *LEVELS, "--bytes", "1M", "--strands", "2")
        self.assertEqual((cut["strands"], cut["tile_bytes"]), (2, 64 << 10))

    def test_simulate(self):
        text = self.good("simulate", *LEVELS)
        self.assertIn("critical path: ", text)
        self.assertIn("bound of the wires", text)
        self.assertIn("assumed: post 0.4 us", text)
        slow = self.data("simulate", *LEVELS, "--post", "5us")
        self.assertGreater(slow["time_us"], self.data("simulate", *LEVELS)["time_us"] + 4)

    def test_compare(self):
        rows = self.data("compare", "--coll", "all_reduce", "--bytes", "32M", *P5, "--hosts", "4")
        by_name = {row["algorithm"]: row for row in rows}
        for name in ("hier:mesh", "hier:ring", "hier:halving", "hier:tree", "ring", "tree", "halving", "mesh",
                     "direct", "nccl-ring", "nccl-tree"):
            self.assertIn(name, by_name)
        times = [row["time_us"] for row in rows]
        self.assertEqual(times, sorted(times))
        self.assertEqual(rows[0]["algorithm"][:5], "hier:")
        # Twice 3/4 of the vector over 32 NICs.
        self.assertGreaterEqual(by_name["hier:mesh"]["bytes_per_nic"], 2 * 3 * (32 << 20) // 4 // 32)
        self.assertTrue(all(row["how"].startswith("simulated") == row["simulated"] for row in rows))
        text = self.good("compare", "--coll", "all_reduce", "--bytes", "32M", *SMALL)
        self.assertRegex(text, r"\n\* hier:\w+ +\d+\.\d+ +1\.00 ")
        self.assertRegex(text, r"\n\* hier:\w+ is the fastest")
        self.assertIn("NCCL's best, nccl-", text)

    def test_thousands_of_ranks(self):
        rows = self.data("compare", "--coll", "all_gather", "--bytes", "32M", *P5, "--hosts", "512")
        times = {row["algorithm"]: row["time_us"] for row in rows}
        self.assertTrue(all(row["simulated"] for row in rows))
        self.assertGreater(times["nccl-ring"] / times["hier:mesh"], 100)

    def test_svg(self):
        text = self.good("svg", *LEVELS)
        document = xml.dom.minidom.parseString(text)
        drawn = [(line.getAttribute("id"), line.firstChild.firstChild.data)
                 for line in document.getElementsByTagName("line") if line.getAttribute("class") == "data"]
        # A block over each rail, six inside to each rank; each once.
        self.assertEqual(len(drawn), 8 * 7)
        self.assertEqual(len({number for number, _ in drawn}), len(drawn))
        ends = [" ".join(title.split()[1:4]) for _, title in drawn]
        self.assertEqual(sum(end == "0 to 4," for end in ends), 1)
        self.assertEqual(sum(end == "5 to 6," for end in ends), 2)
        labels = [node.firstChild.data for node in document.getElementsByTagName("text")]
        self.assertIn("rank 7", labels)
        self.assertIn("host 1", labels)
        # Inside the picture, and no message before it was sent.
        width = float(document.documentElement.getAttribute("width"))
        height = float(document.documentElement.getAttribute("height"))
        for line in document.getElementsByTagName("line"):
            self.assertLessEqual(float(line.getAttribute("x1")), float(line.getAttribute("x2")))
            self.assertLessEqual(float(line.getAttribute("x2")), width)
            self.assertLessEqual(float(line.getAttribute("y2")), height)
        steps = self.data("svg", *LEVELS)["steps"]
        self.assertEqual(sum("heard_us" in step and step["bytes"] > 0 for step in steps), 8 * 7)
        path = os.path.join(self.folder.name, "p.svg")
        self.assertEqual(self.good("svg", *LEVELS, "--out", path), "")
        xml.dom.minidom.parse(path)

    def test_trace(self):
        events = self.data("trace", *LEVELS)["traceEvents"]
        self.assertTrue(any(event["name"] == "put to 1" for event in events))
        self.assertEqual({event["pid"] for event in events}, set(range(4)))  # folded: host 0's

    def test_topologies(self):
        path = self.file("host.xml", NCCL)
        found = self.data("simulate", "--coll", "all_gather", "--bytes", "1M", "--topology", path, "--hosts", "3")
        self.assertEqual(len(found["ranks"]), 6)
        self.assertIn("rail rate 12.5 GB/s", found["assumed"])
        line = self.data("simulate", "--topology", "hosts=1 ranks=2 rails=2 nic=50GB/s", "--hosts", "5")
        self.assertEqual(len(line["hosts"]), 5)
        self.assertNotIn("rail rate 12.5 GB/s", line["assumed"])
        net = self.data("simulate", "--ranks", "3", "--net")
        self.assertEqual(len(net["hosts"]), 3)

    def test_files(self):
        path = self.file("good.plan", GOOD)
        self.assertEqual(self.good("prove", "--file", path), "proved: 2 ranks, 2 of them run, 8 steps\n")
        found = self.data("simulate", "--file", path, "--bytes", "64K")
        self.assertEqual(found["ranks"][0]["inside"]["payload_bytes"], 32 << 10)
        two = self.data("simulate", "--file", path, "--topology", "hosts=2 ranks=1 rails=1")
        self.assertEqual(two["ranks"][1]["between_hosts"]["data_messages"], 1)
        xml.dom.minidom.parseString(self.good("svg", "--file", path))
        self.assertIn("traceEvents", self.data("trace", "--file", path, "--eager"))
        self.assertIn("put <- in0 to 1 chunk 0", self.good("print", "--file", path))

    def test_wrong_files(self):
        self.assertIn("No such file", self.bad("print", "--file", "/nowhere/a.plan"))
        broken = self.file("broken.plan", GOOD.replace("copy out1", "copy tea"))
        self.assertTrue(self.bad("print", "--file", broken).startswith(broken + ": plan text line 13: "))
        refused = self.file("refused.plan", GOOD.replace("copy out1 <- in0 chunk 0\n", ""))
        for action in ("simulate", "svg", "trace"):
            self.assertIn("the plan is refused: ", self.bad(action, "--file", refused))
        self.assertIn("plan refused: ", self.bad("prove", "--file", refused))
        path = self.file("good.plan", GOOD)
        self.assertEqual(self.bad("simulate", "--file", path, "--topology", "hosts=2 ranks=2 rails=2"),
                         f"{path} is a plan of 2 ranks, the hosts have 4: give a topology of as many, or "
                         "--ranks-of-hosts")
        self.assertEqual(self.bad("print", "--file", path, "--coll", "all_gather"),
                         "--coll does not go with --file: the file says what the plan is")
        self.assertIn("--file: compare is about algorithms", self.bad("compare", "--file", path))
        host = self.file("host.xml", NCCL.replace("</cpu>", ""))
        self.assertEqual(self.bad("simulate", "--topology", host), host + ":7: </system> ends <cpu> of line 2")
        self.assertIn("cannot write /nowhere/p.svg", self.bad("svg", *LEVELS, "--out", "/nowhere/p.svg"))

    def test_wrong_use(self):
        self.assertIn("no action given: expected one of print, prove, price", self.bad())
        self.assertIn("'brew' is no action", self.bad("brew"))
        self.assertEqual(self.bad("print", "--wat"), "unknown option '--wat' (weft-plan --help lists them)")
        self.assertEqual(self.bad("print", "--coll"), "option '--coll' needs a value")
        self.assertEqual(self.bad("print", "x.plan"), "'x.plan' is not an option")
        self.assertIn("--coll 'tea': known are all_reduce", self.bad("print", "--coll", "tea"))
        self.assertIn("--bytes '32X': expected bytes such as", self.bad("print", "--bytes", "32X"))
        self.assertIn("both say how much", self.bad("print", "--bytes", "1M", "--count", "3"))
        self.assertIn("less than one element of 4 bytes for each of 8", self.bad("print", *LEVELS, "--bytes", "16"))
        self.assertIn("--type 'tea': known are int8", self.bad("print", "--type", "tea"))
        self.assertIn("tea", self.bad("compare", "--algo", "tea", *SMALL))
        self.assertIn("--root 8: there are 8 ranks", self.bad("print", *SMALL, "--root", "8"))
        self.assertIn("--rank 8: there are 8 ranks", self.bad("print", *LEVELS, "--rank", "8"))
        self.assertIn("--post '1': expected a time", self.bad("simulate", "--post", "1"))
        self.assertIn("--eager needs --file", self.bad("simulate", "--eager"))
        self.assertIn("--out goes with svg and trace", self.bad("print", "--out", "x"))
        self.assertIn("a picture of 512 ranks", self.bad("svg", *P5, "--hosts", "64"))
        self.assertIn("simulate prices any plan", self.bad("price", "--coll", "alltoall", "--bytes", "8M", *SMALL))

    def test_wrong_topologies(self):
        self.assertIn("the nearest one is p4d.24xlarge; or give an XML file",
                      self.bad("print", "--topology", "p4d.24xl"))
        self.assertEqual(self.bad("print", *SMALL, "--hosts", "3"),
                         "--hosts 3: the topology says hosts=2; --hosts multiplies a topology of one host")
        self.assertEqual(self.bad("print", *SMALL, "--ranks", "9"), "--ranks 9: the hosts have 8 ranks in all")
        self.assertIn("needs --topology", self.bad("print", "--hosts", "3"))
        self.assertIn("no rails to join them", self.bad("print", "--topology", "hosts=1 ranks=2", "--hosts", "2"))
        self.assertIn("--topology: ", self.bad("print", "--topology", "hosts=2 tea=3"))
        self.assertIn("do not go", self.bad("print", "--hosts", "0-1/2-3", *SMALL))
        self.assertIn("all alike", self.bad("simulate", "--topology", "hosts=1 ranks=2 rails=2 + hosts=1 ranks=1 rails=2"))
        self.assertIn("--ranks-of-hosts: ", self.bad("print", "--ranks-of-hosts", "0-3/3-7"))

    def test_help(self):
        text = self.good("--help")
        self.assertTrue(text.startswith("usage: weft-plan ACTION"))
        self.assertEqual(self.good("compare", "--help"), text)
        for action in ("print", "prove", "price", "simulate", "compare", "svg", "trace"):
            self.assertIn(f"\n  {action} ", text)


if __name__ == "__main__":
    sys.exit(unittest.main())
