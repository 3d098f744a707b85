"""Reads the Prometheus text format as far as the balancer and the backend write it: one sample a line, no escapes."""

import re

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Samples:
    def __init__(self, samples):
        self.samples = samples

    def sum(self, name, **labels):
        """The sum over all samples of `name` that have these labels."""
        return sum(value for found, value in self.of(name) if labels.items() <= found.items())

    def by(self, name, label, **labels):
        """The same for each value of `label`; values that never counted are left out."""
        sums = {}
        for found, value in self.of(name):
            if labels.items() <= found.items() and value:
                sums[found[label]] = sums.get(found[label], 0) + value
        return sums

    def of(self, name):
        samples = [(labels, value) for found, labels, value in self.samples if found == name]
        assert samples, f"no sample of {name}"
        return samples


def parse(text):
    samples = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = SAMPLE.match(line).groups()
            samples.append((name, dict(LABEL.findall(labels or "")), float(value)))
    return Samples(samples)
