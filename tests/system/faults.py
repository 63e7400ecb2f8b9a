# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of a daemon that fail as they hardly ever do: faults.c stands in front of its C library."""
import mmap
import os
import pathlib
import struct
import subprocess

from lab import SOURCE

# The address sanitizer wants that place for itself.
HARDENED = pathlib.Path(os.environ.get("KNOCKGW_HARDENED_BUILDDIR", SOURCE / "build/gcc"))
PROGRAM = HARDENED / "knockgw"
# Whose allocations fail: libnftables'; of libconfig, libseccomp, and the C library while it
# looks users up; all others.
REST, NFTABLES, FRAGILE = 1, 2, 3


class Faults:
    """What faults.c reads (struct faults there). Attributes are its numbers."""
    NAMES = ("owner", "countdown", "receive", "send", "clock", "transactions", "watch", "marks",
             "done")

    def __init__(self, lab):
        self.library = lab.folder / "faults.so"
        if not self.library.exists():
            subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-shared",
                            "-fPIC", "-o", self.library, SOURCE / "tests/system/faults.c"],
                           check=True)
        path = lab.file(f"faults-{len(list(lab.folder.glob('faults-*')))}", "\0" * mmap.PAGESIZE)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(self.library), "FAULTS": str(path)}

    def __getattr__(self, name):
        return struct.unpack_from("q", self.memory, 8 * self.NAMES.index(name))[0]

    def __setattr__(self, name, value):
        if name in self.NAMES:
            struct.pack_into("q", self.memory, 8 * self.NAMES.index(name), value)
        else:
            super().__setattr__(name, value)

    def place(self):
        """Where the allocation failed."""
        text = self.memory[8 * len(self.NAMES):8 * len(self.NAMES) + 256]
        return text.split(b"\0", 1)[0].decode()
