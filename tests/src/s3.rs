//! A server that speaks S3's protocol over TLS, started by `tests/s3-server`.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    binaries::workspace,
    dev::{shown, wait_for},
};

/// The bucket that there is.
pub const BUCKET: &str = "artifacts-of-a-test";

/// A running server with one empty bucket. Dropping it kills it.
#[derive(Debug)]
pub struct S3Server {
    folder: TempDir,
    child: Child,
    url: String,
}

impl Default for S3Server {
    fn default() -> Self {
        Self::start()
    }
}

impl S3Server {
    /// Starts one and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(workspace().join("tests/s3-server"))
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("tests/s3-server can be started");
        let mut server = Self { folder, child, url: String::new() };
        wait_for("the S3 server to listen", || {
            let log = std::fs::read_to_string(server.folder.path().join("log")).unwrap();
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("tests/s3-server ended with {status}:\n{log}");
            }
            let line = log.lines().find_map(|line| line.split_once("Running on "));
            server.url = line.map(|(_, url)| url.trim().to_owned()).unwrap_or_default();
            !server.url.is_empty()
        });
        server.make_bucket();
        server
    }

    /// Configuration that keeps artifacts there, as environment variables.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("URL", format!("s3://{BUCKET}/below/a prefix")),
            ("S3_ENDPOINT", self.url.clone()),
            ("S3_CA_FILE", self.certificate()),
            ("S3_REGION", "eu-north-1".to_owned()),
            ("S3_ACCESS_KEY_ID", "an-id".to_owned()),
            ("S3_SECRET_ACCESS_KEY", "a-secret".to_owned()),
        ]
        .map(|(name, value)| (format!("ATTUNE__ARTIFACTS__{name}"), value))
        .into()
    }

    fn certificate(&self) -> String {
        self.folder.path().join("certificate.pem").display().to_string()
    }

    fn make_bucket(&self) {
        // the store itself makes none, and rightly so
        let put = "import ssl, sys, urllib.request as r; r.urlopen(r.Request(sys.argv[1], method='PUT'), context=ssl.create_default_context(cafile=sys.argv[2]))";
        let made = Command::new("python3")
            .args(["-c", put, &format!("{}/{BUCKET}", self.url), &self.certificate()])
            .env("no_proxy", "*")
            .output()
            .expect("python3 can be started");
        assert!(made.status.success(), "the bucket is not made: {}", shown(&made));
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
