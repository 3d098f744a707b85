"""Certificates by openssl: an authority, and what it issues, in files of a test's own."""

from clients import run

NEW = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


class Authority:
    """`directory`/ca.pem vouches for whatever `issue` makes."""

    def __init__(self, directory):
        self.directory, self.file, self.key = directory, directory / "ca.pem", directory / "ca.key"
        run([*NEW, "-keyout", self.key, "-out", self.file, "-subj", "/CN=an authority of the tests", "-days", 30])

    def issue(self, name, *hosts):
        """The files of a certificate for these names and addresses, and of its key."""
        chain, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        names = ",".join(f"IP:{host}" if host[0].isdigit() else f"DNS:{host}" for host in hosts)
        run([*NEW, "-keyout", key, "-out", chain, "-subj", f"/CN={hosts[0]}", "-days", 20, "-CA", self.file, "-CAkey", self.key,
             "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE"])
        return chain, key
