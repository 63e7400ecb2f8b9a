# SPDX-License-Identifier: GPL-2.0-or-later
"""What not every kernel has. A test that needs it says so and is skipped, visibly; under a kernel that
is known to have everything (KNOCKGW_TEST_WHOLE_KERNEL=1) that is a failure."""
import os
import platform
import re

import pytest

from lab import BUILD

# Statements that a kernel without the module refuses with this error.
MISSING = "No such file or directory"
QUEUE = re.compile(r"^\t+queue(?: flags (bypass))?(?: num)? to (\d+)(?:-(\d+))?$")


# The Linux of that release.
DEBIAN_12 = (6, 1)


def version():
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


def lacks(feature, since=(0, 0)):
    """since: older kernels of Debian are not expected to have it."""
    message = f"this kernel has no {feature}"
    if os.environ.get("KNOCKGW_TEST_WHOLE_KERNEL") == "1" and version() >= since:
        pytest.fail(message)
    pytest.skip(message)


def has_statement(namespace, statement):
    """Whether the kernel knows an nftables statement; an error of another kind is one of the test."""
    flowtable = "flowtable fast { hook ingress priority filter; }" if "@fast" in statement else ""
    trial = namespace.run(["nft", "-c", "-f", "-"], check=False, input=f"""table inet trial {{
        {flowtable}
        chain trial {{ type filter hook forward priority filter; {statement}; }}; }}""")
    assert trial.returncode == 0 or MISSING in trial.stderr or "not supported" in trial.stderr, \
        trial.stderr
    return trial.returncode == 0


def queue_chains(text):
    """The chains of a ruleset that hold a queue statement, as arguments for xt_queue."""
    arguments, chain = [], None
    for line in text.splitlines():
        if words := re.match(r"\s*chain (\S+) {", line):
            chain = words.group(1)
        elif queue := QUEUE.match(line):
            bypass, first, last = queue.groups()
            count = int(last or first) - int(first) + 1
            arguments += [chain, first, str(count), bypass or "drop"]
    return arguments


def load(namespace, text, xtables):
    """Loads a ruleset as it is, or with the xtables target NFQUEUE for its queue statements."""
    if not xtables:
        namespace.nft(text)
        return
    for name, value in re.findall(r"^define (\w+) = ([\d-]+)$", text, flags=re.M):
        text = re.sub(rf"(\tqueue .*)\${name}$", rf"\g<1>{value}", text, flags=re.M)
    chains = queue_chains(text)
    rest = "".join(line + "\n" for line in text.splitlines() if not QUEUE.match(line))
    assert chains and not re.search(r"\bqueue\b.*\bto \d", rest)
    namespace.nft(rest)
    # In the inet family the kernel does not load it by itself.
    namespace.run("modprobe -q xt_NFQUEUE", check=False)
    namespace.run([BUILD / "tests/system/xt_queue", *chains])
