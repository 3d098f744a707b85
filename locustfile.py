"""Load for the balancer: one user class per algorithm, each request with its `?algo=`, and Locust's own numbers at /metrics.

    locust                                                   # the UI, on http://127.0.0.1:8089
    locust --headless -u 100 -r 20 -t 60s -s 10              # a run of one minute
    locust --headless -u 100 -r 20 -t 60s -s 10 -T adaptive  # one algorithm; also: LOCUST_ALGORITHMS, --class-picker, class names
    locust --processes 4                                     # four workers and the master, which has the UI and /metrics

It needs nothing but Locust, so that the stock image runs it. A user sends LOCUST_RATE requests a second whatever the answers
take, as long as they take less than 1/LOCUST_RATE: with many slow users, a slow balancer is offered no less load than a fast one.

Statistics are kept as "[algorithm] GET /route"; /metrics makes labels of them. A failure is said in words ("503 No backend
available, Retry-After 1"), without what differs from request to request. Settings that make no sense end Locust with a message.

Settings, beside Locust's own (LOCUST_HOST, LOCUST_USERS, LOCUST_TAGS, …):
    LOCUST_ALGORITHMS      names, by commas                                    all ten
    LOCUST_ROUTES          TARGET[@WEIGHT], by commas; {id}: a request id, {n}: a number   /@1,/home@2,/bench?slow=1@4,…
    LOCUST_RATE            requests a second of one user                       1
    LOCUST_KEYS            how many request ids there are                      10000
    LOCUST_TIMEOUT         of a connection, and of an answer, seconds          10
    LOCUST_REGIONS         NAME[=NETWORK][@WEIGHT], by commas: each user has an address of one of them and sends it as
                           X-Forwarded-For; believed where `client.trusted_proxies` has us          none
    LOCUST_SHAPE           steps, spike or diurnal: users over LOCUST_SHAPE_SECONDS (600), up to --users      none
    LOCUST_METRICS_PORT    /metrics without the UI, on LOCUST_METRICS_HOST (127.0.0.1); 0: a free port        none
"""

import ast
import bisect
import ipaddress
import itertools
import json
import logging
import math
import os
import random
import re
import sys
import time

from gevent.pywsgi import WSGIServer
from locust import FastHttpUser, LoadTestShape, constant_throughput, events, tag
from locust.exception import CatchResponseError
from locust.runners import MasterRunner, WorkerRunner

# ---- Settings

ALGORITHMS = (
    "round_robin", "weighted_round_robin", "least_connections", "ip_hash", "power_of_two",
    "consistent_hash", "adaptive", "least_response_time", "min_eta", "random",
)  # fmt: skip
ROUTES = "/@1,/home@2,/bench?slow=1@4,/is_prime/{n}@1,/request?request_id={id}@2"
# The prime balancer's published loads, a prime beyond 32 bits, and numbers that are none.
NUMBERS = (524_287, 6_700_417, 67_280_421_310_721, 524_289, 6_700_419)
# The registries' own addresses: databases of countries agree about them.
NETWORKS = {"EU": "193.0.0.0/21", "US": "8.8.8.0/24", "APAC": "202.12.29.0/24"}


def end(problem):
    """Ends Locust where a setting is wrong: a load other than the one meant would go unnoticed."""
    sys.exit(f"locustfile: {problem}")


def setting(name, default):
    return os.environ.get(name, "").strip() or default


