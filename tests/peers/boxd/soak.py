"""Servers are killed and held again and again while clients of the SDK 0.2.19 use them.

Nothing that was answered is lost or done twice; what was not answered is there whole or not at all.
Run by `crates/cli/tests/peers`; `BOXHERD_SOAK` says for how many seconds, `BOXHERD_SERVERS` how many
servers share the data folder and the store.
"""

import os
import random
import signal
import subprocess
import threading
import time

import boxd
from boxd import Boxd

BIN, DATA = os.environ["BOXHERD_BIN"], os.environ["BOXHERD_DATA"]
SECONDS = float(os.environ.get("BOXHERD_SOAK", "20"))
SERVERS = int(os.environ.get("BOXHERD_SERVERS", "1"))
CLIENTS = 3
PATIENCE = 60.0


class Server:
    """A server that is started again where it was."""

    def __init__(self):
        self.place = "127.0.0.1:0"
        self.start()

    def start(self):
        command = [BIN, "--data", DATA, "serve", "--listen", self.place]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), line
        self.place = line.split("//")[1].strip()
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def hold(self, seconds):
        """Has it stand still, as a machine does that is out of memory or moved to another host."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0


def connect(server):
    os.environ["BOXD_API_URL"] = os.environ["BOXD_BASE_URL"] = f"http://{server.place}"
    os.environ["BOXD_EXCHANGE_URL"] = f"http://{server.place}/api/v1/auth/token"
    return Boxd()


class Worker(threading.Thread):
    """One client. What it was told is in `alive`: by name, how many lines were written for sure."""

    def __init__(self, server, number, over):
        super().__init__()
        self.client, self.over = connect(server), over
        self.number, self.made = number, 0
        self.random = random.Random(number)
        self.alive, self.tried, self.unsure = {}, {}, set()
        self.told, self.failure = 0, None

    def run(self):
        try:
            while not self.over.is_set():
                self.step()
        except BaseException as error:
            self.failure = error
            raise

    def step(self):
        names = [name for name in self.alive if name not in self.unsure]
        action = self.random.choice(["create", "write", "write", "suspend", "fork", "delete"])
        if not names or (action == "create" and len(names) < 4):
            return self.create(self.name_of_next())
        name = self.random.choice(names)
        if action == "write":
            self.write(name)
        elif action == "suspend":
            self.tell(lambda: self.client.machines.pause(name))
            self.tell(lambda: self.client.machines.resume(name))
        elif action == "fork" and len(names) < 4:
            self.fork(name, self.name_of_next())
        elif action == "delete":
            self.delete(name)

    def name_of_next(self):
        self.made += 1
        return f"soak-{self.number}-{self.made}"

    def tell(self, call):
        """Whether the call was answered. What was not is looked at in the end."""
        try:
            call()
        except boxd.BoxdError:
            return False
        self.told += 1
        return True

    def create(self, name):
        if self.tell(lambda: self.client.machines.create(name)):
            self.alive[name], self.tried[name] = 0, 0
        else:
            self.unsure.add(name)

    def fork(self, source, name):
        lines, tried = self.alive[source], self.tried[source]
        if self.tell(lambda: self.client.machines.fork(source, name=name)):
            self.alive[name], self.tried[name] = lines, tried
        else:
            self.unsure.add(name)

    def write(self, name):
        self.tried[name] += 1
        done = []
        call = lambda: done.append(self.client.machines.exec(name, ["sh", "-c", "echo x >> /root/log"]))
        if self.tell(call):
            assert done[0].exit_code == 0, done[0]
            self.alive[name] += 1

    def delete(self, name):
        if self.tell(lambda: self.client.machines.delete(name)):
            del self.alive[name]
        else:
            self.unsure.add(name)


def test_soak():
    servers = [Server() for _ in range(SERVERS)]
    over = threading.Event()
    workers = [Worker(servers[number % SERVERS], number, over) for number in range(CLIENTS)]
    for worker in workers:
        worker.start()
    dice, kills, end = random.Random(4711), 0, time.monotonic() + SECONDS
    while time.monotonic() < end and not any(worker.failure for worker in workers):
        # How long a server lives is what is random here, and nothing waits for it.
        time.sleep(dice.uniform(0.5, 3.0))
        server = dice.choice(servers)
        if SERVERS > 1 and dice.random() < 0.3:
            server.hold(dice.uniform(0.2, 2.0))
            continue
        server.kill()
        kills += 1
        server.start()
    over.set()
    for worker in workers:
        worker.join()
        assert worker.failure is None, worker.failure
    client = connect(server)
    there = {machine.name: machine for machine in client.machines.list()}
    listed = subprocess.run([BIN, "--data", DATA, "ls", "-o", "name"], stdout=subprocess.PIPE, text=True, check=True)
    assert sorted(listed.stdout.split()) == sorted(there)
    known = {name for worker in workers for name in worker.alive} | {name for worker in workers for name in worker.unsure}
    assert set(there) <= known, set(there) - known
    for worker in workers:
        for name, lines in worker.alive.items():
            if name in worker.unsure:
                continue
            assert name in there, f"{name} is lost"
            if there[name].status == "suspended":
                client.machines.resume(name)
            done = client.machines.exec(name, ["sh", "-c", "cat /root/log 2>/dev/null | wc -l"])
            assert lines <= int(done.stdout) <= worker.tried[name], (name, lines, done.stdout, worker.tried[name])
    for name, machine in there.items():
        assert machine.status in ("running", "suspended", "stopped"), machine
        client.machines.delete(name)
    assert client.machines.list() == []
    told = sum(worker.told for worker in workers)
    print(f"{kills} kills, {told} calls answered")
    assert told > kills
    for server in servers:
        server.end()
