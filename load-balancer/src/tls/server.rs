//! What a listener shows and asks for: certificates chosen by name, versions, client certificates.
//!
//! Session tickets belong to one [`Server`]: after certificates or rules have changed nobody resumes past them.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::files::Files;
use super::made::Made;
use super::names::Names;
use super::{Fault, HTTP1, HTTP2, Pair, Version, provider};

/// Who has to show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nobody is asked.
    None,
    /// Who shows one must show one that somebody in this file vouches for.
    Optional(PathBuf),
    /// Everybody must.
    Required(PathBuf),
}

/// What a listener is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The first is shown where no name fits; at least one.
    pub pairs: Vec<Pair>,
    /// The oldest version that is spoken.
    pub least: Version,
    /// Who has to show a certificate.
    pub client_auth: ClientAuth,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// What a listener speaks TLS by.
pub type Server = Made<Settings, Arc<ServerConfig>>;

impl Server {
    /// Reads the files that `settings` name, and tries what is in them.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Fault> {
        let mut files = Files::default();
        let mut names: Option<Names> = None;
        for pair in &settings.pairs {
            let certified = files.pair(pair)?;
            let shown = match &mut names {
                Some(names) => names.add(certified),
                None => {
                    names = Some(Names::new(certified));
                    true
                }
            };
            if !shown {
                let why = "would never be shown: it names no host that an earlier certificate does not";
                return Err(Fault::new(&pair.chain, why));
            }
        }
        let names = names.ok_or_else(|| Fault::new(std::path::Path::new(""), "there is no certificate"))?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(settings.least.supported())
            .map_err(|error| Fault::new(&settings.pairs[0].chain, error.to_string()))?;
        let builder = match &settings.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional(file) | ClientAuth::Required(file) => {
                let roots = Arc::new(files.roots(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = match &settings.client_auth {
                    ClientAuth::Optional(_) => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build().map_err(|error| Fault::new(file, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(names));
        let offered: &[&[u8]] = if settings.http2 { &[HTTP2, HTTP1] } else { &[HTTP1] };
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        // Without a store: what is resumed is in the client's ticket, sealed by a key that changes every few hours.
        config.ticketer = rustls::crypto::ring::Ticketer::new()
            .map_err(|error| Fault::new(&settings.pairs[0].chain, error.to_string()))?;
        Ok(Made { settings, read: files.done(), config: Arc::new(config) })
    }

    /// Reads the same files again.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn again(&self) -> Result<Self, Fault> {
        Server::new(self.settings.clone())
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}
