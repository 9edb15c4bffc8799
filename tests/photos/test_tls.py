"""Downloads over TLS."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from photomaker.errors import FileDownloadError
from tests.photos.web import BODY, NameServer, Server, drip, get, serving


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A self-signed certificate for photos.example and localhost, as certificate and key files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("photos.example"), x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def secure(certificates) -> Iterator[Server]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificates)
    with serving(context) as server:
        yield server


def test_tls_names_the_host_and_not_the_address(secure, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    url = secure.url(host="photos.example", scheme="https")
    allow = frozenset({"photos.example"})
    assert get(url, allow=allow, resolve=NameServer("127.0.0.1")) == BODY
    assert secure.asked == [(f"photos.example:{secure.port}", "/file")]
    with pytest.raises(FileDownloadError, match="secure connection"):  # the certificate is for another name
        get(
            secure.url(host="other.example", scheme="https"),
            allow=frozenset({"other.example"}),
            resolve=NameServer("127.0.0.1"),
        )


def test_certificates_are_verified(secure):
    with pytest.raises(FileDownloadError, match="secure connection"):
        get(secure.url(scheme="https"))


def test_tls_to_a_server_that_speaks_none(server, secure):
    with pytest.raises(FileDownloadError):
        get(server.url(scheme="https"))
    with pytest.raises(FileDownloadError):
        get(secure.url(scheme="http"))


def test_a_slow_tls_server_meets_the_deadline(secure, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    secure.answers["/slow"] = drip(b"a")
    with pytest.raises(FileDownloadError, match="too long"):
        get(secure.url("/slow", scheme="https"), total_seconds=1.2)
