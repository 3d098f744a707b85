//! An authority that lives as long as a test, what it issues, and clients that believe it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::wire::Wire;
use super::within;

/// A connection with TLS.
pub(crate) type SecureWire = Wire<TlsStream<TcpStream>>;

/// An authority with a folder of its own, which goes with it.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// A certificate and its key, in files.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let own = format!("ballast-ca-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(own);
        std::fs::create_dir_all(&folder).unwrap();
        let mut asked = CertificateParams::new(Vec::new()).unwrap();
        asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of one name would be taken for each other, and only their signatures for wrong.
        asked.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {number} of the tests"));
        let issuer = CertifiedIssuer::self_signed(asked, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority { issuer, folder };
        std::fs::write(authority.file(), authority.issuer.as_ref().pem()).unwrap();
        authority
    }

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        vec![self.issuer.as_ref().der().clone()]
    }

    /// Issues for these names or addresses, into the files of `name`; until 2040.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> Issued {
        self.issue_until(name, hosts, 2040)
    }

    pub(crate) fn issue_until(&self, name: &str, hosts: &[&str], year: i32) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut asked = CertificateParams::new(hosts).unwrap();
        asked.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = asked.signed_by(&key, &self.issuer).unwrap();
        let issued = Issued {
            chain: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
        };
        issued.write("chain", &certificate.pem());
        issued.write("key", &key.serialize_pem());
        issued
    }

    /// A client that believes it, and nobody else.
    pub(crate) fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone()).unwrap();
        Trust { roots, versions: rustls::ALL_VERSIONS.to_vec(), own: None, alpn: Vec::new() }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Issued {
    /// As an element of the configuration's lists.
    pub(crate) fn toml(&self) -> String {
        format!("{{chain = {:?}, key = {:?}}}", self.chain, self.key)
    }

    /// Replaces one of the two files at once.
    pub(crate) fn write(&self, which: &str, text: &str) {
        let path = if which == "key" { &self.key } else { &self.chain };
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    pub(crate) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(&self.chain).unwrap().map(Result::unwrap).collect()
    }

    /// A server that shows it, and agrees to these protocols alone.
    pub(crate) fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth();
        let mut config = config.with_single_cert(self.certificates(), self.private_key()).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).unwrap()
    }
}

/// How a client speaks TLS.
#[derive(Clone)]
pub(crate) struct Trust {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    own: Option<Issued>,
    alpn: Vec<Vec<u8>>,
}

impl Trust {
    pub(crate) fn only(mut self, version: &'static SupportedProtocolVersion) -> Trust {
        self.versions = vec![version];
        self
    }

    /// Shows this to whoever asks.
    pub(crate) fn showing(mut self, own: &Issued) -> Trust {
        self.own = Some(own.clone());
        self
    }

    pub(crate) fn offering(mut self, protocols: &[&str]) -> Trust {
        self.alpn = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    fn config(&self) -> ClientConfig {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(ring).with_protocol_versions(&self.versions).unwrap();
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            Some(own) => builder.with_client_auth_cert(own.certificates(), own.private_key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    /// Connects to `address` and asks for `name`.
    pub(crate) async fn try_connect(&self, address: SocketAddr, name: &str) -> std::io::Result<SecureWire> {
        let connecting = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(name.to_owned()).unwrap();
            TlsConnector::from(Arc::new(self.config())).connect(name, stream).await
        };
        within("a handshake, or its end", connecting).await.map(Wire::over)
    }

    pub(crate) async fn connect(&self, address: SocketAddr, name: &str) -> SecureWire {
        self.try_connect(address, name).await.unwrap()
    }
}
