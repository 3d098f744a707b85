"""The dashboard in a real browser: what it draws is held against the runs' own records, which the tester made over a real
balancer. `SCREENSHOTS=docs/images` has the pictures of the README taken; otherwise nothing outside of target/ is written.
"""

import json
import os
import re
import subprocess
import time
import unittest
import urllib.error
import urllib.request

import rig
from browser import Browser
from case import BACKENDS

CHARTS = ("timeline", "active", "rps", "service", "processing")
HEADING = "Request Flow for multiple instances of service"
MANY = 10_000
# Processor time of the page's own thread, without a graphics card, in seconds: other work on this machine is not in it.
DRAWN_WITHIN = 3.0
ZOOMED_WITHIN = 0.5
LIVE_WITHIN = 15.0


class Dashboard(rig.Process):
    """`traffic-lab dashboard` on a port of its own."""

    def __init__(self, directory, results, admin, port=0):
        super().__init__(directory / "dashboard", rig.PROGRAMS / "traffic-lab", "dashboard", "--results", os.path.relpath(results),
                         "--listen", f"127.0.0.1:{port}", "--admin", admin)
        self.url = self.said(r"dashboard listening on (http://\S+)\n", self.out)[1]


def tester(results, run, url, *arguments, fails=False):
    """A run made by the tester; its records."""
    command = [rig.PROGRAMS / "traffic-lab", "tester", url, *map(str, arguments), "--out", results, "--id", run]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=rig.environment(), check=False)
    assert done.returncode == int(fails), f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads((results / f"{run}.json").read_text())["records"]


def good(record):
    return record.get("status") is not None and record["status"] < 400


def instances(records):
    return {record.get("instance") or ("not named" if record.get("status") else "no answer") for record in records}


def timed(records):
    return [record for record in records if record.get("req_rcv_time") and record.get("resp_snd_time")]


def traces(records):
    """How many traces each chart must have."""
    failed = int(any(not good(record) for record in records))

    def dots(some):
        return len(instances(filter(good, some))) + int(any(not good(record) for record in some))
    return {
        "timeline": len(instances(records)) + failed,
        "active": len(instances(records)) + 1,
        "rps": 2 + failed,
        "service": dots(records),
        "processing": dots(timed(records)),
    }


