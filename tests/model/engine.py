# SPDX-License-Identifier: GPL-2.0-or-later
"""The engines, as driver.c offers them."""
import os
import pathlib
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KNOCKGW_BUILDDIR", SOURCE / "build" / "gcc"))
DRIVER = BUILD / "tests/model/driver"
# How many sequences of each kind are tried, in chunks that may run at the same time.
SEQUENCES = int(os.environ.get("KNOCKGW_MODEL_SEQUENCES", "240"))
CHUNKS = 8


def run_engine(lines):
    """All answers to all orders."""
    said = subprocess.run([DRIVER], input="\n".join(lines) + "\n", text=True, capture_output=True,
                          check=False)
    assert said.returncode == 0, said.stderr
    return said.stdout.splitlines()


class Engine:
    """For orders that depend on the answers to those before them."""
    ACTIONS = ("to-client", "to-server", "verify", "forget")

    def __init__(self, orders):
        self.process = subprocess.Popen([DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        for order in orders:
            self.process.stdin.write(order + "\n")

    def order(self, line):
        """Returns ([(action, packet or None)], [word of the answer])."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        actions = []
        while True:
            answer = self.process.stdout.readline().split()
            assert answer, f"the driver ended: {self.process.wait()}"
            if answer[0] not in self.ACTIONS:
                return actions, answer
            actions.append((answer[0], bytes.fromhex(answer[1]) if len(answer) > 1 else None))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=60) == 0 or kind is not None
