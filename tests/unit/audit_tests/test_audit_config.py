# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import pytest

from pedigree.errors import ConfigError
from pedigree_audit.config import Auth, Config

LEAST = {
    "PEDIGREE_TLS_CERT_FILE": "/tls/tls.crt",
    "PEDIGREE_TLS_KEY_FILE": "/tls/tls.key",
    "PEDIGREE_DATA_DIR": "/data",
}


def test_defaults_check_access_and_listen_for_other_pods() -> None:
    config = Config.from_env(LEAST)
    assert config.auth is Auth.KUBERNETES
    assert (config.host, config.port, config.metrics_port) == ("0.0.0.0", 8444, 8080)
    assert config.ledger_path == Path("/data/ledger.db")
    assert config.kubeconfig is None


def test_every_setting_is_read_from_its_variable() -> None:
    config = Config.from_env(
        {
            **LEAST,
            "PEDIGREE_TLS_CA_FILE": "/tls/ca.crt",
            "PEDIGREE_AUDIT_AUTH": "none",
            "PEDIGREE_AUDIT_AUDIENCES": "pedigree, other,",
            "KUBECONFIG": "/k",
            "PEDIGREE_KUBECONFIG": "/mine",
            "PEDIGREE_HOST": "::1",
            "PEDIGREE_PORT": "0",
            "PEDIGREE_METRICS_PORT": "9",
            "PEDIGREE_PORT_FILE": "/ports",
            "PEDIGREE_LOG_LEVEL": "DEBUG",
        }
    )
    assert config.audiences == ("pedigree", "other")
    assert config.kubeconfig == Path("/mine")
    default = Config.from_env(LEAST)
    kept = {"tls_cert_file", "tls_key_file", "data_dir"}
    for field in dataclasses.fields(Config):
        same = getattr(config, field.name) == getattr(default, field.name)
        assert same == (field.name in kept), field.name


def test_every_setting_is_documented() -> None:
    assert Config.__doc__ is not None
    for field in dataclasses.fields(Config):
        assert f"{field.name}: ``PEDIGREE_" in Config.__doc__, field.name


@pytest.mark.parametrize("host", ["", "0.0.0.0", "10.0.0.1", "audit.example", "::"])
def test_access_is_left_open_on_loopback_only(host: str) -> None:
    env = {**LEAST, "PEDIGREE_AUDIT_AUTH": "none", "PEDIGREE_HOST": host}
    with pytest.raises(ConfigError, match="anyone could read and write"):
        Config.from_env(env)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PEDIGREE_TLS_CERT_FILE", ""),
        ("PEDIGREE_TLS_KEY_FILE", " "),
        ("PEDIGREE_DATA_DIR", ""),
        ("PEDIGREE_AUDIT_AUTH", "nobody"),
        ("PEDIGREE_PORT", "65536"),
        ("PEDIGREE_PORT", "-1"),
        ("PEDIGREE_METRICS_PORT", "٣"),
        ("PEDIGREE_LOG_LEVEL", "loud"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Config.from_env({**LEAST, name: value})