class DashboardPage(unittest.TestCase):
    alone = "times what a browser draws, and clicks twice within a moment"

    @classmethod
    def setUpClass(cls):
        cls.directory = rig.directory(cls.__name__)
        cls.results = cls.directory / "results"
        cls.addClassCleanup(rig.stop_all)
        cls.backends = [rig.Backend(cls.directory, name, 0, "--fault") for name in BACKENDS]
        settings = '[algo]\nchoosers = "anyone"\n[decisions]\nrecord = "all"\n'
        cls.balancer = rig.Balancer(cls.directory, cls.backends, settings)
        bench = f"{cls.balancer.traffic}/bench?slow=1"
        cls.backends[0].fault(error_rate=0.3)
        cls.runs = {
            "one-fails": tester(cls.results, "one-fails", bench, 2_000, "--rate", 1_000, "--title", "One backend fails a third", fails=True),
        }
        cls.backends[0].fault(error_rate=0)
        cls.runs["adaptive"] = tester(cls.results, "adaptive", bench, MANY, "--concurrency", 60, "--title", "Adaptive, 60 at once")
        cls.runs["random"] = tester(cls.results, "random", bench, 4_000, "--concurrency", 60, "--algo", "random")
        cls.runs["refused"] = tester(cls.results, "refused", f"http://127.0.0.1:{rig.free_port()}/", 40, fails=True)
        cls.dashboard = Dashboard(cls.directory, cls.results, cls.balancer.admin)
        cls.browser = Browser(cls.directory)

    def page(self, where="", dashboard=None, **options):
        page = self.browser.page(**options)
        self.addCleanup(page.close)
        page.open(f"{(dashboard or self.dashboard).url}/{where}")
        page.until("document.readyState === 'complete' && !!document.querySelector('main').children.length")
        return page

    def drawn(self, page, run):
        """The number of traces of each chart, once all are there."""
        page.until(f"{json.dumps(CHARTS)}.every(id => {{ const c = document.getElementById(`chart-${{id}}-{run}`);"
                   " return c && (c.classList.contains('empty') || c.querySelector('.main-svg')) })")
        return {id: page.js(f"document.getElementById('chart-{id}-{run}').data?.length ?? 0") for id in CHARTS}

    def shot(self, page, name, full=False):
        """A picture for this test's directory, or for the README where that is asked for."""
        page.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        asked = os.environ.get("SCREENSHOTS")
        directory = rig.ROOT / asked if asked else self.directory
        directory.mkdir(parents=True, exist_ok=True)
        page.screenshot(directory / f"{name}.png", full)

    def test_all_five_charts_are_drawn_from_the_run_s_own_records(self):
        for run, records in self.runs.items():
            page = self.page(f"#/run/{run}")
            self.assertEqual(self.drawn(page, run), traces(records), run)
            self.assertEqual(page.js("document.querySelector('h1').textContent"), HEADING)
            counts = {}
            for record in records:
                if record.get("instance"):
                    counts[record["instance"]] = counts.get(record["instance"], 0) + 1
            shown = page.js("Object.fromEntries([...document.querySelectorAll('.thirds .card:first-child tbody tr')]"
                            ".map(row => [row.cells[0].textContent, Number(row.cells[2].textContent.replaceAll(',', ''))]))")
            self.assertEqual(shown, counts, run)
            buttons = page.js("[...document.querySelectorAll('.modebar-btn')].map(button => button.dataset.title).join()")
            self.assertIn("Zoom in", buttons)
            self.assertNotRegex(buttons, "(?i)share|cloud", "a chart can be uploaded")
            self.assertEqual(page.errors, [], run)

    def test_ten_thousand_records_stay_fluid(self):
        page = self.page("#/runs")
        page.open("about:blank")
        begin, busy = time.monotonic(), page.busy()
        page.open(f"{self.dashboard.url}/#/run/adaptive")
        self.assertEqual(self.drawn(page, "adaptive"), traces(self.runs["adaptive"]))
        waited, first = time.monotonic() - begin, page.busy() - busy
        zooms = []
        for _ in range(3):
            busy = page.busy()
            took = page.js("""(async () => {
                const charts = [...document.querySelectorAll('.chart')];
                const begin = performance.now();
                const done = Promise.all(charts.map(chart => new Promise(resume => chart.once('plotly_afterplot', resume))));
                [...document.querySelectorAll('.toolbar button')].find(b => b.textContent === 'Zoom in').click();
                await done;
                await new Promise(resume => requestAnimationFrame(resume));
                return (performance.now() - begin) / 1000;
            })()""")
            zooms.append((page.busy() - busy, took))
        zoom, took = min(zooms)
        print(f"{MANY} records: all five charts {first:.2f} s of work, {waited:.2f} s after opening the page; "
              f"all five zoomed {zoom:.2f} s, {took:.2f} s")
        self.assertLess(first, DRAWN_WITHIN)
        self.assertLess(zoom, ZOOMED_WITHIN)
        self.assertEqual(page.errors, [])

    def test_dragging_over_a_chart_zooms_all_of_them_and_a_double_click_goes_back(self):
        page = self.page("#/run/adaptive")
        self.drawn(page, "adaptive")
        x_range = "document.getElementById('chart-{}-adaptive').layout.xaxis.range"
        whole = page.js(x_range.format("service"))
        page.js("document.getElementById('chart-active-adaptive').scrollIntoView({ block: 'center' })")
        box = page.js("(({ x, y, width, height }) => ({ x, y, width, height }))(document.querySelector('#chart-active-adaptive .nsewdrag').getBoundingClientRect())")
        middle = box["y"] + box["height"] / 2
        page.drag(box["x"] + box["width"] * 0.4, box["x"] + box["width"] * 0.6, middle)
        length = whole[1] - whole[0]
        for chart in CHARTS:
            page.until(f"{x_range.format(chart)}[1] - {x_range.format(chart)}[0] < {length * 0.3}")
        zoomed = page.js(x_range.format("service"))
        self.assertAlmostEqual(zoomed[0], whole[0] + length * 0.4, delta=length * 0.02)
        self.assertAlmostEqual(zoomed[1], whole[0] + length * 0.6, delta=length * 0.02)
        # What is drawn now is this part only.
        times = page.js("document.getElementById('chart-service-adaptive').data.flatMap(trace => trace.x)")
        self.assertTrue(all(zoomed[0] <= at <= zoomed[1] for at in times))
        for clicks in (1, 2):
            page.mouse("mousePressed", box["x"] + 30, middle, clicks=clicks)
            page.mouse("mouseReleased", box["x"] + 30, middle, clicks=clicks)
        for chart in CHARTS:
            page.until(f"Math.abs({x_range.format(chart)}[1] - {whole[1]}) < 1e-6")
        self.assertEqual(page.errors, [])

    def test_a_part_without_requests_says_so_and_the_charts_come_back(self):
        directory = rig.directory(self.id())
        times = [100 + at / 10 for at in (*range(10), *range(90, 100))]
        gap = [{"instance": "A", "req_snd_time": at, "req_rcv_time": at + 0.01, "resp_snd_time": at + 0.02, "resp_rcv_time": at + 0.05, "status": 200} for at in times]
        (directory / "gap.json").write_text(json.dumps(gap))
        dashboard = Dashboard(directory, directory, self.balancer.admin)
        self.addCleanup(dashboard.stop)
        page = self.page("#/run/gap", dashboard)
        self.assertEqual(self.drawn(page, "gap"), traces(gap))
        button = "[...document.querySelectorAll('.toolbar button')].find(b => b.textContent === '{}').click()"
        delays = "['service', 'processing'].map(id => document.getElementById(`chart-${id}-gap`))"
        for _ in range(2):
            page.js(button.format("Zoom in"))
            page.until(f"{delays}.every(chart => chart.textContent === 'No request in this part of the run.')")
            page.js(button.format("Whole run"))
            page.until(f"{delays}.every(chart => !chart.classList.contains('empty') && chart.querySelectorAll('.scatterlayer .point').length === {len(gap)})")
        # They zoom the others as before.
        page.js("Plotly.relayout('chart-service-gap', { 'xaxis.range': [0, 1] }).then(() => true)")
        page.until("document.querySelector('.toolbar [role=status]').textContent.startsWith('Showing 0 to 1 s')")
        page.until("document.querySelectorAll('#chart-processing-gap .scatterlayer .point').length <= 11")
        self.assertEqual(page.errors, [])

    def test_where_nothing_was_answered_well_there_is_no_latency(self):
        page = self.page("#/run/refused")
        self.drawn(page, "refused")
        tiles = "Object.fromEntries([...document.querySelectorAll('.head .tile')].map(tile => [tile.firstChild.textContent, tile.lastChild.textContent]))"
        self.assertEqual({name: text for name, text in page.js(tiles).items() if "latency" in name}, {"latency p50": "– ms", "latency p99": "– ms"})
        page.open(f"{self.dashboard.url}/#/compare/adaptive/refused")
        self.drawn(page, "refused")
        rows = page.js("[...document.querySelectorAll('main > .card tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))")
        latencies = [row for row in rows if row[0].startswith("latency")]
        self.assertEqual(len(latencies), 6)
        for name, left, *rest in latencies:
            self.assertGreater(float(left.replace(",", "")), 0, name)
            self.assertEqual(rest, ["–", "–"], name)
        self.assertEqual(page.errors, [])

    def test_the_address_names_the_view_and_nothing_else(self):
        page = self.page("#/run/adaptive")
        self.drawn(page, "adaptive")
        page.js("document.querySelector('.skip').focus()")
        page.press("Enter", 13)
        page.until("document.activeElement.id === 'main'")
        self.assertEqual(page.js("location.hash"), "#/run/adaptive")
        self.assertEqual(page.js("document.querySelector('nav [aria-current=page]').id"), "tab-runs")
        page.open(f"{self.dashboard.url}/#/run/%")
        page.until("document.querySelector('main').innerText.includes('there is no run \"%\"')")
        self.assertEqual(page.errors, [])

    def test_runs_are_chosen_from_the_list_by_keyboard_too(self):
        page = self.page("#/run/adaptive")
        self.drawn(page, "adaptive")
        listed = page.js("[...document.querySelectorAll('#list li')].map(item => item.dataset.run)")
        self.assertEqual(sorted(listed), sorted(self.runs))
        page.js("document.querySelector('#list [data-run=random] a.run').focus()")
        page.press("Enter", 13)
        self.assertEqual(self.drawn(page, "random"), traces(self.runs["random"]))
        self.assertEqual(page.js("document.querySelector('#list .chosen').dataset.run"), "random")
        page.click("#list [data-run=one-fails] a.run")
        self.drawn(page, "one-fails")
        self.assertIn("One backend fails a third", page.js("document.querySelector('.head h2').textContent"))
        self.assertEqual(page.errors, [])

    def test_two_runs_are_shown_side_by_side_with_one_axis_and_the_same_colours(self):
        page = self.page("#/run/adaptive")
        self.drawn(page, "adaptive")
        page.click("#list [data-run=random] a.compare")
        for run in ("adaptive", "random"):
            self.assertEqual(self.drawn(page, run), traces(self.runs[run]))
        left, right = (f"document.getElementById('chart-service-{run}')" for run in ("adaptive", "random"))
        page.until(f"{left}.layout.xaxis.range[1] === {right}.layout.xaxis.range[1]")
        self.assertEqual(page.js(f"{left}.data.map(t => t.name + t.marker.color)"), page.js(f"{right}.data.map(t => t.name + t.marker.color)"))
        tops = page.js(f"[{left}, {right}].map(c => c.getBoundingClientRect().top)")
        self.assertEqual(tops[0], tops[1])
        self.assertIn("difference", page.js("document.querySelector('main').innerText"))
        self.shot(page, "dashboard-compare")
        self.assertEqual(page.errors, [])

    def test_live_shows_requests_states_weights_and_why(self):
        page = self.page("#/live", height=1780)
        page.until("document.getElementById('live-state').textContent.startsWith('watching')", LIVE_WITHIN)
        with subprocess.Popen([rig.PROGRAMS / "traffic-lab", "tester", f"{self.balancer.traffic}/bench?slow=1", "--rate", "120", "--duration", "60s",
                               "--out", self.directory / "live"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=rig.environment()) as load:
            self.addCleanup(load.kill)
            page.until("document.querySelectorAll('#live-requests li').length > 10", LIVE_WITHIN)
            page.until("document.querySelectorAll('#live-backends tbody tr').length === 3", LIVE_WITHIN)
            page.until("document.getElementById('chart-live-rates').data.some(line => Math.max(...line.y) > 5)", LIVE_WITHIN)
            self.assertEqual(page.js("document.getElementById('chart-live-shares').data.length"), 3)
            shares = page.js("document.getElementById('chart-live-shares').data.map(line => line.y.at(-1))")
            self.assertAlmostEqual(sum(shares), 100, delta=0.5)
            page.until("document.querySelectorAll('#live-why tbody tr').length === 3", LIVE_WITHIN)
            self.assertRegex(page.js("document.getElementById('live-why').innerText"), r"cost|drawn")
            page.until("document.getElementById('chart-live-rates').data[0].x.length >= 10", LIVE_WITHIN)
            page.until("parseFloat(document.querySelector('.head .tile dd').textContent) > 5", LIVE_WITHIN)
            self.shot(page, "dashboard-live")
            load.terminate()
        self.assertEqual(page.errors, [])

    def test_a_balancer_that_goes_away_and_comes_back_is_told(self):
        directory = rig.directory(self.id())
        admin = rig.free_port()
        config = directory / "balancer.toml"
        text = rig.config_text(self.backends, "", "adaptive")
        config.write_text(text.replace('admin = "127.0.0.1:0"', f'admin = "127.0.0.1:{admin}"'))
        dashboard = Dashboard(directory, self.results, f"http://127.0.0.1:{admin}")
        self.addCleanup(dashboard.stop)
        page = self.page("#/live", dashboard)
        state = "document.getElementById('live-state').textContent"
        page.until(f"{state}.includes('is away: nothing listens there')", LIVE_WITHIN)
        balancer = rig.Serving(directory, config)
        self.addCleanup(balancer.stop)
        page.until(f"{state}.startsWith('watching')", LIVE_WITHIN)
        page.until("document.querySelectorAll('#live-facts li').length > 0", LIVE_WITHIN)
        balancer.kill()
        page.until(f"{state}.includes('is away')", LIVE_WITHIN)
        again = rig.Serving(directory, config, "again")
        self.addCleanup(again.stop)
        page.until(f"{state}.startsWith('watching')", LIVE_WITHIN)
        self.assertEqual(page.errors, [])

    def test_an_empty_directory_says_how_to_make_a_run_and_the_command_works(self):
        directory = rig.directory(self.id())
        dashboard = Dashboard(directory, directory / "none", self.balancer.admin)
        self.addCleanup(dashboard.stop)
        page = self.page("#/runs", dashboard)
        page.until("document.querySelector('main').innerText.includes('No runs yet')")
        said = page.js("document.querySelector('main pre').textContent")
        self.assertIn("make demo", said)
        url, number = re.search(r"traffic-lab tester '(\S+)' (\d+)", said).groups()
        records = tester(directory / "none", "first", url.replace("http://127.0.0.1:5000", self.balancer.traffic), int(number) // 100)
        page.click("#reload")
        self.assertEqual(self.drawn(page, "first"), traces(records))
        self.assertEqual(page.errors, [])

    def test_without_runs_and_balancer_it_says_how_to_get_them(self):
        directory = rig.directory(self.id())
        dashboard = Dashboard(directory, directory / "none", f"http://127.0.0.1:{rig.free_port()}")
        self.addCleanup(dashboard.stop)
        page = self.page("", dashboard)
        page.until("document.getElementById('live-state')?.textContent.includes('is away')", LIVE_WITHIN)
        page.until("document.querySelector('main pre')?.textContent.includes('make demo')")
        self.assertEqual(page.errors, [])

    def test_a_broken_file_is_named_with_its_reason_and_the_others_work(self):
        directory = rig.directory(self.id())
        results = directory / "results"
        results.mkdir()
        (results / "half.json").write_text('{"version": 1, "id": "half", "records": [{"req_snd')
        dashboard = Dashboard(directory, results, self.balancer.admin)
        self.addCleanup(dashboard.stop)
        page = self.page("#/runs", dashboard)
        page.until("document.querySelector('main').innerText.includes('No file here is a run')")
        self.assertRegex(page.js("document.getElementById('list').innerText"), r"half\.json\s+cannot be read: not a run of traffic-lab: EOF")
        markup = "<img src=x onerror=alert(1)>"
        bare = [{"instance": markup, "req_snd_time": 1.0 + at, "resp_rcv_time": 1.5 + at, "status": 200} for at in range(3)]
        (results / "bare.json").write_text(json.dumps(bare))
        page.click("#reload")
        self.assertEqual(self.drawn(page, "bare"), traces(bare))
        self.assertIn(markup, page.js("document.querySelector('main').innerText"))
        self.assertEqual(page.js("document.querySelectorAll('main img, #list img').length"), 0)
        self.assertEqual(page.js("document.getElementById('chart-processing-bare').className.includes('empty')"), True)
        self.assertEqual(page.errors, [])

    def test_it_fits_a_phone_and_a_dark_room(self):
        page = self.page("#/run/adaptive", width=390, height=844)
        self.drawn(page, "adaptive")
        self.assertLessEqual(page.js("document.documentElement.scrollWidth"), 390)
        self.shot(page, "phone", full=True) if not os.environ.get("SCREENSHOTS") else None
        page.open(f"{self.dashboard.url}/#/live")
        page.until("!!document.getElementById('live-state')")
        self.assertLessEqual(page.js("document.documentElement.scrollWidth"), 390)
        dark = self.page("#/run/one-fails", dark=True)
        self.drawn(dark, "one-fails")
        self.shot(dark, "dashboard-dark", full=True)
        light = self.page("#/run/adaptive")
        self.drawn(light, "adaptive")
        self.shot(light, "dashboard-run", full=True)
        brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
        self.assertLess(dark.js(brightness), 150)
        self.assertGreater(light.js(brightness), 600)
        self.assertEqual(page.errors + dark.errors + light.errors, [])

    def get(self, path, **headers):
        """Status, headers and text of one request, as it stands."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(urllib.request.Request(self.dashboard.url + path, headers=headers), timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.headers, refusal.read().decode()

    def test_nothing_but_runs_is_given_away_and_nobody_else_is_answered(self):
        (self.directory / "outside.json").write_text("[]")
        for path in ("/api/runs/../outside", "/api/runs/..%2Foutside", "/api/runs/%2e%2e%2foutside", "/../../outside.json", "/etc/passwd", "/api/runs/missing"):
            self.assertEqual(self.get(path)[0], 404, path)
        self.assertEqual(self.get("/", Host="evil.example:8050")[0], 403)
        self.assertEqual(self.get("/api/runs", Host="evil.example")[0], 403)
        status, headers, _ = self.get("/")
        self.assertEqual(status, 200)
        self.assertIn("default-src 'self'", headers["Content-Security-Policy"])
        self.assertEqual(self.get("/style.css", **{"If-None-Match": self.get("/style.css")[1]["ETag"]})[0], 304)
        self.assertEqual(self.get("/api/runs")[1]["Cache-Control"], "no-store")

    def test_what_a_token_guards_is_not_given_to_the_network(self):
        token = self.directory / "token"
        token.write_text("secret")
        command = [rig.PROGRAMS / "traffic-lab", "dashboard", "--listen", "0.0.0.0:0", "--admin-token-file", token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=rig.environment(), check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("--listen 0.0.0.0:0 would give everybody there what the token guards", done.stderr)

    def test_a_taken_address_is_named(self):
        port = self.dashboard.url.rpartition(":")[2]
        command = [rig.PROGRAMS / "traffic-lab", "dashboard", "--listen", f"127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=rig.environment(), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"cannot listen on 127.0.0.1:{port}", done.stderr)


if __name__ == "__main__":
    unittest.main()
