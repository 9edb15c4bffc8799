"""The local certificate authority, and the one server certificate it signs."""

import datetime as dt
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from localfal.hosts import FAL_HOSTS

DNS_NAMES = frozenset((*FAL_HOSTS, "localhost"))
LOOPBACK = ipaddress.ip_address("127.0.0.1")
LIFETIME = dt.timedelta(days=365)
RENEW_BEFORE = dt.timedelta(days=30)


@dataclass(frozen=True)
class Certificates:
    """Where the certificate files are: `authority` alone, `bundle` with the system's authorities, `server` with key."""

    authority: Path
    bundle: Path
    server: Path

    def server_context(self) -> ssl.SSLContext:
        """A TLS context for the gateway."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        # A ticket comes after the handshake. A client that reads it in one thread and sends in another, as fal_client's
        # sockets do and Python's ssl is not made for, may never send its first request.
        context.num_tickets = 0
        return context


def ensure_certificates(folder: Path) -> Certificates:
    """Make what is missing or about to expire in `folder`; write the bundle anew, since the system's may change."""
    authority, server, bundle = folder / "ca.pem", folder / "server.pem", folder / "ca-bundle.pem"
    key_file = folder / "ca-key.pem"
    if not (key_file.exists() and _usable(authority, server)):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _make_authority(key)
        write_private(key_file, _pem(key))
        write_private(server, _make_server(key, certificate))
        authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    bundle.write_bytes(_system_authorities() + b"\n" + authority.read_bytes())
    return Certificates(authority, bundle, server)


def _usable(authority_file: Path, server_file: Path) -> bool:
    """Whether both certificates are whole, of one making, for today's hosts, and last for a while yet."""
    try:
        authority = x509.load_pem_x509_certificate(authority_file.read_bytes())
        server = x509.load_pem_x509_certificate(server_file.read_bytes())
        server.verify_directly_issued_by(authority)
        if serialization.load_pem_private_key(server_file.read_bytes(), None).public_key() != server.public_key():
            return False
        permitted = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
        named = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, InvalidSignature, x509.ExtensionNotFound):  # a killed start, a full disk
        return False
    # An older localfal knew fewer hosts, and constrained the authority in a way that some clients cannot read.
    if set(permitted) != set(_dns_names()) or set(named.get_values_for_type(x509.DNSName)) != DNS_NAMES:
        return False
    end = min(authority.not_valid_after_utc, server.not_valid_after_utc)
    return end - RENEW_BEFORE > dt.datetime.now(dt.UTC)


def _system_authorities() -> bytes:
    for candidate in (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, certifi.where()):
        # A shell that already has this bundle exported must not make it grow at every start.
        if candidate and Path(candidate).is_file() and Path(candidate).name != "ca-bundle.pem":
            return Path(candidate).read_bytes()
    return b""


def _make_authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localfal on this machine")])
    # Constrained to the names it is for: whoever trusts this authority trusts it for nothing else.
    # Names alone: Bun refuses an authority whose constraints speak of addresses.
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.NameConstraints(permitted_subtrees=_dns_names(), excluded_subtrees=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _make_server(authority_key: ec.EllipticCurvePrivateKey, authority: x509.Certificate) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [*_dns_names(), x509.IPAddress(LOOPBACK)]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        _builder(subject, authority.subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + _pem(key)


def _dns_names() -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in sorted(DNS_NAMES)]


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody else could read at any moment."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
