//! A CA, a server and a client, as the queue makes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use culvert_keys::{Control, Issuer, Made, Pair, Recipe};
use culvert_model::record::Purpose;
use culvert_model::{Id, KeyKind, Millis};

use super::run;

pub struct Certificates {
    folder: PathBuf,
    pub ca: Pair,
    pub server: Pair,
    client: Pair,
}

impl Certificates {
    pub fn make(folder: &Path, key: KeyKind) -> Self {
        fs::create_dir(folder).expect("a folder");
        run(&format!("openvpn --genkey secret {}", folder.join("shared").display()));
        let (organization, ca) = authority(key);
        let [server, client] = [Purpose::Server, Purpose::Client].map(|purpose| {
            let issuer = Issuer { certificate: ca.der.clone(), key: ca.key.clone() };
            let now = now();
            pair(Recipe::Certificate { organization, subject: Id::new(), purpose, issuer, key, days: 2, now })
        });
        Self { folder: folder.to_owned(), ca, server, client }
    }

    /// The key of tls-crypt.
    pub fn shared(&self) -> Vec<u8> {
        let text = fs::read_to_string(self.folder.join("shared")).expect("a key");
        let digits: String = text.lines().filter(|line| !line.starts_with(['#', '-'])).collect();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    /// A client's configuration.
    pub fn client(&self, server: &str) -> PathBuf {
        let text = format!(
            "client\ndev tun\nproto udp4\nremote {server} 1194\nnobind\nremote-cert-tls server\nverb 3\nauth SHA1\n\
             data-ciphers AES-256-GCM:AES-256-CBC\n<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n\
             <tls-crypt>\n{}</tls-crypt>\n",
            pem("CERTIFICATE", &self.ca.der),
            pem("CERTIFICATE", &self.client.der),
            pem("PRIVATE KEY", &self.client.key),
            fs::read_to_string(self.folder.join("shared")).expect("a key"),
        );
        let path = self.folder.join("client.conf");
        fs::write(&path, text).expect("written");
        path
    }
}

/// An organisation and its CA.
pub fn authority(key: KeyKind) -> (Id, Pair) {
    let organization = Id::new();
    (organization, pair(Recipe::Ca { organization, key, days: 2, now: now() }))
}

fn pair(recipe: Recipe) -> Pair {
    match recipe.make(&Control::default()) {
        Ok(Made::Pair(pair)) => pair,
        _ => panic!("the recipe is one of a good pair"),
    }
}

fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_millis() as Millis
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII"));
    let lines: Vec<&str> = lines.collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