def number(name, default):
    text = setting(name, default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        end(f"{name} must be a number above 0, not {text!r}")
    return value


def weighted(name, default):
    """The items of a list `ITEM[@WEIGHT],…` with their weights."""
    for item in filter(None, map(str.strip, setting(name, default).split(","))):
        value, at, weight = item.rpartition("@")
        if at and not re.fullmatch(r"[1-9]\d{0,3}", weight):
            end(f"{name}: the weight of {item!r} must be a whole number from 1 to 9999")
        yield (value, int(weight)) if at else (item, 1)


def algorithms():
    chosen = [name for name, _ in weighted("LOCUST_ALGORITHMS", ",".join(ALGORITHMS))]
    for name in chosen:
        if name not in ALGORITHMS:
            end(f"LOCUST_ALGORITHMS: there is no {name!r}; known are {', '.join(ALGORITHMS)}")
    return dict.fromkeys(chosen)


def routes():
    found = dict(weighted("LOCUST_ROUTES", ROUTES))
    for target in found:
        if not target.startswith("/") or set(re.findall(r"{(.*?)}", target)) - {"id", "n"}:
            end(f"LOCUST_ROUTES: {target!r} must begin with / and have no other braces than {{id}} and {{n}}")
    return found


def regions():
    """Networks with the share of users that come from them."""
    for item, weight in weighted("LOCUST_REGIONS", ""):
        name, given, network = item.partition("=")
        try:
            yield ipaddress.ip_network(network if given else NETWORKS[name]), weight
        except KeyError:
            end(f"LOCUST_REGIONS: no network is known for {name!r}; known are {', '.join(NETWORKS)}, others as NAME=NETWORK")
        except ValueError as error:
            end(f"LOCUST_REGIONS: {item!r}: {error}")


RATE = number("LOCUST_RATE", "1")
KEYS = math.ceil(number("LOCUST_KEYS", "10000"))
TIMEOUT = number("LOCUST_TIMEOUT", "10")
REGIONS = list(regions())
SHAPE = setting("LOCUST_SHAPE", "")
SHAPE_SECONDS = number("LOCUST_SHAPE_SECONDS", "600")

# ---- Users


class Client(FastHttpUser):
    """A client with one kept connection, whose requests all name the same algorithm."""

    abstract = True
    algorithm = ""
    host = setting("LOCUST_HOST", "http://127.0.0.1:5000")
    wait_time = constant_throughput(RATE)
    network_timeout = connection_timeout = TIMEOUT
    concurrency = 1
    address = None

    def on_start(self):
        if REGIONS:
            [network] = random.choices([n for n, _ in REGIONS], [weight for _, weight in REGIONS])
            self.address = str(network[random.randrange(network.num_addresses)])
        # Users are started some at once; without this they would send at once ever after.
        time.sleep(random.random() / RATE)

    def send(self, target, name):
        key = random.randint(1, KEYS)
        target = target.replace("{id}", str(key)).replace("{n}", str(random.choice(NUMBERS)))
        target += f"{'&' if '?' in target else '?'}algo={self.algorithm}"
        if self.algorithm == "consistent_hash" and "request_id=" not in target:
            target += f"&request_id={key}"
        headers = {"X-Forwarded-For": self.address} if self.address else {}
        with self.client.get(target, name=name, headers=headers, catch_response=True) as response:
            problem = fault(response)
            if problem:
                response.failure(problem)


def fault(response):
    """What is wrong with an answer, in words that are the same for all answers of the kind; None where nothing is."""
    error = response.request_meta["exception"]
    if response.status_code == 0:
        # The client wraps a time-out, though it tries only once.
        error = getattr(error, "original", None) or error
        if isinstance(error, TimeoutError):
            return f"no answer within {TIMEOUT:g} s"
        return f"no answer: {getattr(error, 'strerror', None) or type(error).__name__}"
    if 200 <= response.status_code < 400:
        return f"{response.status_code}, but the answer broke off: {type(error).__name__}" if error else None
    try:
        reason = json.loads(response.text)["error"]
    except Exception:  # not our JSON, or it broke off
        reason = ""
    wait = response.headers.get("Retry-After")
    reason = f"{response.status_code} {str(reason)[:80].strip()}".strip()
    return f"{reason}, Retry-After {wait}" if wait else reason


def route_tag(target):
    return re.match(r"/([^/?]*)", target)[1] or "root"


def user_class(algorithm):
    """The class of an algorithm's users; its tasks carry the algorithm and the route's first word as tags."""

    def task(target):
        name = f"[{algorithm}] GET {target.partition('?')[0]}"
        return tag(algorithm, route_tag(target))(lambda user: user.send(target, name))

    tasks = {task(target): weight for target, weight in routes().items()}
    name = "".join(word.title() for word in algorithm.split("_")) + "User"
    return type(name, (Client,), {"abstract": False, "algorithm": algorithm, "tasks": tasks, "__module__": __name__})


for made in map(user_class, algorithms()):
    # Locust takes the classes that are names of this module.
    globals()[made.__name__] = made
del made

# ---- Load shapes: a concrete one would overrule -u, -r and -t everywhere, so all are abstract but the one asked for


class Shape(LoadTestShape):
    """Up to `--users` users in the course of `--run-time`, or LOCUST_SHAPE_SECONDS; `share` says how many of them when."""

    abstract = True
    use_common_options = True

    def share(self, over):
        """The share of the users that there are when `over`, from 0 to 1, of the run is over."""
        raise NotImplementedError

    def tick(self):
        options = self.runner.environment.parsed_options
        most, over = options.num_users or 1, self.get_run_time() / (options.run_time or SHAPE_SECONDS)
        if over >= 1:
            return None
        users = max(1, round(most * self.share(over)))
        # Locust waits for a change to end before it asks again, so each must be done within a second.
        return users, max(options.spawn_rate or 1, most)


class Steps(Shape):
    """Five steps, each a fifth more: where does it begin to hurt?"""

    abstract = SHAPE != "steps"

    def share(self, over):
        return (math.floor(over * 5) + 1) / 5


class Spike(Shape):
    """A fifth of the users; in the middle fifth of the run, all of them."""

    abstract = SHAPE != "spike"

    def share(self, over):
        return 1 if 0.4 <= over < 0.6 else 0.2


class Diurnal(Shape):
    """One day of a sine: quiet at the ends, all users in the middle."""

    abstract = SHAPE != "diurnal"

    def share(self, over):
        return 0.55 - 0.45 * math.cos(2 * math.pi * over)


if SHAPE not in ("", "steps", "spike", "diurnal"):
    end(f"LOCUST_SHAPE: there is no {SHAPE!r}; known are steps, spike and diurnal")

# ---- /metrics: made of Locust's statistics when asked, so that no request pays for it

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# The balancer's, so that both sides can be subtracted. Locust keeps whole milliseconds, two digits from 100 ms on.
BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 75, 100, 150, 250, 400, 600, 800, 1500, 2500, 5500, 10500)
STATES = ("ready", "spawning", "running", "cleanup", "stopping", "stopped", "missing")
WORKER_STATES = ("ready", "spawning", "running", "missing")
# Errors beyond so many are added up as "other": their text may come from whoever answers.
ERRORS_MAX = 100
NAME = re.compile(r"\[(\w+)\] (.*)", re.DOTALL)


