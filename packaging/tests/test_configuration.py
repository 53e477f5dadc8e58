"""The example configuration, and what else of this folder names its files."""

import re
import unittest

from common import PACKAGING, tomllib

TEXT = (PACKAGING / "server.toml").read_text()


class Configuration(unittest.TestCase):
    def test_what_is_commented_out_is_toml_as_well(self):
        """A line `# key = value`, or a table, is meant to be uncommented: then the whole must still parse."""
        optional = re.sub(r"(?m)^# (\[\[?[a-z.-]+\]\]?|[a-z-]+ = \S.*)$", r"\1", TEXT)
        self.assertNotEqual(optional, TEXT)
        given, all_of_it = tomllib.loads(TEXT), tomllib.loads(optional)
        self.assertEqual((len(given["model"]), len(all_of_it["model"])), (1, 2))
        self.assertEqual(set(all_of_it), {"server", "limits", "quota", "quota-of", "model"})

    def test_files_are_where_the_unit_and_the_image_let_the_server_read_and_write(self):
        config = tomllib.loads(TEXT)
        self.assertEqual(config["server"]["certs"], "/etc/gelu/certs")
        for path in (config["server"]["store"], *(model["file"] for model in config["model"])):
            self.assertTrue(path.startswith("/var/lib/gelu/"), path)
        unit = (PACKAGING / "systemd/gelu.service").read_text()
        self.assertIn("\nStateDirectory=gelu\n", unit)
        self.assertIn("--config /etc/gelu/server.toml", unit)
        image = (PACKAGING / "Containerfile").read_text()
        self.assertIn("\nVOLUME /var/lib/gelu\n", image)
        self.assertIn('"--config", "/etc/gelu/server.toml"', image)

    def test_the_admin_address_is_on_loopback(self):
        self.assertTrue(tomllib.loads(TEXT)["server"]["admin"].startswith("127.0.0.1:"))


if __name__ == "__main__":
    unittest.main()
