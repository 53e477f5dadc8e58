//! What an authority has issued: `issued.json`, so that an account can be revoked by its name.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use gelu_files::{Lock, LockError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::account;
use crate::error::{FileError, FileProblem};
use crate::files;
use crate::revocation;

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issued {
    /// Whose it is; `None` for the server.
    pub(super) account: Option<String>,
    /// Its serial number, in hexadecimal.
    pub(super) serial: String,
    /// When it ends, in seconds since 1970.
    pub(super) expires: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    issued: Vec<Issued>,
}

/// The register of a folder, for this process alone: nobody issues or revokes at the same time.
#[derive(Debug)]
pub(super) struct Register {
    path: PathBuf,
    issued: Vec<Issued>,
    _lock: Lock,
}

impl Register {
    /// Opens the register of `folder`, and enters what stands in its certificates and is not known yet: those of a
    /// folder that had no register.
    pub(super) fn open(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join(FILE);
        let lock = lock(&path)?;
        Ok(Self { issued: read_all(folder)?, path, _lock: lock })
    }

    /// Enters a certificate, on the disk.
    pub(super) fn enter(&mut self, certificate: Issued) -> Result<(), FileError> {
        self.issued.push(certificate);
        let file = File { format: FORMAT, issued: self.issued.clone() };
        let text = serde_json::to_vec_pretty(&file).expect("names and numbers only");
        files::replace(&self.path, &text)
    }

    /// All certificates, in the order in which they were issued.
    pub(super) fn issued(&self) -> &[Issued] {
        &self.issued
    }
}

/// The same, for those who only look.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Issued>, FileError> {
    let path = folder.join(FILE);
    let damaged = |why: String| FileError::damaged(&path, "a register of certificates", why);
    let mut issued = match files::if_there(fs::read(&path)).map_err(FileError::at(&path))? {
        None => Vec::new(),
        Some(text) => {
            let file: File = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
            if file.format != FORMAT {
                return Err(damaged(format!("format {}, this gelu knows {FORMAT}", file.format)));
            }
            let is_serial = |issued: &&Issued| base16ct::lower::decode_vec(&issued.serial).is_ok();
            if let Some(Issued { serial, .. }) =
                file.issued.iter().find(|issued| !is_serial(issued))
            {
                return Err(damaged(format!("{serial:?} is no serial number")));
            }
            file.issued
        }
    };
    for found in found(folder)? {
        if !issued.iter().any(|known| known.serial == found.serial) {
            issued.push(found);
        }
    }
    Ok(issued)
}

/// The certificates that stand in the folder.
fn found(folder: &Path) -> Result<Vec<Issued>, FileError> {
    let server = folder.join("server.pem");
    let mut paths: Vec<_> = server.exists().then_some(server).into_iter().collect();
    let clients = folder.join("clients");
    let entries = files::if_there(fs::read_dir(&clients)).map_err(FileError::at(&clients))?;
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(FileError::at(&clients))?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| of_file(path).map(|(issued, _)| issued)).collect()
}

/// What a certificate in a file says of itself.
pub(super) fn of_file(path: &Path) -> Result<(Issued, CertificateDer<'static>), FileError> {
    const CERTIFICATE: &str = "a certificate in PEM";
    let pem = fs::read(path).map_err(FileError::at(path))?;
    let der = CertificateDer::from_pem_slice(&pem)
        .map_err(|e| FileError::damaged(path, CERTIFICATE, e))?;
    let issued = of_certificate(&der).map_err(|e| FileError::damaged(path, CERTIFICATE, e))?;
    Ok((issued, der))
}

/// What a certificate says of itself; one whose name is no account is the server's.
pub(super) fn of_certificate(der: &CertificateDer<'_>) -> Result<Issued, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| e.to_string())?;
    Ok(Issued {
        account: account::of_certificate(Some(std::slice::from_ref(der))).ok(),
        serial: base16ct::lower::encode_string(&revocation::serial(&certificate)),
        expires: u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0),
    })
}

/// Two commands at the same time do one after the other.
fn lock(path: &Path) -> Result<Lock, FileError> {
    let began = Instant::now();
    loop {
        match Lock::take(path) {
            Err(LockError::InUse) if began.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(LockError::InUse) => return Err(FileError::at(path)(FileProblem::InUseByAnother)),
            Err(LockError::Io(error)) => return Err(FileError::at(path)(error)),
            Ok(lock) => return Ok(lock),
        }
    }
}

/// Where the register is.
pub(super) const FILE: &str = "issued.json";
/// What is locked in its place.
pub(super) const LOCK: &str = "issued.json.lock";
const FORMAT: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(5);
