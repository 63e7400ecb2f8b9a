# SPDX-License-Identifier: GPL-2.0-or-later
"""The package as a new operator meets it: installed, with its manuals, completions and documents.

    client ---------- branch ----------- gateway ----------- server
      192.168.1.2  .1   198.51.100.7  .1    |  10.0.0.1   10.0.0.2
                                            |  also 203.0.113.10
                               outside -----+
                                 192.0.2.66  192.0.2.1

Each host has a root of its own: this machine's, under an overlay in which dpkg has installed the
package. The commands of docs/*.md run there, one after another. Each code block says on which host,
or why it is not run.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading

import pytest

from lab import SOURCE, Lab, wait_until

PACKAGES = pathlib.Path(os.environ.get("KNOCKGW_PACKAGE_DIR", SOURCE / "build" / "package"))
MANUALS = sorted((SOURCE / "man").glob("*.[58]"))
SECURITY_LIMIT = 25  # tenths; systemd-analyze calls up to 4.9 "OK"


def package():
    found = sorted(PACKAGES.glob("knockgw_*.deb"))
    assert len(found) == 1, f"{found} in {PACKAGES}: scripts/package builds it"
    return found[0]


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=120, check=False, **options)


# A machine without systemd as its first process: what "systemctl" does for knockgw, by the lines of
# the installed unit, as its user, with its capabilities and its standard input.
SYSTEMCTL = r"""#!/bin/bash
set -eu
unit=/lib/systemd/system/knockgw.service pid=/run/knockgw.pid log=/var/log/knockgw.log
value() { sed -n "s/^$1=//p" $unit; }
alive() { [ -e $pid ] && kill -0 "$(cat $pid)" 2>/dev/null; }
as_user=(setpriv --reuid "$(value User)" --regid "$(value Group)" --init-groups --no-new-privs \
        --bounding-set=-all,+net_admin,+net_raw --inh-caps=-all,+net_admin,+net_raw \
        --ambient-caps=-all,+net_admin,+net_raw)
start() {
    ! alive || return 0
    install -d -o knockgw -g knockgw -m "$(value StateDirectoryMode)" /var/lib/knockgw
    install -d -o knockgw -g knockgw -m "$(value RuntimeDirectoryMode)" /run/knockgw
    : >$log
    input=$(value StandardInput)
    "${as_user[@]}" $(value ExecStart) <"${input#file:}" >>$log 2>&1 &
    echo $! >$pid
    until grep -q '^knockgw: ready' $log; do
        alive || { cat $log >&2; exit 1; }
        sleep 0.05
    done
}
stop() {
    ! alive || { kill "$(cat $pid)"; while alive; do sleep 0.05; done; }
    rm -f $pid
}
reload() {
    MAINPID=$(cat $pid)
    value ExecReload | while read -r line; do
        "${as_user[@]}" bash -c "${line//\$MAINPID/$MAINPID}"
    done
}
for word; do case $word in
    start | --now) start ;;
    stop) stop ;;
    restart) stop; start ;;
    reload) reload ;;
    is-active) alive ;;
    kill) ;;
    --signal=*) kill -"${word#--signal=}" "$(cat $pid)" ;;
    MainPID) cat $pid ;;
    show | -P | enable | knockgw | daemon-reload | --system) ;;
    *) echo "systemctl: the test does not know '$word'" >&2; exit 2 ;;
