# SPDX-License-Identifier: Apache-2.0
import time
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.certificates import KeyPair, make_ca, make_leaf
from pedigree.errors import ConfigError
from pedigree_audit.tls import ServingCertificate

CA = make_ca()


def leaf(days: int = 1) -> KeyPair:
    return make_leaf(CA, dns_names=["localhost"], lifetime=timedelta(days=days))


def opened(folder: Path, pair: KeyPair) -> ServingCertificate:
    cert, key = pair.write(folder, "tls")
    (folder / "ca.crt").write_bytes(CA.certificate_pem)
    return ServingCertificate(cert, key, folder / "ca.crt")


def test_the_end_of_validity_of_leaf_and_authority_is_known(tmp_path: Path) -> None:
    expiries = opened(tmp_path, leaf(3)).expiries()
    days = {name: (end - time.time()) / 86400 for name, end in expiries.items()}
    assert days["serving"] == pytest.approx(3, abs=0.1)
    assert days["ca"] == pytest.approx(30, abs=0.1)


def test_a_new_pair_is_loaded_and_the_same_files_are_not(tmp_path: Path) -> None:
    certificate = opened(tmp_path, leaf(1))
    assert certificate.reload_if_changed() is False
    before = certificate.expiries()["serving"]
    leaf(5).write(tmp_path, "tls")
    assert certificate.reload_if_changed() is True
    assert certificate.expiries()["serving"] > before
    assert certificate.reload_if_changed() is False


def test_a_pair_swapped_by_symlink_is_loaded(tmp_path: Path) -> None:
    """As the kubelet does it: both names stay, a folder behind them is replaced."""
    for name, days in (("old", 1), ("new", 5)):
        (tmp_path / name).mkdir()
        leaf(days).write(tmp_path / name, "tls")
    link = tmp_path / "data"
    link.symlink_to("old")
    certificate = ServingCertificate(link / "tls.crt", link / "tls.key", None)
    (tmp_path / "next").symlink_to("new")
    (tmp_path / "next").replace(link)
    assert certificate.reload_if_changed() is True


def test_halves_of_two_pairs_leave_the_old_pair_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = opened(tmp_path, leaf(1))
    before = certificate.expiries()
    new = leaf(5)
    (tmp_path / "tls.crt").write_bytes(new.certificate_pem)
    for _ in range(3):
        assert certificate.reload_if_changed() is False
    assert certificate.expiries() == before
    assert caplog.text.count("not usable yet") == 1
    (tmp_path / "tls.key").write_bytes(new.key_pem)
    assert certificate.reload_if_changed() is True


def test_files_that_vanish_leave_the_old_pair_in_use(tmp_path: Path) -> None:
    certificate = opened(tmp_path, leaf(1))
    (tmp_path / "tls.crt").unlink()
    assert certificate.reload_if_changed() is False
    (tmp_path / "tls.crt").write_bytes(b"no certificate")
    assert certificate.reload_if_changed() is False


def test_a_pair_that_does_not_fit_is_refused_at_start(tmp_path: Path) -> None:
    leaf().write(tmp_path, "a")
    leaf().write(tmp_path, "b")
    for cert, key in (("a.crt", "b.key"), ("a.crt", "none.key"), ("a.key", "a.key")):
        with pytest.raises(ConfigError, match="serving certificate"):
            ServingCertificate(tmp_path / cert, tmp_path / key, None)


def test_watching_loads_a_new_pair_by_itself(tmp_path: Path) -> None:
    certificate = opened(tmp_path, leaf(1))
    before = certificate.expiries()
    certificate.watch(0.01)
    leaf(5).write(tmp_path, "tls")
    deadline = time.monotonic() + 10
    while certificate.expiries() == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    certificate.close()
