//! A replica set that speaks only TLS, with a CA of its own, and demands a user: as a careful operator runs one.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use crate::mongod::{Guard, ReplicaSet, Stream, ask};

/// The database that [`USER`] may use.
pub const DATABASE: &str = "culvert";

/// Who may read and write the database, and nothing else; and the password.
pub const USER: &str = "culvert";
pub const PASSWORD: &str = "ge/heim@%";
const ENCODED: &str = "ge%2Fheim%40%25";

/// By this certificate the kit itself is let in.
const KIT: &str = "CN=kit";

/// A guarded set.
#[derive(Debug)]
pub struct Secure {
    /// The members.
    pub set: ReplicaSet,
    keys: Arc<Keys>,
}

/// The certificates, and what the members are started with.
#[derive(Debug)]
struct Keys {
    folder: TempDir,
    config: Arc<ClientConfig>,
    /// Whether the kit's own user is made.
    known: AtomicBool,
}

impl Secure {
    /// So many members on loopback, which their certificates name by address.
    pub fn start(members: usize) -> Result<Self> {
        let keys = Arc::new(Keys::make()?);
        let set = ReplicaSet::start_behind_guard(members, keys.clone())?;
        let primary = set.primary()?;
        // The first user may be made by anybody on loopback.
        set.command(
            primary,
            json!({ "createUser": KIT, "roles": [{ "role": "root", "db": "admin" }], "$db": "$external" }),
        )?;
        keys.known.store(true, Ordering::Relaxed);
        let secure = Self { set, keys };
        secure.make_user(USER, PASSWORD, "readWrite", DATABASE)?;
        secure.set.settle()?;
        Ok(secure)
    }

    /// Makes a user with one role on one database.
    pub fn make_user(&self, name: &str, password: &str, role: &str, database: &str) -> Result<()> {
        let roles = json!([{ "role": role, "db": database }]);
        let command =
            json!({ "createUser": name, "pwd": password, "roles": roles, "writeConcern": { "w": "majority" } });
        self.set.command(self.set.primary()?, command).map(drop)
    }

    /// The URI for [`USER`].
    #[must_use]
    pub fn uri(&self) -> String {
        self.uri_of(USER, ENCODED)
    }

    /// The URI for a user whose password needs no encoding.
    #[must_use]
    pub fn uri_of(&self, user: &str, password: &str) -> String {
        let uri = self.set.uri(DATABASE).replacen("//", &format!("//{user}:{password}@"), 1);
        format!("{uri}&authSource=admin&tls=true&tlsCAFile={}", self.ca().display())
    }

    /// The CA's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.keys.folder.path().join("ca.pem")
    }
}

impl Keys {
    fn make() -> Result<Self> {
        let folder = TempDir::with_prefix("culvert-keys-")?;
        let ca = certificate_authority()?;
        fs::write(folder.path().join("ca.pem"), ca.pem())?;
        issue(&ca, "member", &["127.0.0.1"], &folder.path().join("member.pem"))?;
        issue(&ca, "kit", &[], &folder.path().join("kit.pem"))?;
        secret(&folder.path().join("key"), "onlyATestsKey")?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone())?;
        let kit = fs::read(folder.path().join("kit.pem"))?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![CertificateDer::from_pem_slice(&kit)?], PrivateKeyDer::from_pem_slice(&kit)?)?;
        Ok(Self { folder, config: Arc::new(config), known: AtomicBool::new(false) })
    }
}

impl Guard for Keys {
    fn options(&self) -> Vec<String> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let with_files = [("--keyFile", "key"), ("--tlsCAFile", "ca.pem"), ("--tlsCertificateKeyFile", "member.pem")];
        let with_files = with_files.into_iter().flat_map(|(option, name)| [option.into(), file(name)]);
        let others = ["--tlsMode", "requireTLS", "--tlsAllowConnectionsWithoutCertificates"];
        with_files.chain(others.map(Into::into)).collect()
    }

    fn connect(&self, stream: TcpStream) -> Result<Box<dyn Stream>> {
        let name = ServerName::from(stream.peer_addr()?.ip());
        let mut stream = StreamOwned::new(ClientConnection::new(self.config.clone(), name)?, stream);
        if self.known.load(Ordering::Relaxed) {
            ask(&mut stream, json!({ "authenticate": 1, "mechanism": "MONGODB-X509", "$db": "$external" }))?;
        }
        Ok(Box::new(stream))
    }
}

/// A CA of its own.
pub fn certificate_authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "the kit's CA");
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Writes a P-256 certificate and its key into one file, as mongod wants them.
fn issue(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, addresses: &[&str], file: &Path) -> Result<()> {
    let mut params = CertificateParams::new(addresses.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    secret(file, &format!("{}{}", certificate.pem(), key.serialize_pem()))
}

fn secret(file: &Path, text: &str) -> Result<()> {
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    opened.write_all(text.as_bytes()).with_context(|| file.display().to_string())
}
