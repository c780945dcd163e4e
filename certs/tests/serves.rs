//! Handshakes with files that were read from a directory: certificate chains, and keys of every type and format.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::{CERT_FILE, KEY_FILE, ServingCert};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConnection};

/// A root, and a chain from a leaf to it.
struct Chain {
    root: CertificateDer<'static>,
    intermediate: String,
    leaf: String,
}

/// A leaf for `key`, signed by an intermediate CA.
fn chain_for(key: &KeyPair) -> Chain {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    };
    let ((root, root_key), (middle, middle_key)) = (ca("root"), ca("intermediate"));
    let root_cert = root.self_signed(&root_key).unwrap();
    let intermediate = middle.signed_by(&middle_key, &Issuer::new(root, root_key)).unwrap().pem();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(key, &Issuer::new(middle, middle_key)).unwrap().pem();
    Chain { root: root_cert.der().clone(), intermediate, leaf }
}

/// Serves the two files. Returns the result of a client that trusts `root`.
fn shake_hands(root: &CertificateDer<'static>, cert: &str, key: &str) -> Result<(), rustls::Error> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(CERT_FILE), cert).unwrap();
    std::fs::write(dir.path().join(KEY_FILE), key).unwrap();
    let server = ServingCert::read(dir.path()).unwrap().server_config().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut client = Connection::from(ClientConnection::new(Arc::new(client), name).unwrap());
    let mut server = Connection::from(ServerConnection::new(Arc::new(server)).unwrap());
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
    Ok(())
}

/// Passes the pending data from one side to the other.
fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut said = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut said).unwrap();
    }
    let mut rest = said.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// The content of the DER element at the start of `der`, and the rest.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, head) = match der[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        0x81 => (usize::from(der[2]), 3),
        _ => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
    };
    (&der[head..head + length], &der[head + length..])
}

/// The SEC1 form of an EC key in PKCS#8.
fn sec1_of(pkcs8: &str) -> String {
    let Ok(PrivateKeyDer::Pkcs8(pkcs8)) = PrivateKeyDer::from_pem_slice(pkcs8.as_bytes()) else { panic!() };
    // PKCS#8 is a version, an algorithm, and the SEC1 key as an octet string.
    let (inside, _) = element(pkcs8.secret_pkcs8_der());
    let (_, after_version) = element(inside);
    let (_, after_algorithm) = element(after_version);
    let (sec1, _) = element(after_algorithm);
    format!("-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n", STANDARD.encode(sec1))
}

#[test]
fn serves_the_whole_chain_to_whoever_trusts_only_its_root() {
    let key = KeyPair::generate().unwrap();
    let Chain { root, intermediate, leaf } = chain_for(&key);
    let root_pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&root));
    for chain in [format!("{leaf}{intermediate}"), format!("{leaf}{intermediate}{root_pem}")] {
        shake_hands(&root, &chain, &key.serialize_pem()).unwrap();
    }
    let error = shake_hands(&root, &leaf, &key.serialize_pem()).unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "the intermediate was not needed: {error}");
}

#[test]
fn serves_with_an_ec_key_as_pkcs8_and_as_sec1() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let Chain { root, intermediate, leaf } = chain_for(&key);
    let pkcs8 = key.serialize_pem();
    for key in [&sec1_of(&pkcs8), &pkcs8] {
        shake_hands(&root, &format!("{leaf}{intermediate}"), key).unwrap();
    }
}

#[test]
fn serves_with_an_rsa_key_as_pkcs8_and_as_pkcs1() {
    let private = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    let (pkcs8, pkcs1) = (private.to_pkcs8_pem(LineEnding::LF).unwrap(), private.to_pkcs1_pem(LineEnding::LF).unwrap());
    let key = KeyPair::from_pkcs8_pem_and_sign_algo(&pkcs8, &PKCS_RSA_SHA256).unwrap();
    let Chain { root, intermediate, leaf } = chain_for(&key);
    for key in [pkcs1, pkcs8] {
        shake_hands(&root, &format!("{leaf}{intermediate}"), &key).unwrap();
    }
}
