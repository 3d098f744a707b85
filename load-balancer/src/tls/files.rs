//! Certificates and keys from files in PEM. Each file is remembered as it was before it was read, so that what is written
//! meanwhile shows as a change.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::{Fault, Pair, expiry, provider};
use crate::seen::Stamp;

/// What has been read so far.
#[derive(Default)]
pub(super) struct Files {
    seen: Vec<(PathBuf, Option<Stamp>)>,
    ends: Vec<(PathBuf, u64)>,
    digest: Sha256,
}

/// The files that something was made from.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) seen: Vec<(PathBuf, Option<Stamp>)>,
    pub(super) ends: Vec<(PathBuf, u64)>,
    digest: [u8; 32],
}

/// The same where the contents are.
impl PartialEq for Read {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Files {
    pub(super) fn done(self) -> Read {
        Read { seen: self.seen, ends: self.ends, digest: self.digest.finalize().into() }
    }

    fn read(&mut self, file: &Path) -> Result<Vec<u8>, Fault> {
        let stamp = Stamp::of(file);
        let bytes =
            std::fs::read(file).map_err(|error| Fault::new(file, format!("cannot be read: {error}")))?;
        self.digest.update((bytes.len() as u64).to_be_bytes());
        self.digest.update(&bytes);
        self.seen.push((file.to_owned(), stamp));
        Ok(bytes)
    }

    fn certificates(&mut self, file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let bytes = self.read(file)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => {
                Err(Fault::new(file, "holds no certificate: PEM is wanted, -----BEGIN CERTIFICATE-----"))
            }
            Err(error) => Err(Fault::new(file, format!("is no PEM: {error}"))),
        }
    }

    fn key(&mut self, file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
        let bytes = self.read(file)?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
            let why = "holds no private key without a passphrase: PEM is wanted, -----BEGIN PRIVATE KEY-----";
            Fault::new(file, why)
        })
    }

    /// A certificate that can be shown: its key fits, and its end is known.
    pub(super) fn pair(&mut self, pair: &Pair) -> Result<CertifiedKey, Fault> {
        let chain = self.certificates(&pair.chain)?;
        let ends = chain.iter().map(|one| expiry::not_after(one)).min().flatten();
        let ends =
            ends.ok_or_else(|| Fault::new(&pair.chain, "holds a certificate that cannot be understood"))?;
        let key = self.key(&pair.key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let why = format!("is not the key of the first certificate in {}", pair.chain.display());
                Fault::new(&pair.key, why)
            }
            error => Fault::new(&pair.key, format!("cannot be used: {error}")),
        })?;
        self.ends.push((pair.chain.clone(), ends));
        Ok(certified)
    }

    /// Whom to believe.
    pub(super) fn roots(&mut self, file: &Path) -> Result<RootCertStore, Fault> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(file)? {
            let unfit = |error| Fault::new(file, format!("holds a certificate that cannot vouch: {error}"));
            roots.add(certificate).map_err(unfit)?;
        }
        Ok(roots)
    }
}
