"""One certificate for this machine, and the bundle for whoever shall trust it.

Its own, not the local platform's: that one is limited to a few names, which gRPC's TLS library cannot check.
"""

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """`server`: certificate and key in one file; `bundle`: the certificate and the system's authorities."""

    server: Path
    bundle: Path


def make_certificate(folder: Path) -> Certificate:
    """A self-signed certificate for localhost, for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = Certificate(folder / "server.pem", folder / "bundle.pem")
    made.server.write_bytes(pem + private)
    system = Path(ssl.get_default_verify_paths().cafile or certifi.where())
    made.bundle.write_bytes(system.read_bytes() + b"\n" + pem)
    return made
