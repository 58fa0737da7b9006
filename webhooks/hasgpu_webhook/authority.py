"""Certificates as values: from the data of a Secret and the time to the data it should have. No clock, no cluster.

The authority's Secret holds the signing pair (tls.crt, tls.key), the bundle to trust (ca.crt) and, while it changes,
its successor (next.crt, next.key). A successor is trusted for a day before it signs, and its predecessor until
it expires, so at no moment does anyone meet a certificate that it cannot check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SecretData: TypeAlias = dict[str, bytes]

CERTIFICATE, KEY, BUNDLE = "tls.crt", "tls.key", "ca.crt"
_NEXT_CERTIFICATE, _NEXT_KEY = "next.crt", "next.key"

AUTHORITY_LIFE = timedelta(days=3650)
AUTHORITY_RENEWAL = timedelta(days=365)
"""A successor is made when this much of the authority's life is left."""
TRUST_BEFORE_USE = timedelta(days=1)
LEAF_LIFE = timedelta(days=30)
LEAF_RENEWAL = timedelta(days=10)
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafRequest:
    """Who a certificate is for."""

    common_name: str
    dns_names: tuple[str, ...]
    client: bool = False
    """True: it proves a client; False: a server."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> tuple[bytes, bytes]:
        """Certificate and key as a Secret holds them."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self.certificate.public_bytes(Encoding.PEM), key


def renewed_authority(data: Mapping[str, bytes], now: datetime) -> SecretData:
    """What the authority's Secret should hold; equal to ``data`` where nothing is due."""
    current = _read_pair(data, CERTIFICATE, KEY)
    successor = _read_pair(data, _NEXT_CERTIFICATE, _NEXT_KEY)
    if current is None or current.certificate.not_valid_after_utc <= now:
        current, successor = successor or _new_authority(now), None
    elif successor is None and current.certificate.not_valid_after_utc - now < AUTHORITY_RENEWAL:
        successor = _new_authority(now)
    elif successor is not None and now - successor.certificate.not_valid_before_utc >= TRUST_BEFORE_USE + _CLOCK_SKEW:
        current, successor = successor, None
    pairs = [current] if successor is None else [current, successor]
    renewed = dict(zip((CERTIFICATE, KEY), current.pem, strict=True))
    if successor is not None:
        renewed |= dict(zip((_NEXT_CERTIFICATE, _NEXT_KEY), successor.pem, strict=True))
    trusted = [pair.certificate for pair in pairs]
    trusted += [
        certificate
        for certificate in _read_certificates(data.get(BUNDLE, b""))
        if certificate not in trusted and certificate.not_valid_after_utc > now
    ]
    return renewed | {BUNDLE: b"".join(certificate.public_bytes(Encoding.PEM) for certificate in trusted)}


def renewed_leaf(
    data: Mapping[str, bytes], authority: Mapping[str, bytes], request: LeafRequest, now: datetime
) -> SecretData:
    """What a leaf's Secret should hold; equal to ``data`` where nothing is due."""
    signer = _read_pair(authority, CERTIFICATE, KEY)
    if signer is None:
        raise ValueError("the authority holds no certificate to sign with")
    pair = _read_pair(data, CERTIFICATE, KEY)
    if pair is None or _is_due(pair.certificate, signer.certificate, request, now):
        pair = _new_leaf(signer, request, now)
    return dict(zip((CERTIFICATE, KEY), pair.pem, strict=True)) | {BUNDLE: authority[BUNDLE]}


def _is_due(leaf: x509.Certificate, signer: x509.Certificate, request: LeafRequest, now: datetime) -> bool:
    try:
        leaf.verify_directly_issued_by(signer)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return True
    return (
        leaf.not_valid_after_utc - now < LEAF_RENEWAL
        or tuple(names.get_values_for_type(x509.DNSName)) != request.dns_names
    )


def _read_pair(data: Mapping[str, bytes], certificate_key: str, private_key: str) -> Pair | None:
    """None where there is none, or none that fits together: then a new one is made."""
    try:
        certificate = x509.load_pem_x509_certificate(data[certificate_key])
        key = load_pem_private_key(data[private_key], password=None)
    except (KeyError, ValueError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return Pair(certificate, key)


def _read_certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        return []


def _new_authority(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # The date keeps successive authorities apart by name.
    name = _name(f"hasgpu CA {now:%Y-%m-%d %H:%M:%S}")
    builder = _builder(name, name, key, now, AUTHORITY_LIFE).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    return Pair(builder.add_extension(_usage(ca=True), critical=True).sign(key, hashes.SHA256()), key)


def _new_leaf(signer: Pair, request: LeafRequest, now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if request.client else ExtendedKeyUsageOID.SERVER_AUTH
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in request.dns_names])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    builder = (
        _builder(_name(request.common_name), signer.certificate.subject, key, now, LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(identifier, critical=False)
    )
    return Pair(builder.sign(signer.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "hasgpu"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
