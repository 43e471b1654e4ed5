"""weft-topo from outside: its output, its files, its exit status, and one line for every wrong use."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

TOOL = os.path.join(os.environ["WEFT_TEST_BIN"], "weft-topo")

# Two switches with two GPUs and one EFA device each, in NCCL's format.
NCCL = """<system version="1">
  <cpu numaid="0">
    <pci busid="ffff:ff:01.0" class="0x060400">
      <pci busid="0000:10:1c.0" class="0x030200" vendor="0x10de" device="0x20b0"/>
      <pci busid="0000:10:1d.0" class="0x030200" vendor="0x10de" device="0x20b0"/>
      <pci busid="0000:10:1b.0" class="0x020000" vendor="0x1d0f" device="0xefa0"/>
    </pci>
    <pci busid="ffff:ff:02.0" class="0x060400">
      <pci busid="0000:20:1c.0" class="0x030200" vendor="0x10de" device="0x20b0"/>
      <pci busid="0000:20:1d.0" class="0x030200" vendor="0x10de" device="0x20b0"/>
      <pci busid="0000:20:1b.0" class="0x020000" vendor="0x1d0f" device="0xefa0"/>
    </pci>
  </cpu>
</system>
"""

TREE = """machine
  NUMA node 0
    bridge ffff:ff:01.0
      GPU 0000:10:1c.0  10de:20b0  rank 0
      GPU 0000:10:1d.0  10de:20b0  rank 1
      EFA 0000:10:1b.0  1d0f:efa0  rail 0
    bridge ffff:ff:02.0
      GPU 0000:20:1c.0  10de:20b0  rank 2
      GPU 0000:20:1d.0  10de:20b0  rank 3
      EFA 0000:20:1b.0  1d0f:efa0  rail 1

rank 0: GPU 0000:10:1c.0, rail 0
rank 1: GPU 0000:10:1d.0, rail 0
rank 2: GPU 0000:20:1c.0, rail 1
rank 3: GPU 0000:20:1d.0, rail 1