esac; done
"""


class Roots:
    """Root file systems: one with the package, and one on top of it for each host."""

    def __init__(self, lab):
        self.lab = lab
        self.folder = lab.folder / "roots"
        self.folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "knockgw-test", self.folder],
                       check=True)
        lab.callback(run, "umount", "-R", "-l", self.folder)
        self.lower = "/"

    def make(self, name):
        for part in ("upper", "work", "root"):
            (self.folder / name / part).mkdir(parents=True)
        root = self.folder / name / "root"
        subprocess.run(["mount", "-t", "overlay", "knockgw-test", "-o",
                        f"lowerdir={self.lower},upperdir={self.folder / name / 'upper'},"
                        f"workdir={self.folder / name / 'work'}", root], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "knockgw-test", root / "run"], check=True)
        for path in ("dev", "proc"):
            subprocess.run(["mount", "--rbind", f"/{path}", root / path], check=True)
            subprocess.run(["mount", "--make-rslave", root / path], check=True)
        return root

    def seal(self, name):
        """What was done in that root is below all others from now on."""
        self.lower = f"{self.folder / name / 'upper'}:/"


def inside(root, *command, **options):
    return run("chroot", root, *command, **options)


def ok(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def roots():
    with Lab() as lab:
        made = Roots(lab)
        root = made.make("installed")
        shutil.rmtree(root / "var/lib/knockgw", ignore_errors=True)  # of other tests on this machine
        shutil.copy(package(), root / "tmp" / "knockgw.deb")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        ok(inside(root, "dpkg", "--install", "/tmp/knockgw.deb", env=environment))
        path = root / "usr" / "local" / "bin" / "systemctl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SYSTEMCTL)
        path.chmod(0o755)
        made.seal("installed")
        yield made


def test_installed_files_and_their_owners(roots):
    root = roots.folder / "installed" / "root"
    owners = ok(inside(root, "stat", "-c", "%n %a %U %G", "/etc/knockgw", "/etc/knockgw/knockgw.conf",
                       "/var/lib/knockgw")).splitlines()
    assert owners == ["/etc/knockgw 750 root knockgw", "/etc/knockgw/knockgw.conf 640 root knockgw",
                      "/var/lib/knockgw 700 knockgw knockgw"]
    assert "knockgw" in ok(inside(root, "getent", "passwd", "knockgw"))
    # The configuration as shipped protects nothing, and knockgw says just that.
    shipped = inside(root, "knockgw", "--check")
    assert shipped.returncode == 2 and shipped.stderr.count("\n") == 1
    assert "found neither services nor egress" in shipped.stderr
    for page in ("man5/knockgw.conf.5.gz", "man8/knockgw.8.gz", "man8/knockctl.8.gz"):
        assert (root / "usr/share/man" / page).exists(), page


def test_purge_leaves_nothing_behind(roots):
    root = roots.make("purged")
    (root / "etc/knockgw/ssh.key").write_text("secret")
    (root / "var/lib/knockgw/flows-0").touch()
    host = roots.lab.namespace("purge")
    host.nft("table inet knockgw { }\ntable inet foreign { }\n")
    ok(host.run(["chroot", root, "dpkg", "--purge", "knockgw"], check=False))
    assert ok(host.run("nft list tables", check=False)).split() == ["table", "inet", "foreign"]
    left = ok(inside(root, "find", "/etc", "/usr", "/lib", "/var/lib", "/run", "-xdev", "-iname",
                     "*knockgw*", "-not", "-path", "*/tmp/*"))
    assert not left.split(), left
    for database in ("passwd", "group"):
        assert inside(root, "getent", database, "knockgw").returncode != 0, database
    assert ok(inside(root, "dpkg-query", "-W", "-f", "${Package}\n")).split().count("knockgw") == 0


def test_lintian():
    result = run("lintian", "--allow-root", "--fail-on", "error", package())
    assert result.returncode == 0, result.stdout + result.stderr


def test_unit_is_confined(roots):
    unit = roots.folder / "installed/root/lib/systemd/system/knockgw.service"
    result = run("systemd-analyze", "security", "--offline=true", "--no-pager",
                 f"--threshold={SECURITY_LIMIT}", unit)
    assert result.returncode == 0, result.stdout + result.stderr
    figure = re.search(r"exposure level for knockgw.service: (\S+) (\S+)", result.stdout)
    assert figure[2] == "OK"
    assert f"says {figure[1]}," in (SOURCE / "docs/security.md").read_text()
    text = unit.read_text()
    assert "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW\n" in text
    assert "ExecStart=/usr/sbin/knockgw " in text
    verified = inside(unit.parents[3], "systemd-analyze", "verify", "--man=no",
                      "/lib/systemd/system/knockgw.service")
    assert "knockgw.service" not in verified.stdout + verified.stderr


class Systemd:
    """A real systemd as the first process of a root, in namespaces and a control group of its own."""

    BOOT = """
        mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t cgroup2 cgroup /sys/fs/cgroup
        mount -t tmpfs run /run
        exec /lib/systemd/systemd --system --show-status=no --unit=knockgw.service
    """

    def __init__(self, lab, root):
        self.root = root
        found = run("findmnt", "-n", "-o", "TARGET", "-t", "cgroup2").stdout.split()
        assert found, "the test needs control groups, version 2"
        self.group = pathlib.Path(found[0]) / f"knockgw-test-{os.getpid()}"
        self.group.mkdir()
        lab.callback(self.remove_group)
        run("umount", "-l", root / "proc")
        self.process = subprocess.Popen(
            ["bash", "-c", f"echo $$ >{self.group}/cgroup.procs; exec unshare --pid --fork --kill-child"
             f" --mount --uts --ipc --net --cgroup chroot {root} bash -c '{self.BOOT}'"],
            env={**os.environ, "container": "test"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lab.callback(self.process.wait)
        lab.callback(self.process.kill)

    def remove_group(self):
        def removed():
            for path in [*sorted(self.group.rglob("*/"), reverse=True), self.group]:
                if path.is_dir():
                    try:
                        path.rmdir()
                    except OSError:
                        return False
            return True
        wait_until(removed, what="the end of all processes of the group")

    def __call__(self, *command):
        """Runs a command beside that systemd."""
        first = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return run("nsenter", "--all", "--root", "--target",
                   wait_until(lambda: first.read_text().split(), what="systemd")[0], *command)

    def show(self, name):
        return self("/bin/systemctl", "show", "--property", name, "--value", "knockgw").stdout.strip()


def test_unit_under_systemd(lab, roots):
    """The unit itself: notification, user, capabilities, standard input, reload, watchdog, stop."""
    root = roots.make("systemd")
    (root / "etc/knockgw/knockgw.conf").write_text("""
        services = ( { name = "x"; address = "10.99.0.1"; port = 80; secret = "s"; } );
        egress = ( { name = "y"; destination = "10.98.0.1"; port = 80; secret = "s"; } );
        max_flows = 1000;""")
    systemd = Systemd(lab, root)
    wait_until(lambda: systemd.show("ActiveState") == "active", what="the unit")
    assert systemd.show("SubState") == "running"
    pid = systemd.show("MainPID")
    status = ok(systemd("cat", f"/proc/{pid}/status"))
    user = ok(systemd("id", "-u", "knockgw")).strip()
    assert re.search(rf"^Uid:(\t{user}){{4}}$", status, re.M)
    for line in ("CapPrm:\t0000000000003000", "CapEff:\t0000000000003000",
                 "CapBnd:\t0000000000003000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert line in status, line
    assert ok(systemd("readlink", f"/proc/{pid}/fd/0")).endswith("/net/netfilter/nfnetlink_queue\n")
    assert "table inet knockgw" in ok(systemd("nft", "list", "tables"))
    ok(systemd("/bin/systemctl", "reload", "knockgw"))
    assert systemd.show("MainPID") == pid
    assert systemd.show("WatchdogUSec") == "30s"
    # The rules are there all the while that it restarts.
    restarting = threading.Thread(target=systemd, args=("/bin/systemctl", "restart", "knockgw"))
    restarting.start()
    looked = 0
    while restarting.is_alive():
        assert "table inet knockgw" in ok(systemd("nft", "list", "tables"))
        looked += 1
    assert looked > 1 and systemd.show("MainPID") not in (pid, "0")
    pid = systemd.show("MainPID")
    # Killed, it comes back.
    ok(systemd("kill", "-KILL", pid))
    wait_until(lambda: systemd.show("MainPID") not in (pid, "0")
               and systemd.show("SubState") == "running", what="a new daemon")
    # Stopped, the ports stay closed.
    ok(systemd("/bin/systemctl", "stop", "knockgw"))
    assert "table inet knockgw" in ok(systemd("nft", "list", "tables"))
    ok(systemd("knockgw", "--remove-ruleset"))
    assert "knockgw" not in ok(systemd("nft", "list", "tables"))


@pytest.mark.parametrize("page", MANUALS, ids=lambda page: page.name)
def test_manuals_are_clean(page):
    assert ok(run("mandoc", "-T", "lint", "-W", "warning", page)) == ""


def test_manual_and_example_name_every_key():
    keys = set()
    for source in (SOURCE / "src/io").glob("config*.c"):
        keys |= set(re.findall(r'^\s*\{"([a-z0-9_]+)", read_', source.read_text(), re.M))
    assert {"services", "secret", "user"} <= keys
    if "not supported yet" in (SOURCE / "src/io/config.c").read_text():
        keys.discard("metrics")
    manual = (SOURCE / "man/knockgw.conf.5").read_text()
    documented = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"\bIc ([^\n]*)", manual))))
    assert not keys - documented, f"knockgw.conf(5) lacks {keys - documented}"
    example = (SOURCE / "conf/knockgw.conf").read_text()
    missing = {key for key in keys if not re.search(rf"\b{key}\b", example)}
    assert not missing, f"conf/knockgw.conf lacks {missing}"


def commands(root):
    text = ok(inside(root, "knockctl", "--help"))
    found = re.findall(r"^  ([a-z][a-z-]*) ", text, re.M)
    assert "genkey" in found
    return found


def test_manual_names_every_command(roots):
    manual = (SOURCE / "man/knockctl.8").read_text()
    root = roots.folder / "installed/root"
    for command in commands(root):
        assert re.search(rf"^\.It Cm {command}$", manual, re.M), f"knockctl(8) lacks {command}"
        for option in re.findall(r"--[a-z-]+", inside(root, "knockctl", "help", command).stdout):
            assert f"Fl -{option[2:]}" in manual, f"knockctl(8) lacks {command} {option}"
    manual = (SOURCE / "man/knockgw.8").read_text()
    for option in re.findall(r"--[a-z-]+", inside(root, "knockgw", "--help").stdout):
        assert f"Fl -{option[2:]}" in manual, f"knockgw(8) lacks {option}"


def completed(root, *words):
    """What bash offers for these words."""
    program = words[0]
    script = (f". /usr/share/bash-completion/completions/{program}\n"
              f"COMP_WORDS=({' '.join(repr(word) for word in words)})\n"
              f"COMP_CWORD={len(words) - 1}\n_{program}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"")
    return set(ok(inside(root, "bash", "-c", script)).split())


def test_bash_completion(roots):
    root = roots.folder / "installed/root"
    assert set(commands(root)) < completed(root, "knockctl", "")
    assert completed(root, "knockctl", "gen") == {"genkey"}
    assert completed(root, "knockctl", "help", "gen") == {"genkey"}
    assert {"--address", "--secret-file", "--help"} <= completed(root, "knockctl", "token", "--")
    assert completed(root, "knockctl", "flows", "--js") == {"--json"}
    assert completed(root, "knockctl", "monitor", "") == {"error", "warning", "info", "debug"}
    assert completed(root, "knockctl", "token", "--port", "2") == set()
    assert "/etc/knockgw" in completed(root, "knockctl", "token", "--secret-file", "/etc/kno")
    assert completed(root, "knockgw", "--ch") == {"--check"}
    assert "/etc/knockgw" in completed(root, "knockgw", "--config", "/etc/kno")


def test_zsh_completion(roots):
    """zsh itself takes the functions, and gets the commands out of the program's help."""
    root = roots.folder / "installed/root"
    script = """
        fpath=(/usr/share/zsh/vendor-completions $fpath)
        autoload -Uz _knockctl _knockgw
        _describe() { print -l -- ${(P)2}; }
        compadd() { print -l -- ${(P)argv[-1]}; }
        _arguments() { print -l -- $@; }
        words=(knockctl ''); CURRENT=2; _knockctl
        words=(knockctl token --); CURRENT=3; _knockctl
        words=(knockgw --); CURRENT=2; _knockgw
    """
    offered = ok(inside(root, "zsh", "-f", "-c", script))
    for command in commands(root):
        assert re.search(rf"^{command}:", offered, re.M), command
    assert re.search(r"^--address$", offered, re.M)
    assert "--print-ruleset" in offered


