"""The authority vouches for fal's hosts and this machine, for a while, and for nothing else."""

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from localfal import certificates
from localfal.certificates import ensure_certificates
from localfal.hosts import FAL_HOSTS


def shake_hands(server: ssl.SSLContext, trusted: Path, name: str) -> ssl.SSLSession | None:
    """Returns what the client keeps once the server has ended the connection."""
    client = ssl.create_default_context(cafile=trusted)
    here, there = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, OSError):
            there.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with here, client.wrap_socket(here, server_hostname=name) as secure:
            assert secure.version() == "TLSv1.3"
            assert secure.recv(1) == b""
            return secure.session
    finally:
        thread.join()


def test_fals_hosts_and_this_machine(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path)
    for trusted in (made.authority, made.bundle):
        for name in (*FAL_HOSTS, "localhost", "127.0.0.1"):
            shake_hands(made.server_context(), trusted, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(made.server_context(), made.authority, "example.com")


def test_nothing_comes_after_the_handshake_but_answers(tmp_path: Path) -> None:
    """Clients that read and write in two threads lose their first request to a session's ticket now and then."""
    made = ensure_certificates(tmp_path)
    session = shake_hands(made.server_context(), made.authority, "fal.run")
    assert session is None or not session.has_ticket


def test_the_authority_cannot_vouch_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ensure_certificates(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    authority = x509.load_pem_x509_certificate(made.authority.read_bytes())
    leaf = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(leaf.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.com")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = leaf.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "forged.pem").write_bytes(forged.public_bytes(serialization.Encoding.PEM) + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "forged.pem")
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        shake_hands(server, made.authority, "example.com")


def test_made_anew_when_the_names_are_not_todays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as then:
        then.setattr(certificates, "DNS_NAMES", frozenset(("fal.run", "localhost")))
        made = ensure_certificates(tmp_path)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            shake_hands(made.server_context(), made.authority, "rest.alpha.fal.ai")
    made = ensure_certificates(tmp_path)
    shake_hands(made.server_context(), made.authority, "rest.alpha.fal.ai")


def test_constraints_that_every_client_can_read(tmp_path: Path) -> None:
    authority = x509.load_pem_x509_certificate(ensure_certificates(tmp_path).authority.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    names = constraints.permitted_subtrees or []
    assert {type(name) for name in names} == {x509.DNSName}  # Bun: "unsupported name constraint type"
    assert {name.value for name in names} == {*FAL_HOSTS, "localhost"}


def test_keys_are_the_owners_alone(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path)
    for path in (tmp_path / "ca-key.pem", made.server):
        assert path.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in made.authority.read_bytes() + made.bundle.read_bytes()


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "ca-key.pem"])
def test_what_a_killed_start_has_left_is_made_whole(tmp_path: Path, name: str) -> None:
    ensure_certificates(tmp_path)
    (tmp_path / "other").mkdir()
    ensure_certificates(tmp_path / "other")
    for content in (None, b"", (tmp_path / "other" / name).read_bytes()):
        (tmp_path / name).unlink()
        if content is not None:
            (tmp_path / name).write_bytes(content)
        made = ensure_certificates(tmp_path)
        shake_hands(made.server_context(), made.authority, "fal.run")


def test_kept_while_they_last_and_renewed_before_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ensure_certificates(tmp_path)
    first = made.authority.read_bytes()
    lifetime = x509.load_pem_x509_certificate(first).not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=364) < lifetime < dt.timedelta(days=366)
    assert ensure_certificates(tmp_path).authority.read_bytes() == first
    bundle = made.bundle.stat().st_size
    monkeypatch.setenv("SSL_CERT_FILE", str(made.bundle))
    assert ensure_certificates(tmp_path).bundle.stat().st_size <= 2 * bundle
    monkeypatch.setattr(certificates, "RENEW_BEFORE", dt.timedelta(days=366))
    assert ensure_certificates(tmp_path).authority.read_bytes() != first


def test_a_certificate_without_its_key_is_made_anew(tmp_path: Path) -> None:
    made = ensure_certificates(tmp_path)
    content = made.server.read_text()
    made.server.write_text(content.partition("-----BEGIN PRIVATE KEY-----")[0])
    made = ensure_certificates(tmp_path)
    shake_hands(made.server_context(), made.authority, "fal.run")