def split(method, name):
    """A statistic's name as labels: "[adaptive] GET /home" is the algorithm and the route."""
    match = NAME.fullmatch(name or "")
    algorithm, route = match.groups() if match else ("", name or "")
    return {"method": method or "", "name": route.removeprefix(f"{method} "), "algorithm": algorithm}


def said(error):
    """An error's text, whether it is the exception itself or, from a worker, its repr."""
    if isinstance(error, CatchResponseError):
        return str(error.args[0]) if error.args else ""
    text = error if isinstance(error, str) else repr(error)
    inner = re.fullmatch(r"CatchResponseError\((.*)\)", text, re.DOTALL)
    try:
        return str(ast.literal_eval(inner[1])) if inner else text
    except (ValueError, SyntaxError):
        return text


def sample(name, labels, value):
    pairs = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value:.15g}"


def escaped(text):
    return str(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def family(name, kind, meaning, samples):
    """One metric; samples whose labels became the same are added up, since they may be there only once."""
    sums = {}
    for labels, value in samples:
        key = tuple(labels.items())
        sums[key] = sums.get(key, 0) + value
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    for key, value in sums.items():
        yield sample(name, dict(key), value)


def histogram(name, meaning, entries):
    """Cumulative buckets of the answers' times; requests that report none are in no bucket, and so not in the count."""
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} histogram"
    merged = {}
    for labels, times, total in entries:
        buckets, so_far = merged.setdefault(tuple(labels.items()), ([0] * (len(BOUNDS_MS) + 1), [0.0]))
        so_far[0] += total
        for milliseconds, count in times.items():
            if milliseconds is not None:
                buckets[bisect.bisect_left(BOUNDS_MS, milliseconds)] += count
    bounds = [f"{bound / 1000:g}" for bound in BOUNDS_MS] + ["+Inf"]
    for key, (buckets, total) in merged.items():
        for bound, count in zip(bounds, itertools.accumulate(buckets)):
            yield sample(f"{name}_bucket", {**dict(key), "le": bound}, count)
        yield sample(f"{name}_sum", dict(key), total[0] / 1000)
        yield sample(f"{name}_count", dict(key), sum(buckets))