as a cluster: hosts=1 ranks=4 rails=2
"""


def run(*arguments):
    return subprocess.run([TOOL, *arguments], text=True, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60)


class Tool(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.nccl = self.path("n.xml")
        with open(self.nccl, "w", encoding="utf-8") as file:
            file.write(NCCL)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def good(self, *arguments):
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def bad(self, *arguments):
        """The one line of a refusal, without the tool's name."""
        done = run(*arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("weft-topo: "), done.stderr)
        return done.stderr[len("weft-topo: "):-1]

    def test_tree(self):
        self.assertEqual(self.good("--xml", self.nccl), TREE)
        text = self.good("--xml", self.nccl, "--ranks", "8")
        self.assertIn("10:1c.0  10de:20b0  ranks 0, 1\n", text)
        self.assertIn("rank 7: GPU 0000:20:1d.0, rail 1\n", text)

    def test_json(self):
        found = json.loads(self.good("--xml", self.nccl, "--json"))
        self.assertEqual([rank["rails"] for rank in found["ranks"]], [[0], [0], [1], [1]])
        self.assertEqual(found["nics"][0]["kind"], "efa")
        self.assertIsNone(found["nics"][0]["line_bytes_per_s"])
        self.assertEqual(found["cluster"], "hosts=1 ranks=4 rails=2")

    def test_svg(self):
        picture = self.path("p.svg")
        self.good("--xml", self.nccl, "--svg", picture)
        document = xml.dom.minidom.parse(picture)
        self.assertEqual(len(document.getElementsByTagName("path")), 4)
        texts = [node.firstChild.data for node in document.getElementsByTagName("text")]
        self.assertIn("rail 1 (EFA)", texts)
        self.assertIn("GPU 3: rank 3", texts)

    def test_svg_boxes(self):
        """Boxes stand beside or inside each other and inside the picture."""
        picture = self.path("p.svg")
        self.good("--xml", self.nccl, "--ranks", "64", "--svg", picture)
        document = xml.dom.minidom.parse(picture)
        width, height = (int(document.documentElement.getAttribute(a)) for a in ("width", "height"))
        boxes = [tuple(int(rect.getAttribute(a)) for a in ("x", "y", "width", "height"))
                 for rect in document.getElementsByTagName("rect")[1:]]
        self.assertEqual(len(boxes), 10)
        for i, (x, y, w, h) in enumerate(boxes):
            self.assertTrue(0 <= x and 0 <= y and x + w <= width and y + h <= height)
            for x2, y2, w2, h2 in boxes[i + 1:]:
                apart = x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
                inside = x < x2 and y < y2 and x2 + w2 < x + w and y2 + h2 < y + h
                self.assertTrue(apart or inside)

    def test_this_machine(self):
        self.assertTrue(self.good().startswith("machine\n"))
        found = json.loads(self.good("--json"))
        self.assertEqual(found["places"][0]["kind"], "machine")
        written = self.path("h.xml")
        self.good("--xml-out", written)
        again = json.loads(self.good("--xml", written, "--json"))
        self.assertEqual(again["gpus"], found["gpus"])

    def test_profiles(self):
        text = self.good("--profile", "p5.48xlarge", "--hosts", "64")
        self.assertTrue(text.startswith("hosts=64 ranks=8 rails=32 nic=12.5GB/s "), text)
        found = json.loads(self.good("--profile", "p4d.24xlarge", "--json"))
        self.assertEqual((found["hosts"], found["ranks"], len(found["hash"])), (1, 8, 64))
        self.assertIn("p6-b300.48xlarge", self.good("--profiles"))

    def test_difference(self):
        done = run("--xml", self.nccl, "--diff", "p4d.24xlarge")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r"GPUs +expected 8 +found 4 +DIFFERENT")
        self.assertRegex(done.stdout, r"EFA device +expected 1d0f:efa0 +found 1d0f:efa0 +same")

    def test_same(self):
        # The eight GPUs and four NICs of a p4d.
        one, two = NCCL.split("<cpu numaid=\"0\">")[1].split("</cpu>")[0], '<cpu numaid="1">'
        other = one.replace(":10:", ":90:").replace(":20:", ":a0:").replace("ff:0", "ff:1")
        whole = NCCL.replace("</system>", two + other + "</cpu></system>")
        with open(self.path("p4d.xml"), "w", encoding="utf-8") as file:
            file.write(whole)
        text = self.good("--xml", self.path("p4d.xml"), "--diff", "p4d.24xlarge")
        self.assertNotIn("DIFFERENT", text)

    def test_help(self):
        self.assertTrue(self.good("--help").startswith("usage: weft-topo"))

    def test_wrong_use(self):
        self.assertEqual(self.bad("--wat"), "unknown option '--wat' (weft-topo --help lists them)")
        self.assertEqual(self.bad("-x"), "unknown option '-x' (weft-topo --help lists them)")
        self.assertEqual(self.bad("--xml"), "option '--xml' needs a value")
        self.assertEqual(self.bad("--json=1"), "option '--json=1' takes no value")
        self.assertEqual(self.bad("--xml", ""), "--xml needs a value that is not empty")
        self.assertEqual(self.bad("f.xml"),
                         "'f.xml' is not an option; a file is given with --xml FILE")
        self.assertEqual(self.bad("--ranks", "0"),
                         "--ranks '0': expected a whole number from 1 to 1024")
        self.assertEqual(self.bad("--hosts", "4"), "--hosts needs --profile")
        self.assertIn("only --hosts and --json", self.bad("--profile", "p5", "--xml", "x"))
        self.assertIn("do not go with it", self.bad("--diff", "p5", "--json"))
        self.assertEqual(self.bad("--profile", "p4d.24xl"),
                         "profile 'p4d.24xl' is unknown; the nearest one is p4d.24xlarge")
        self.assertIn("nearest one is p4d.24xlarge", self.bad("--diff", "p4d.24xl"))
        self.assertIn("is not known", self.bad("--profile", "p6e-gb200.36xlarge"))

    def test_wrong_files(self):
        self.assertIn("No such file", self.bad("--xml", self.path("none.xml")))
        broken = self.path("broken.xml")
        with open(broken, "w", encoding="utf-8") as file:
            file.write(NCCL.replace("</cpu>", ""))
        self.assertEqual(self.bad("--xml", broken),
                         broken + ":14: </system> ends <cpu> of line 2")
        self.assertIn("cannot write /nowhere/p.svg: No such file",
                      self.bad("--xml", self.nccl, "--svg", "/nowhere/p.svg"))
        self.assertIn("hwloc's topology starts with <topology>",
                      self.bad("--xml", self.nccl, "--xml-out", self.path("out.xml")))
        self.assertFalse(os.path.exists(self.path("out.xml")))
        full = run("--xml", self.nccl, "--svg", "/dev/full")
        self.assertEqual(full.returncode, 2)
        self.assertIn("cannot write /dev/full: No space left", full.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