# ---- Documents -------------------------------------------------------------------------------------

DOCUMENTS = ("deploy.md", "operate.md", "security.md")
BLOCK = re.compile(r"^(?:<!-- (?P<marker>.*?) -->\n)?```[a-z]*\n(?P<text>.*?)^```$", re.M | re.S)


class Hosts:
    def __init__(self, lab, roots):
        self.lab = lab
        self.namespaces = {name: lab.namespace(name)
                           for name in ("client", "branch", "gateway", "server", "outside")}
        self.roots = {name: roots.make(namespace.name)
                      for name, namespace in self.namespaces.items()}
        self.connect()
        lab.nginx(self.namespaces["server"], 22, "stands for sshd")
        lab.callback(self.stop)

    def connect(self):
        client, branch, gateway, server, outside = self.namespaces.values()
        for left, left_address, right, right_address, network in (
                (client, "192.168.1.2/24", branch, "192.168.1.1/24", 1),
                (branch, "198.51.100.7/24", gateway, "198.51.100.1/24", 2),
                (gateway, "10.0.0.1/24", server, "10.0.0.2/24", 3),
                (outside, "192.0.2.66/24", gateway, "192.0.2.1/24", 4)):
            self.lab.link(left, f"net{network}", right, f"net{network}")
            left.address(f"net{network}", left_address)
            right.address(f"net{network}", right_address)
        gateway.address("lo", "203.0.113.10/32")
        client.default_route("192.168.1.1")
        branch.default_route("198.51.100.1")
        server.default_route("10.0.0.1")
        outside.default_route("192.0.2.1")
        branch.forward()
        gateway.forward()
        branch.nft("""table ip nat { chain out { type nat hook postrouting priority srcnat;
                      oifname "net2" masquerade; }; }""")

    def shell(self, host, script):
        return self.namespaces[host].run(
            ["chroot", self.roots[host], "bash", "-euo", "pipefail", "-c", script], check=False,
            stdin=subprocess.DEVNULL)

    def stop(self):
        for host in self.namespaces:
            self.shell(host, "systemctl stop")

    def write(self, host, path, text):
        target = self.roots[host] / path.lstrip("/")
        keep = target.stat() if target.exists() else None
        target.write_text(text)
        if keep is not None:
            os.chown(target, keep.st_uid, keep.st_gid)
            target.chmod(keep.st_mode & 0o777)

    def copy_secret(self):
        """The step from machine to machine that deploy.md leaves to scp."""
        source = self.roots["gateway"] / "etc/knockgw/ssh.key"
        target = self.roots["branch"] / "etc/knockgw/ssh.key"
        target.write_bytes(source.read_bytes())
        os.chown(target, 0, source.stat().st_gid)
        target.chmod(0o640)


