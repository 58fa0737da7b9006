"""What a Secret should hold follows from what it holds and the time; nobody meets a certificate it cannot check."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from hasgpu_webhook.authority import (
    AUTHORITY_LIFE,
    AUTHORITY_RENEWAL,
    BUNDLE,
    CERTIFICATE,
    KEY,
    LEAF_LIFE,
    LEAF_RENEWAL,
    TRUST_BEFORE_USE,
    LeafRequest,
    SecretData,
    renewed_authority,
    renewed_leaf,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SERVER = LeafRequest(common_name="hasgpu-webhook", dns_names=("hasgpu-webhook", "hasgpu-webhook.hasgpu-system.svc"))
CLIENT = LeafRequest(common_name="hasgpu-autoscaler", dns_names=("hasgpu-autoscaler",), client=True)


def trusted(bundle: bytes, leaf: bytes, now: datetime) -> bool:
    """Judged by the verifier of the cryptography library, as a TLS client would."""
    verifier = (
        PolicyBuilder()
        .store(Store(x509.load_pem_x509_certificates(bundle)))
        .time(now)
        .build_server_verifier(x509.DNSName("hasgpu-webhook.hasgpu-system.svc"))
    )
    try:
        verifier.verify(x509.load_pem_x509_certificate(leaf), [])
    except x509.verification.VerificationError:
        return False
    return True


def test_a_first_authority_signs_a_leaf_that_clients_trust() -> None:
    authority = renewed_authority({}, NOW)
    leaf = renewed_leaf({}, authority, SERVER, NOW)
    assert trusted(authority[BUNDLE], leaf[CERTIFICATE], NOW)
    assert leaf[BUNDLE] == authority[BUNDLE]


def test_nothing_is_written_while_nothing_is_due() -> None:
    authority = renewed_authority({}, NOW)
    leaf = renewed_leaf({}, authority, SERVER, NOW)
    assert renewed_authority(authority, NOW + DAY) == authority
    assert renewed_leaf(leaf, authority, SERVER, NOW + DAY) == leaf


@pytest.mark.parametrize(
    ("request_", "purpose"),
    [(SERVER, ExtendedKeyUsageOID.SERVER_AUTH), (CLIENT, ExtendedKeyUsageOID.CLIENT_AUTH)],
    ids=["a server's leaf can't be a client's", "a client's leaf can't be a server's"],
)
def test_purpose(request_: LeafRequest, purpose: x509.ObjectIdentifier) -> None:
    leaf = x509.load_pem_x509_certificate(renewed_leaf({}, renewed_authority({}, NOW), request_, NOW)[CERTIFICATE])
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]


def broken(data: SecretData) -> SecretData:
    return data | {KEY: b"garbage"}


def of_another_authority(_: SecretData) -> SecretData:
    return renewed_leaf({}, renewed_authority({}, NOW), SERVER, NOW)


@pytest.mark.parametrize(
    ("spoil", "now", "request_"),
    [
        (lambda data: data, NOW + LEAF_LIFE - LEAF_RENEWAL + DAY, SERVER),
        (broken, NOW, SERVER),
        (of_another_authority, NOW, SERVER),
        (lambda data: data, NOW, LeafRequest(common_name="hasgpu-webhook", dns_names=("elsewhere",))),
    ],
    ids=[
        "it is about to expire",
        "its key is not a key",
        "another authority signed it",
        "it is for other names",
    ],
)
def test_a_leaf_is_renewed_where(spoil, now: datetime, request_: LeafRequest) -> None:  # type: ignore[no-untyped-def]
    authority = renewed_authority({}, NOW)
    leaf = spoil(renewed_leaf({}, authority, SERVER, NOW))
    fresh = renewed_leaf(leaf, authority, request_, now)
    assert fresh[CERTIFICATE] != leaf[CERTIFICATE]
    assert renewed_leaf(fresh, authority, request_, now) == fresh


def test_through_thirty_years_every_leaf_is_trusted_by_who_knows_yesterdays_bundle() -> None:
    """Whoever has not seen today's bundle yet still trusts today's leaf, and today's bundle trusts yesterday's leaf."""
    authority: SecretData = renewed_authority({}, NOW)
    leaf = renewed_leaf({}, authority, SERVER, NOW)
    renewals, signers = 0, {authority[CERTIFICATE]}
    day = NOW
    while day < NOW + 3 * AUTHORITY_LIFE:
        # Days around the changes one by one, the long years between in weeks.
        near = any(abs((day - NOW) - n * (AUTHORITY_LIFE - AUTHORITY_RENEWAL)) < 6 * DAY for n in range(1, 5))
        day += DAY if near else 5 * DAY
        old_bundle, old_leaf = authority[BUNDLE], leaf
        authority = renewed_authority(authority, day)
        leaf = renewed_leaf(leaf, authority, SERVER, day)
        renewals += leaf[CERTIFICATE] != old_leaf[CERTIFICATE]
        signers.add(authority[CERTIFICATE])
        if near:
            assert trusted(old_bundle, leaf[CERTIFICATE], day)
        assert trusted(authority[BUNDLE], old_leaf[CERTIFICATE], day)
        assert len(x509.load_pem_x509_certificates(authority[BUNDLE])) <= 2
    assert len(signers) >= 3
    assert renewals > 300


def test_a_successor_is_trusted_before_it_signs() -> None:
    first = renewed_authority({}, NOW)
    due = NOW + AUTHORITY_LIFE - AUTHORITY_RENEWAL + DAY
    waiting = renewed_authority(first, due)
    assert waiting[CERTIFICATE] == first[CERTIFICATE]
    assert len(x509.load_pem_x509_certificates(waiting[BUNDLE])) == 2
    changed = renewed_authority(waiting, due + TRUST_BEFORE_USE)
    assert changed[CERTIFICATE] == waiting["next.crt"]
    assert "next.crt" not in changed
    assert first[CERTIFICATE] in changed[BUNDLE]


def test_an_authority_that_was_left_to_expire_is_replaced_at_once() -> None:
    first = renewed_authority({}, NOW)
    late = NOW + AUTHORITY_LIFE + DAY
    fresh = renewed_authority(first, late)
    assert fresh[CERTIFICATE] != first[CERTIFICATE]
    assert trusted(fresh[BUNDLE], renewed_leaf({}, fresh, SERVER, late)[CERTIFICATE], late)