def errors(stats):
    """Failures by text. The first texts seen stay: were it the most frequent ones, counters would move between texts."""
    kept = {}
    for error in list(stats.errors.values()):
        labels = split(error.method, error.name)
        text = said(error.error)
        text = text if text in kept or len(kept) < ERRORS_MAX else "other"
        kept[text] = True
        yield {"method": labels["method"], "name": labels["name"], "error": text}, error.occurrences


def exposition(environment):
    """Everything at /metrics, as text. On a master the workers' statistics are merged, as of their last report."""
    runner, stats = environment.runner, environment.stats
    entries = [(split(e.method, e.name), e) for e in list(stats.entries.values())]
    users = {user.__name__: 0 for user in environment.user_classes}
    workers = dict.fromkeys(WORKER_STATES, 0)
    if isinstance(runner, MasterRunner):
        users.update(runner.reported_user_classes_count)
        for worker in runner.clients.all:
            workers[worker.state] = workers.get(worker.state, 0) + 1
    else:
        users.update(runner.user_classes_count)
    by_name = (
        family("locust_state", "gauge", "1 for the state that the test is in.",
               [({"state": state}, state == runner.state) for state in STATES]),
        family("locust_users", "gauge", "Users running, by class.",
               [({"user_class": name}, count) for name, count in users.items()]),
        family("locust_workers", "gauge", "Workers by state, as the master sees them; none without a master.",
               [({"state": state}, count) for state, count in workers.items()]),
        family("locust_requests_total", "counter", "Requests, failed ones included, since the statistics began.",
               [(labels, e.num_requests) for labels, e in entries]),
        family("locust_failures_total", "counter", "Requests that failed.",
               [(labels, e.num_failures) for labels, e in entries]),
        family("locust_errors_total", "counter", f"Failures by their text; beyond {ERRORS_MAX} texts: other.", errors(stats)),
        histogram("locust_response_time_seconds", "From sending a request to the last byte of its answer.",
                  [(labels, e.response_times, e.total_response_time) for labels, e in entries]),
    )  # fmt: skip
    return "\n".join(itertools.chain.from_iterable(by_name)) + "\n"


# ---- Hooks


@events.init.add_listener
def with_tags(environment, **_):
    """With --tags, drops the classes that have no task left: Locust would start their users, and each would fail."""
    options = environment.parsed_options
    wanted, unwanted = (set(getattr(options, name, None) or ()) for name in ("tags", "exclude_tags"))
    if wanted or unwanted:
        left = [
            user for user in environment.user_classes
            if any((not wanted or made.locust_tag_set & wanted) and not made.locust_tag_set & unwanted for made in user.tasks)
        ]  # fmt: skip
        if not left:
            end(f"no task has the tags asked for; there are {', '.join((*algorithms(), *map(route_tag, routes())))}")
        environment.user_classes[:] = left


@events.init.add_listener
def with_metrics(environment, web_ui=None, **_):
    """Serves /metrics: beside the UI where there is one, and on a port of its own where one is asked for."""
    if isinstance(environment.runner, WorkerRunner):
        return
    if web_ui:
        web_ui.app.add_url_rule("/metrics", "metrics", lambda: (exposition(environment), {"Content-Type": CONTENT_TYPE}))
    port = setting("LOCUST_METRICS_PORT", "")
    if not port:
        return
    if not re.fullmatch(r"\d{1,5}", port):
        end(f"LOCUST_METRICS_PORT must be a port, not {port!r}")

    def answer(request, start_response):
        found = request["PATH_INFO"] == "/metrics"
        start_response("200 OK" if found else "404 Not Found", [("Content-Type", CONTENT_TYPE)])
        return [exposition(environment).encode() if found else b"/metrics is here\n"]

    server = WSGIServer((setting("LOCUST_METRICS_HOST", "127.0.0.1"), int(port)), answer, log=None)
    try:
        server.start()
    except OSError as error:
        end(f"LOCUST_METRICS_PORT={port}: {error.strerror or error}")
    logging.getLogger(__name__).info("metrics at http://%s:%d/metrics", server.server_host, server.server_port)
