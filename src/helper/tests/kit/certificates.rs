//! A CA, a server and a client, made with the openssl program.

use std::fs;
use std::path::{Path, PathBuf};

use super::run;

pub struct Certificates(PathBuf);

impl Certificates {
    pub fn make(folder: &Path) -> Self {
        fs::create_dir(folder).expect("a folder");
        let all = Self(folder.to_owned());
        let path = |name: &str| all.0.join(name).to_str().expect("a path").to_owned();
        let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        for name in ["ca", "other"] {
            let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
            run(&format!("{new} -subj /CN={name} -keyout {key} -out {certificate}"));
        }
        for name in ["server", "client"] {
            let signed = format!("-CA {} -CAkey {} -addext basicConstraints=CA:FALSE", path("ca.pem"), path("ca.key"));
            let (key, certificate) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
            run(&format!(
                "{new} {signed} -addext keyUsage=digitalSignature -addext extendedKeyUsage={name}Auth -subj /CN={name} -keyout {key} -out {certificate}"
            ));
        }
        run(&format!("openvpn --genkey secret {}", path("shared")));
        all
    }

    /// A certificate, DER.
    pub fn der(&self, name: &str) -> Vec<u8> {
        let out = self.0.join(format!("{name}.der"));
        run(&format!("openssl x509 -in {} -outform DER -out {}", self.path(name, "pem"), out.display()));
        fs::read(out).expect("a certificate")
    }

    /// A key, PKCS #8, DER.
    pub fn key(&self, name: &str) -> Vec<u8> {
        let out = self.0.join(format!("{name}.p8"));
        let convert = format!("openssl pkcs8 -topk8 -nocrypt -in {}", self.path(name, "key"));
        run(&format!("{convert} -outform DER -out {}", out.display()));
        fs::read(out).expect("a key")
    }

    /// The key of tls-crypt.
    pub fn shared(&self) -> Vec<u8> {
        let text = fs::read_to_string(self.0.join("shared")).expect("a key");
        let digits: String = text.lines().filter(|line| !line.starts_with(['#', '-'])).collect();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    /// A client's configuration.
    pub fn client(&self, server: &str) -> PathBuf {
        let file = |name: &str, end: &str| fs::read_to_string(self.path(name, end)).expect("a file");
        let text = format!(
            "client\ndev tun\nproto udp4\nremote {server} 1194\nnobind\nremote-cert-tls server\nverb 3\nauth SHA1\n\
             data-ciphers AES-256-GCM:AES-256-CBC\n<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n\
             <tls-crypt>\n{}</tls-crypt>\n",
            file("ca", "pem"),
            file("client", "pem"),
            file("client", "key"),
            fs::read_to_string(self.0.join("shared")).expect("a key"),
        );
        let path = self.0.join("client.conf");
        fs::write(&path, text).expect("written");
        path
    }

    fn path(&self, name: &str, end: &str) -> String {
        self.0.join(format!("{name}.{end}")).to_str().expect("a path").to_owned()
    }
}