def follow(hosts, document):
    """Does what a document says. Returns how many blocks it ran."""
    count = 0
    for block in BLOCK.finditer((SOURCE / "docs" / document).read_text()):
        marker, text = block["marker"] or "", block["text"]
        where = f"{document}: {marker}\n{text}"
        if re.match(r"not run: \S", marker):
            if "scp " in text:
                hosts.copy_secret()
            continue
        file = re.fullmatch(r"file on (\w+): (\S+)", marker)
        command = re.fullmatch(r"run on (\w+)(, must fail)?", marker)
        assert file or command, f"{where}\na code block needs a comment in front of it: see this test"
        if file:
            hosts.write(file[1], file[2], text)
            continue
        result = hosts.shell(command[1], text)
        fails = command[2] is not None
        assert (result.returncode != 0) == fails, f"{where}\n{result.stdout}{result.stderr}"
        count += 1
    return count


# Lines of README.md that a fresh machine runs (scripts/test --fresh readme), or this test in its own
# way.
ELSEWHERE = re.compile(r"scripts/|apt-get install|autoreconf|\./configure|make |sudo systemd-sysusers|"
                       r"umask 077$|systemctl enable --now knockgw$")


def indented(path):
    """The code blocks of a document that indents them, as lists of lines."""
    blocks, block = [], []
    for line in (SOURCE / path).read_text().splitlines() + [""]:
        if line.startswith("    "):
            block.append(line[4:])
        elif block:
            blocks.append(block)
            block = []
    return blocks


