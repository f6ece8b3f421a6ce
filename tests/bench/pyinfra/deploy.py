"""Forty operations as they are in deploys, of what needs no network. `root` and `tag` are host data, so that
each run finds nothing of those before."""

from io import StringIO

from pyinfra import host
from pyinfra.operations import files, server

ROOT: str = host.data.root
TAG: str = host.data.tag
PARTS = ("api", "web", "worker", "cron")

server.group(name="group", group=f"g{TAG}")
server.user(name="user", user=f"u{TAG}", group=f"g{TAG}", home=f"/home/{TAG}", shell="/bin/sh")
files.directory(name="root", path=ROOT, mode="755")
files.directory(name="logs", path=f"{ROOT}/log", user=f"u{TAG}", group=f"g{TAG}", mode="750")
for part in PARTS:
    files.directory(name=f"folder of {part}", path=f"{ROOT}/{part}", user=f"u{TAG}")
    files.put(
        name=f"settings of {part}",
        src=StringIO(f"[{part}]\nport = 80\nlevel = info\n"),
        dest=f"{ROOT}/{part}/settings.ini",
        mode="640",
    )
    files.template(
        name=f"unit of {part}",
        src="unit.j2",
        dest=f"{ROOT}/{part}/{part}.service",
        part=part,
        root=ROOT,
        runs_as=f"u{TAG}",
    )
    files.line(
        name=f"level of {part}",
        path=f"{ROOT}/{part}/settings.ini",
        line="level = .*",
        replace="level = debug",
    )
    files.link(name=f"link to {part}", path=f"{ROOT}/{part}.ini", target=f"{ROOT}/{part}/settings.ini")
    files.file(name=f"log of {part}", path=f"{ROOT}/log/{part}.log", user=f"u{TAG}")
    server.shell(name=f"check of {part}", commands=[f"grep -q debug {ROOT}/{part}/settings.ini"])
for number in range(4):
    files.put(
        name=f"script {number}",
        src=StringIO(f"#!/bin/sh\necho {number}\n"),
        dest=f"{ROOT}/script-{number}",
        mode="755",
    )
for number in range(3):
    server.shell(name=f"run script {number}", commands=[f"{ROOT}/script-{number}"])
files.line(name="a line of hosts", path="/etc/hosts", line=f"127.0.0.9 {TAG}.test")
