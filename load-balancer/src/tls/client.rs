//! What backends are asked for: whom to believe, and what to show them.
//!
//! A backend's certificate is verified unless the configuration says in so many words that it is not; then signatures are
//! still checked, so that the connection is at least with whoever holds the certificate's key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::files::Files;
use super::made::Made;
use super::{Fault, HTTP1, HTTP2, Pair, Stream, Version, provider};

/// What connections to backends are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who vouches for backends; `None` is whom this machine believes.
    pub ca: Option<PathBuf>,
    /// What is shown to backends that ask.
    pub identity: Option<Pair>,
    /// Whether certificates are verified.
    pub verify: bool,
    /// The oldest version that is spoken.
    pub least: Version,
}

/// What connections to backends speak TLS by.
pub type Client = Made<Settings, Configs>;

/// The same for either protocol, which is agreed on by ALPN.
pub struct Configs {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Client {
    /// Reads the files that `settings` name, or this machine's roots.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        let mut files = Files::default();
        let unfit = |error: rustls::Error| Fault::new(Path::new(""), error.to_string());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(settings.least.supported())
            .map_err(unfit)?;
        let builder = if settings.verify {
            let roots = match &settings.ca {
                Some(file) => files.roots(file)?,
                None => of_this_machine()?,
            };
            builder.with_root_certificates(roots)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider())))
        };
        let mut config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let certified = Arc::new(files.pair(pair)?);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = vec![HTTP1.to_vec()];
        let mut http2 = config.clone();
        http2.alpn_protocols = vec![HTTP2.to_vec()];
        let config = Configs { http1: Arc::new(config), http2: Arc::new(http2) };
        Ok(Made { settings, read: files.done(), config })
    }

    /// Reads the same files again.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn again(&self) -> Result<Self, Fault> {
        Client::new(self.settings.clone())
    }

    /// Whether certificates are verified.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.settings.verify
    }

    /// Shakes hands with whoever is called `name`, to speak HTTP/2 or HTTP/1.1 then.
    ///
    /// # Errors
    /// What is wrong with the certificate, or with the other side.
    pub async fn connect(&self, name: &str, stream: TcpStream, http2: bool) -> std::io::Result<Stream> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| std::io::Error::other(format!("{name} is no name that a certificate can have")))?;
        let config = if http2 { &self.config.http2 } else { &self.config.http1 };
        let shaken = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        let stream = Stream::Tls(Box::new(shaken.into()));
        if http2 && stream.alpn() != Some(HTTP2) {
            return Err(std::io::Error::other(
                "it does not agree to HTTP/2 (ALPN): set pool.protocol to http1",
            ));
        }
        Ok(stream)
    }
}

/// The roots that this machine believes. Those that cannot be read are passed over, as long as there are others.
fn of_this_machine() -> Result<RootCertStore, Fault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
    let why = format!(
        "this machine has no certificates of authorities{why}; install ca-certificates or say whom to believe (pool.tls.ca, \
         --ca)"
    );
    Err(Fault::new(Path::new(""), why))
}

/// Takes any certificate, of any name and age.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