def run_readme_line(hosts, command):
    host = "branch" if "flows" in command else "gateway"
    if command == "knockctl monitor":
        assert hosts.shell(host, f"timeout 1 {command}").returncode == 124
    else:
        ok(hosts.shell(host, command))


def test_every_command_of_the_readme(lab, roots):
    """Each indented block is run, or taken as the file that it shows."""
    hosts = Hosts(lab, roots)
    ran, secret = set(), None
    for block in indented("README.md"):
        text = "\n".join(block) + "\n"
        if block[0].startswith("services = ("):
            served = text.replace("h:...", secret).replace(
                "port = 22;", 'port = 22; backends = ( { address = "10.0.0.2"; } );')
            hosts.write("gateway", "/etc/knockgw/knockgw.conf", served)
            ok(hosts.shell("gateway", "knockgw --check && systemctl enable --now knockgw"))
        elif block[0].startswith("egress = ("):
            hosts.write("branch", "/etc/knockgw/knockgw.conf", text.replace("h:...", secret))
            ok(hosts.shell("branch", "knockgw --check && systemctl enable --now knockgw"))
            page = hosts.namespaces["client"].run("curl -sS -m 5 http://203.0.113.10:22/")
            assert page.stdout == "stands for sshd"
        elif "curl, ssh," not in block[0]:  # the picture
            commands = [line.split("#")[0].strip() for line in block]
            for command in commands:
                if not ELSEWHERE.match(command):
                    run_readme_line(hosts, command)
                    ran.add(" ".join(command.split()[:2]))
            if any("genkey" in command for command in commands):
                secret = (hosts.roots["gateway"] / "root/ssh.secret").read_text().strip()
    assert {"knockctl genkey", "knockgw --check", "knockgw --print-ruleset", "knockctl status",
            "knockctl flows", "knockctl reload", "knockctl drain", "knockctl undrain", "knockctl kick",
            "knockctl monitor"} == ran


