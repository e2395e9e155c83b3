"""Certificates for tests: an authority of our own, what it signs, and what nobody signed.

Every file is written to a folder that the test gives; a certificate's file holds its key too.
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOCAL = ("127.0.0.1", "::1", "localhost")
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """Files for `Origin(certificate=…)`; `authority` is the CA bundle that trusts `valid`."""

    authority: Path
    valid: Path
    expired: Path
    wrong_host: Path
    self_signed: Path


def make_certificates(folder):
    """Write the whole set. It takes some milliseconds: one set can serve a whole test session."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("Test authority", ca_key, "Test authority", ca_key, is_authority=True)
    (folder / "authority.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def leaf(name, *, hosts=LOCAL, days=(-1, 30), self_signed=False):
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = (name, key) if self_signed else ("Test authority", ca_key)
        certificate = _certificate(name, key, *issuer, hosts=hosts, days=days)
        return _write(folder / f"{name}.pem", certificate, key)

    return Certificates(
        authority=folder / "authority.pem",
        valid=leaf("valid"),
        expired=leaf("expired", days=(-30, -1)),
        wrong_host=leaf("wrong-host", hosts=("images.example",)),
        self_signed=leaf("self-signed", self_signed=True),
    )


def _certificate(name, key, issuer, issuer_key, *, hosts=(), days=(-1, 30), is_authority=False):
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
    )
    if hosts:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path, certificate, key):
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path
