# SPDX-License-Identifier: Apache-2.0
import re
from dataclasses import fields
from pathlib import Path

import pytest

from pedigree.errors import ConfigError
from pedigree.policy.verdict import Action
from pedigree.serving.environment import SERVICE_ACCOUNT_TOKEN
from pedigree_webhook.config import Config

NEEDED = {
    "PEDIGREE_TLS_CERT_FILE": "/tls/tls.crt",
    "PEDIGREE_TLS_KEY_FILE": "/tls/tls.key",
    "PEDIGREE_DATA_DIR": "/data",
}


def test_three_settings_are_enough() -> None:
    config = Config.from_env(NEEDED)
    assert config.port == 8443
    assert config.metrics_port == 8080
    assert config.no_match is Action.DENY
    assert config.store_max_age_s == 120
    assert config.max_review_bytes == 3_145_728
    assert config.token_file == SERVICE_ACCOUNT_TOKEN
    assert config.kubeconfig is None
    assert config == Config(
        tls_cert_file=Path("/tls/tls.crt"),
        tls_key_file=Path("/tls/tls.key"),
        data_dir=Path("/data"),
    )


def test_every_setting_is_read() -> None:
    config = Config.from_env(
        NEEDED
        | {
            "PEDIGREE_TLS_CA_FILE": "/tls/ca.crt",
            "PEDIGREE_KUBECONFIG": "/k",
            "KUBECONFIG": "/other",
            "PEDIGREE_HOST": "127.0.0.1",
            "PEDIGREE_PORT": "0",
            "PEDIGREE_METRICS_PORT": "1",
            "PEDIGREE_PORT_FILE": "/ports",
            "PEDIGREE_STORE_MAX_AGE_S": "7.5",
            "PEDIGREE_MAX_REVIEW_BYTES": "2048",
            "PEDIGREE_NO_MATCH": "Allow",
            "PEDIGREE_LOG_LEVEL": "DEBUG",
            "PEDIGREE_AUDIT_URL": "https://audit/",
            "PEDIGREE_AUDIT_CA_FILE": "/ca",
            "PEDIGREE_TOKEN_FILE": "/token",
            "PEDIGREE_DRAIN_S": "0",
        }
    )
    assert config == Config(
        tls_cert_file=Path("/tls/tls.crt"),
        tls_key_file=Path("/tls/tls.key"),
        data_dir=Path("/data"),
        tls_ca_file=Path("/tls/ca.crt"),
        kubeconfig=Path("/k"),
        host="127.0.0.1",
        port=0,
        metrics_port=1,
        port_file=Path("/ports"),
        store_max_age_s=7.5,
        max_review_bytes=2048,
        no_match=Action.ALLOW,
        log_level="debug",
        audit_url="https://audit",
        audit_ca_file=Path("/ca"),
        token_file=Path("/token"),
        drain_s=0,
    )


@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not set"):
        Config.from_env({key: value for key, value in NEEDED.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PEDIGREE_PORT", "https"),
        ("PEDIGREE_PORT", "65536"),
        ("PEDIGREE_PORT", "-1"),
        ("PEDIGREE_PORT", "\u0669"),
        ("PEDIGREE_STORE_MAX_AGE_S", "0"),
        ("PEDIGREE_STORE_MAX_AGE_S", "nan"),
        ("PEDIGREE_STORE_MAX_AGE_S", "inf"),
        ("PEDIGREE_STORE_MAX_AGE_S", "2m"),
        ("PEDIGREE_MAX_REVIEW_BYTES", "1"),
        ("PEDIGREE_NO_MATCH", "Warn"),
        ("PEDIGREE_LOG_LEVEL", "loud"),
        ("PEDIGREE_DRAIN_S", "-1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_with_its_value(
    name: str, value: str
) -> None:
    with pytest.raises(ConfigError, match=f"{name} is .*, wanted "):
        Config.from_env(NEEDED | {name: value})


def test_every_setting_says_its_variable() -> None:
    text = Config.__doc__ or ""
    for item in fields(Config):
        # How far docstrings are indented depends on the version of Python.
        assert re.search(rf"^ +{item.name}: ``PEDIGREE_", text, re.MULTILINE)
