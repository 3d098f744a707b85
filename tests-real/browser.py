"""Headless Chromium, driven over its own protocol (CDP): Debian's program, and nothing between it and the tests.

A driver would have to fit the browser's version, and Playwright brings a browser and a Node of its own. What the tests
need (evaluate, move the mouse, take a picture, hear errors) is a dozen messages over a WebSocket, and a client for those
is here already.
"""

import base64
import json
import os
import urllib.request

import rig
from websockets.sync.client import connect

ANSWER_WITHIN = 60.0


class Browser(rig.Process):
    """The program with a profile of its own; it speaks to nobody but us."""

    def __init__(self, directory, *more):
        options = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={directory / 'profile'}",
                   "--no-first-run", "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
                   "--disable-sync", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
                   "--no-proxy-server", "--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-GB", *more]
        if os.getuid() == 0:
            # The sandbox refuses to run for root; what is opened here is our own page.
            options.append("--no-sandbox")
        super().__init__(directory / "chromium", "chromium", *options, "about:blank")
        self.port = self.said(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", self.err)[1]

    def page(self, width=1280, height=900, dark=False):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?about:blank", method="PUT")
        with opener.open(request, timeout=ANSWER_WITHIN) as answer:
            target = json.load(answer)
        return Page(target["webSocketDebuggerUrl"], width, height, dark)


class Page:
    """A tab. `errors` is what its console, its scripts and its requests complained about."""

    def __init__(self, url, width, height, dark):
        self.socket = connect(url, max_size=None, proxy=None, open_timeout=ANSWER_WITHIN)
        self.number, self.errors = 0, []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Performance.enable", timeDomain="threadTicks")
        self.size(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def call(self, method, **parameters):
        """The result of a command; what is told meanwhile is looked through for errors."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=ANSWER_WITHIN))
            if message.get("id") == self.number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]
            self.heard(message.get("method"), message.get("params", {}))

    def heard(self, method, told):
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(f"console: {[argument.get('value', argument.get('description')) for argument in told['args']]}")
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def js(self, expression):
        """The value of an expression, a promise's result included."""
        done = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            raise AssertionError(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def until(self, expression, within=rig.START_WITHIN):
        """Waits until an expression is true, and returns it."""
        return rig.until(lambda: self.js(expression), expression, within)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def press(self, key, code, modifiers=0):
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers, **text)

    def mouse(self, kind, x, y, button="left", clicks=1):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(kind != "mouseReleased"), clickCount=clicks)

    def drag(self, begin, end, y, steps=5):
        """Presses at `begin`, moves to `end`, lets go, at the height `y`."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=begin, y=y)
        self.mouse("mousePressed", begin, y)
        for step in range(1, steps + 1):
            self.mouse("mouseMoved", begin + (end - begin) * step / steps, y)
        self.mouse("mouseReleased", end, y)

    def click(self, selector):
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def screenshot(self, file, full=False):
        """A picture of what is seen, or of the whole page."""
        more = {}
        if full:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            more = {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"]))

    def busy(self):
        """Seconds of processor time that the page's own thread has used: other work on this machine is not in it."""
        metrics = self.call("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def close(self):
        self.socket.close()
