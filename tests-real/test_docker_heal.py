"""The same as `test_heal.py` with replicas that are containers: `kill -9` of one costs no client anything.

The daemon is a real one of the tests' own (`docker.py`), the image is made of the program `backend` and its libraries.
"""

import json
import time

import docker
import rig
import test_heal


def config(algorithm, daemon, pool):
    members = "".join(f'[[pool.backend]]\nname = "S{n}"\n' for n in range(1, test_heal.REPLICAS + 1))
    return f"""\
[listen]
traffic = "127.0.0.1:0"
admin = "127.0.0.1:0"
[replicas]
provider = "docker"
[replicas.docker]
host = "unix://{daemon.socket}"
image = "{docker.IMAGE}"
network = "{docker.NETWORK}"
env = {{ BIND = "0.0.0.0" }}
[pool]
name = "{pool}"
algorithm = "{algorithm}"
{members}"""


class Contained(test_heal.Healing):
    """Three replicas in containers; `running` is what the daemon says."""

    shares = "docker"
    pool = "healing"

    def setUp(self):
        self.directory = rig.directory(self.id())
        self.docker = docker.Docker(self.directory)
        self.addCleanup(self.docker.stop)
        self.file = self.directory / "balancer.toml"
        self.file.write_text(config(self.algorithm, self.docker, self.pool))
        self.balancer = self.start("balancer")
        self.born = time.monotonic()

    def running(self):
        """Every running container of the pool, by name, by its process as this machine sees it."""
        found = self.docker.containers(ballast_pool=self.pool)
        inspected = [json.loads(self.docker.ask("GET", f"/containers/{c['Id']}/json")) for c in found]
        return {
            one["State"]["Pid"]: one["Config"]["Labels"]["ballast.replica"] for one in inspected if one["State"]["Running"]
        }

    def process_of(self, name):
        return next(pid for pid, replica in self.running().items() if replica == name)


class KilledRoundRobin(Contained, test_heal.Killed):
    algorithm = "round_robin"

    def test_each_container(self):
        self.kill_each()


class KilledBalancer(Contained):
    """Containers outlive a killed balancer: the next one takes them over, and ends those that are nobody's."""

    def test_containers_are_taken_over_and_orphans_end(self):
        rig.until(self.whole, "every container runs and is eligible")
        before = self.running()
        stranger = json.loads(self.docker.ask("POST", "/containers/create?name=stranger", {"Image": docker.IMAGE}))["Id"]
        labels = {"ballast.pool": self.pool, "ballast.replica": "S9"}
        orphan = {"Image": docker.IMAGE, "Env": ["BIND=0.0.0.0"], "Labels": labels}
        self.docker.ask("POST", "/containers/create?name=orphan", orphan)
        self.docker.ask("POST", "/containers/orphan/start")
        self.balancer.kill()
        self.assertEqual(len(self.running()), test_heal.REPLICAS + 1)
        self.balancer = self.start("again")
        rig.until(lambda: self.running() == before, "the same containers, the orphan ended")
        rig.until(self.whole, "all of them eligible")
        self.balancer.stop()
        self.assertEqual(self.running(), {}, "a balancer that stops stops its containers")
        self.assertEqual([c["Id"] for c in self.docker.containers()], [stranger], "and touches nobody else's")
