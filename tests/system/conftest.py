# SPDX-License-Identifier: GPL-2.0-or-later
"""What must be there before any system test starts; that it is not is an error, never a skip."""
import os
import shutil

import pytest

import lab as lab_module

TOOLS = ("ip", "nft", "sysctl", "ss", "nmap", "curl", "ssh", "ssh-keygen", "tcpdump", "conntrack")


def pytest_sessionstart(session):
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    missing += [path for path in ("/usr/sbin/nginx", "/usr/sbin/sshd", lab_module.KNOCKGW,
                                  lab_module.KNOCKCTL) if not os.access(path, os.X_OK)]
    if os.geteuid() != 0:
        raise pytest.UsageError("the system tests need root: they make network namespaces")
    if missing:
        raise pytest.UsageError(f"missing: {', '.join(missing)}; scripts/test installs and builds")


@pytest.fixture
def lab():
    with lab_module.Lab() as made:
        yield made
