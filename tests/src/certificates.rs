//! Certificates for private servers, made on the spot.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Files in the folder of a server.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    /// Certificate of the authority that signed the server's.
    pub(crate) authority: PathBuf,
    /// Certificate of an authority that has nothing to do with the server.
    pub(crate) other_authority: PathBuf,
    /// The server's certificate. Its only name is 127.0.0.1.
    pub(crate) server: PathBuf,
    /// The server's key.
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes an authority, a certificate by it for a server, and a second authority.
    pub(crate) fn make(folder: &Path) -> Self {
        let write = |name: &str, text: &str, mode| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let authority = new_authority("the authority");
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        Self {
            authority: write("authority.pem", &authority.pem(), 0o644),
            other_authority: write("other.pem", &new_authority("another authority").pem(), 0o644),
            server: write("server.pem", &certificate.pem(), 0o644),
            key: write("server.key", &key.serialize_pem(), 0o600),
        }
    }
}

fn new_authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
