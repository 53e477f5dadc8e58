"""The manifests: by Kubernetes' own schemas, and what no schema knows."""

import copy
import re
import unittest

import kubernetes_validate
import yaml
from common import PACKAGING, tomllib

FOLDER = PACKAGING / "kubernetes"
FILES = [*sorted(FOLDER.glob("*.yaml")), *sorted(FOLDER.glob("example/*.yaml"))]
# The oldest that knows every field, and the newest that the validator has.
VERSIONS = ["1.30", "1.37"]


def manifest(kind):
    """The one manifest of a kind."""
    found = [m for file in FILES for m in yaml.safe_load_all(file.read_text()) if m["kind"] == kind]
    (only,) = found
    return only


def validate(manifest, version):
    """Fails where a manifest is not one of this version, or has a field that it does not know."""
    kubernetes_validate.validate(manifest, version, strict=True)


class Schemas(unittest.TestCase):
    def test_every_manifest_is_valid(self):
        self.assertGreaterEqual(len(FILES), 5)
        for file in FILES:
            for version in VERSIONS:
                for resource in yaml.safe_load_all(file.read_text()):
                    with self.subTest(file=file.name, version=version):
                        validate(resource, version)

    def test_broken_manifests_are_refused(self):
        def misspell(deployment):
            deployment["spec"]["replica"] = deployment["spec"].pop("replicas")

        def no_selector(deployment):
            del deployment["spec"]["selector"]

        def wrong_type(deployment):
            deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "clients"

        for break_it in (misspell, no_selector, wrong_type):
            broken = copy.deepcopy(manifest("Deployment"))
            break_it(broken)
            with self.subTest(broken=break_it.__name__), self.assertRaises(kubernetes_validate.ValidationError):
                validate(broken, VERSIONS[-1])


class Together(unittest.TestCase):
    def setUp(self):
        self.deployment = manifest("Deployment")["spec"]
        self.pod = self.deployment["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.secret = manifest("Secret")
        self.config = tomllib.loads(self.secret["stringData"]["server.toml"])

    def test_everything_selects_the_pods_of_the_deployment(self):
        labels = self.deployment["template"]["metadata"]["labels"]
        spread = self.pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]
        selectors = [
            self.deployment["selector"]["matchLabels"],
            manifest("Service")["spec"]["selector"],
            manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
            manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
            spread,
        ]
        for selector in selectors:
            self.assertEqual(selector, labels)

    def test_ports_are_those_that_the_server_listens_on(self):
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        listens = {name: int(self.config["server"][key].rpartition(":")[2]) for name, key in NAMED.items()}
        self.assertEqual(ports, listens)
        for port in manifest("Service")["spec"]["ports"]:
            self.assertEqual(port["targetPort"], "clients")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual(self.container[probe]["httpGet"]["port"], "admin")
        scraped = self.deployment["template"]["metadata"]["annotations"]["prometheus.io/port"]
        self.assertEqual(int(scraped), ports["admin"])
        policy = manifest("NetworkPolicy")["spec"]["ingress"]
        self.assertEqual([rule["ports"][0]["port"] for rule in policy], ["clients", "admin"])
        self.assertNotIn("from", policy[0])
        self.assertIn("from", policy[1], "the admin address is not for everybody")

    def test_the_secret_is_what_the_server_reads(self):
        (volume,) = self.pod["volumes"]
        (mount,) = self.container["volumeMounts"]
        self.assertEqual((volume["name"], volume["secret"]["secretName"]), (mount["name"], self.secret["metadata"]["name"]))
        self.assertEqual(self.container["args"][:3], ["serve", "--config", f"{mount['mountPath']}/server.toml"])
        self.assertEqual(self.config["server"]["certs"], mount["mountPath"])
        self.assertEqual(set(self.secret["stringData"]), {"server.toml", "ca.pem", "crl.pem", "server.pem", "server.key"})
        # Replicas share a store, and the database is one that the policy lets them reach.
        database = re.fullmatch(r"postgres://.*:(\d+)/\w+\?sslmode=\w+", self.config["server"]["store"])
        egress = [port["port"] for rule in manifest("NetworkPolicy")["spec"]["egress"] for port in rule["ports"]]
        self.assertIn(int(database[1]), egress)

    def test_the_example_has_no_secret_of_anybodys(self):
        for name, value in self.secret["stringData"].items():
            if name != "server.toml":
                self.assertRegex(value, r"^-----BEGIN [A-Z0-9 ]+-----\nPLACEHOLDER\n-----END [A-Z0-9 ]+-----\n$")
        self.assertIn(":PASSWORD@", self.config["server"]["store"])

    def test_pods_are_restricted(self):
        """The profile `restricted` of the Pod Security Standards, and a root that cannot be written."""
        pod, container = self.pod["securityContext"], self.container["securityContext"]
        self.assertTrue(pod["runAsNonRoot"] and pod["runAsUser"] > 0)
        self.assertEqual(pod["seccompProfile"]["type"], "RuntimeDefault")
        self.assertEqual(container["capabilities"], {"drop": ["ALL"]})
        self.assertIs(container["allowPrivilegeEscalation"], False)
        self.assertIs(container["readOnlyRootFilesystem"], True)
        self.assertIs(self.pod["automountServiceAccountToken"], False)
        for host in ("hostNetwork", "hostPID", "hostIPC"):
            self.assertNotIn(host, self.pod)

    def test_replicas_end_in_order(self):
        """Longer than the sleep and the grace of a lease (30 s, `gelu_service::Limits`)."""
        sleep = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], sleep + 30)
        self.assertGreaterEqual(self.deployment["replicas"], 2)
        self.assertEqual(manifest("PodDisruptionBudget")["spec"]["maxUnavailable"], 1)


NAMED = {"clients": "listen", "admin": "admin"}

if __name__ == "__main__":
    unittest.main()