def test_every_command_of_the_monitoring_page(lab, roots):
    hosts = Hosts(lab, roots)
    setting, request, prometheus = indented("docs/monitoring/README.md")
    hosts.write("gateway", "/etc/knockgw/knockgw.conf", "\n".join(setting) + """
services = ( { name = "ssh"; address = "203.0.113.10"; port = 22; secret = "s"; } );
""")
    ok(hosts.shell("gateway", "systemctl start knockgw"))
    metrics = ok(hosts.shell("gateway", "\n".join(request)))
    checked = run("promtool", "check", "metrics", input=metrics)
    assert checked.returncode == 0 and not checked.stderr, checked.stdout + checked.stderr
    folder = roots.folder / "prometheus"
    folder.mkdir()
    shutil.copy(SOURCE / "docs/monitoring/alerts.yml", folder)
    (folder / "prometheus.yml").write_text("\n".join(prometheus) + "\n")
    ok(run("promtool", "check", "config", folder / "prometheus.yml"))
    # Grafana takes the dashboard as the package installs it.
    root = roots.folder / "installed/root"
    json.loads((root / "usr/share/doc/knockgw/monitoring/dashboard.json").read_text())


def test_every_command_of_the_documents(lab, roots):
    hosts = Hosts(lab, roots)
    counts = [follow(hosts, document) for document in DOCUMENTS]
    assert min(counts) >= 2 and sum(counts) >= 15, counts
    # Completion offers what the daemon serves.
    for words, offered in ((["kick", ""], {"ssh"}), (["drain", "ss"], {"ssh"}),
                           (["drain", "ssh", ""], {"10.0.0.2"})):
        assert completed(hosts.roots["gateway"], "knockctl", *words) == offered
    # In the end the way through is the one that the documents promise.
    ok(hosts.shell("branch", "systemctl start knockgw"))
    page = wait_until(lambda: hosts.namespaces["client"].run(
        ["curl", "-sS", "-m", "5", "http://203.0.113.10:22/"], check=False).stdout, what="the page")
    assert page == "stands for sshd"
    assert hosts.namespaces["outside"].run(["nc", "-zw", "5", "203.0.113.10", "22"],
                                           check=False).returncode != 0
