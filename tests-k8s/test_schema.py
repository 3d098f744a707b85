"""Every manifest against the schemas of three Kubernetes versions, strictly: unknown fields, and kinds without a schema, are
faults."""

import functools
import unittest

import kubernetes_validate
import kubernetes_validate.utils as reader
import manifests

# It would read megabytes anew for each object.
reader.schema_contents = functools.cache(reader.schema_contents)

VERSIONS = ("1.33.0", "1.35.0", "1.37.0")
# Applied by those who have the kinds' definitions; kustomize and kind read theirs themselves.
NOT_KUBERNETES = ("monitoring.coreos.com/v1", "kustomize.config.k8s.io/v1beta1", "kind.x-k8s.io/v1alpha4")
EXTRAS = ("node-exporter", "scaling", "locust", "operator")


def fault(one, version):
    """What is wrong with an object in this version; a kind that it does not know is wrong, too."""
    try:
        used = kubernetes_validate.validate(one.data, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{one}: {'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return f"{one}: {error.message}"
    # Where it does not have the version that was asked for it takes an older one.
    return None if version.startswith(used) else f"{one}: checked against {used}"


class Schema(unittest.TestCase):
    def sound(self, objects):
        self.assertTrue(objects)
        self.assertEqual([said for version in VERSIONS for one in objects if (said := fault(one, version))], [])

    def test_the_manifests(self):
        self.sound(manifests.folder())

    def test_the_extras(self):
        for name in EXTRAS:
            known = [one for one in manifests.folder(manifests.EXTRAS / name) if one.data["apiVersion"] not in NOT_KUBERNETES]
            self.sound(known)

    def test_what_overlays_make(self):
        for name in manifests.OVERLAYS:
            self.sound(manifests.overlay(name))

    def test_faults_are_found(self):
        objects = manifests.folder()
        box = ("spec", "template", "spec", "containers", 0)
        for kind, name, path, value in (
            ("Deployment", "redis", ("spec", "replica"), 1),
            ("Deployment", "redis", ("spec", "replicas"), "one"),
            ("Deployment", "redis", ("spec", "selector"), None),
            ("Deployment", "redis", (*box, "ports", 0, "port"), 1),
            ("PodDisruptionBudget", "backend", ("apiVersion",), "policy/v1beta1"),
            ("Service", "redis", ("kind",), "Servise"),
        ):
            broken = manifests.found(manifests.changed(objects, kind, name, path, value), value if path == ("kind",) else kind, name)
            for version in VERSIONS:
                self.assertTrue(fault(broken, version), f"{kind} {name} {path} in {version}")


if __name__ == "__main__":
    unittest.main()
