//! Where the API is, and the token for it.
//!
//! What the environment or a flag says wins; otherwise `attune dev` of this folder or a parent left its address in
//! `.attune/endpoint.json`. Tokens never come from the command line: everybody on the machine can read that.

use std::{
    fs,
    io::{self, Read},
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// Name of the folder in which `attune dev` keeps its state.
pub(crate) const STATE_DIR: &str = ".attune";

/// Name of the file in that folder that says where its API is.
pub(crate) const ENDPOINT_FILE: &str = "endpoint.json";

/// Largest endpoint or token file, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// An API and what is needed to talk to it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its base URL.
    pub(crate) url: Url,
    /// The bearer token.
    pub(crate) token: SecretString,
    /// What to do when nobody answers, with a leading separator, or nothing.
    pub(crate) hint: String,
}

/// What `attune dev` writes down.
#[derive(Debug, Deserialize)]
pub(crate) struct EndpointFile {
    /// The API's base URL.
    pub(crate) url: String,
    /// The bearer token.
    pub(crate) token: SecretString,
}

impl Serialize for EndpointFile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut file = serializer.serialize_struct("EndpointFile", 2)?;
        file.serialize_field("url", &self.url)?;
        // the one place where the token is written: a file that only its owner can read
        file.serialize_field("token", self.token.expose_secret())?;
        file.end()
    }
}

/// Where to look.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// `--api-url` or `ATTUNE_API_URL`.
    pub(crate) url: Option<String>,
    /// `ATTUNE_API_TOKEN`.
    pub(crate) token: Option<SecretString>,
    /// `ATTUNE_API_TOKEN_FILE`.
    pub(crate) token_file: Option<PathBuf>,
    /// `--state-dir`.
    pub(crate) state_dir: Option<PathBuf>,
    /// The current folder.
    pub(crate) folder: PathBuf,
    /// `--insecure-http`.
    pub(crate) insecure_http: bool,
}

/// Why there is no API to talk to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    /// Nothing says where it is.
    #[error(
        "no Attune API is known: start one with 'attune dev', or set ATTUNE_API_URL and ATTUNE_API_TOKEN_FILE"
    )]
    Unknown,
    /// The folder that was named has no running `attune dev`.
    #[error("no 'attune dev' uses {0}: start it with 'attune dev --state-dir {0}'")]
    NotRunning(PathBuf),
    /// There is a URL, but no token for it.
    #[error("no token is known for {0}: set ATTUNE_API_TOKEN_FILE (or ATTUNE_API_TOKEN)")]
    NoToken(Url),
    /// It is not a URL of the expected kind.
    #[error("'{url}' is not the URL of an API ({reason}): https://HOST[:PORT] is expected")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token would travel in the clear.
    #[error(
        "the token is not sent to {0} over plain http, where others can read it: use https, or --insecure-http if the network is trusted"
    )]
    Insecure(Url),
    /// A file cannot be used.
    #[error("cannot use {what} {path}: {reason}")]
    File {
        /// What the file is.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Sources {
    /// What flags and the environment of this process say.
    pub(crate) fn process(url: Option<String>, state_dir: Option<PathBuf>, insecure_http: bool) -> Self {
        let token = std::env::var("ATTUNE_API_TOKEN").ok().filter(|token| !token.is_empty());
        Self {
            url,
            token: token.map(SecretString::from),
            token_file: std::env::var_os("ATTUNE_API_TOKEN_FILE").map(PathBuf::from),
            state_dir,
            // a folder that was removed has no parents either: then only what was set counts
            folder: std::env::current_dir().unwrap_or_default(),
            insecure_http,
        }
    }

    /// Finds the API.
    pub(crate) fn find(&self) -> Result<Endpoint, EndpointError> {
        let endpoint = match &self.url {
            Some(url) => {
                let url = parse(url)?;
                let token = self.own_token()?.ok_or_else(|| EndpointError::NoToken(url.clone()))?;
                Endpoint { url, token, hint: String::new() }
            }
            None => self.of_state_dir()?,
        };
        if endpoint.url.scheme() == "http" && !self.insecure_http && !is_this_machine(&endpoint.url) {
            return Err(EndpointError::Insecure(endpoint.url));
        }
        Ok(endpoint)
    }

    fn own_token(&self) -> Result<Option<SecretString>, EndpointError> {
        if let Some(token) = &self.token {
            return Ok(Some(token.clone()));
        }
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = read(path).map_err(|error| file_error("the token file", path, &error))?;
        Ok(Some(SecretString::from(text.trim())))
    }

    fn of_state_dir(&self) -> Result<Endpoint, EndpointError> {
        if let Some(folder) = &self.state_dir {
            let found = read_endpoint(&folder.join(ENDPOINT_FILE))?;
            return found.ok_or_else(|| EndpointError::NotRunning(folder.clone()));
        }
        for folder in self.folder.ancestors() {
            if let Some(endpoint) = read_endpoint(&folder.join(STATE_DIR).join(ENDPOINT_FILE))? {
                return Ok(endpoint);
            }
        }
        Err(EndpointError::Unknown)
    }
}

/// Whether requests to the URL stay on this machine.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn parse(text: &str) -> Result<Url, EndpointError> {
    let fault = |reason: &str| EndpointError::Url { url: text.to_owned(), reason: reason.to_owned() };
    let url: Url = text.parse().map_err(|error| fault(&format!("{error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(fault("neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // not repeated: it holds a password
        return Err(EndpointError::Url {
            url: "http://…@…".to_owned(),
            reason: "it holds a user name".to_owned(),
        });
    }
    Ok(url)
}

fn read_endpoint(path: &Path) -> Result<Option<Endpoint>, EndpointError> {
    const WHAT: &str = "the endpoint file";
    let owner = match fs::metadata(path) {
        Ok(metadata) => metadata.uid(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(file_error(WHAT, path, &error)),
    };
    // in a parent such as /tmp anybody could have left one, to be sent other people's parameters
    if owner != rustix::process::geteuid().as_raw() {
        let reason = "it belongs to another user; set ATTUNE_API_URL and ATTUNE_API_TOKEN_FILE instead";
        return Err(EndpointError::File { what: WHAT, path: path.to_owned(), reason: reason.to_owned() });
    }
    let text = read(path).map_err(|error| file_error(WHAT, path, &error))?;
    let file: EndpointFile = serde_json::from_str(&text).map_err(|error| {
        // the parser's own message may quote the token
        let reason =
            format!("line {}, column {}: it is not what 'attune dev' writes", error.line(), error.column());
        EndpointError::File { what: WHAT, path: path.to_owned(), reason }
    })?;
    let hint = format!("; {} says so: is its 'attune dev' still running?", path.display());
    Ok(Some(Endpoint { url: parse(&file.url)?, token: file.token, hint }))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn file_error(what: &'static str, path: &Path, error: &io::Error) -> EndpointError {
    EndpointError::File { what, path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"url": "http://127.0.0.1:8650", "token": "of-the-file"}"#;

    fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".attune")).unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join(".attune/endpoint.json"), text).unwrap();
        let sources = Sources { folder: folder.path().join("a/b"), ..Sources::default() };
        (folder, sources)
    }

    fn told(sources: &Sources) -> (String, String) {
        let endpoint = sources.find().unwrap();
        (endpoint.url.to_string(), endpoint.token.expose_secret().to_owned())
    }

    #[test]
    fn the_state_folder_of_a_parent_is_found() {
        let (_folder, sources) = with_file(FILE);
        assert_eq!(told(&sources), ("http://127.0.0.1:8650/".to_owned(), "of-the-file".to_owned()));
    }

    #[test]
    fn a_named_state_folder_is_the_only_one() {
        let (folder, mut sources) = with_file(FILE);
        sources.state_dir = Some(folder.path().join("other"));
        let error = sources.find().unwrap_err();
        assert!(error.to_string().contains("start it with 'attune dev --state-dir "), "{error}");
        sources.state_dir = Some(folder.path().join(".attune"));
        sources.folder = PathBuf::from("/nowhere");
        assert_eq!(told(&sources).1, "of-the-file");
    }

    #[test]
    fn what_is_set_wins() {
        let (folder, mut sources) = with_file(FILE);
        sources.url = Some("https://attune.example".to_owned());
        assert_eq!(
            sources.find().unwrap_err().to_string(),
            "no token is known for https://attune.example/: set ATTUNE_API_TOKEN_FILE (or ATTUNE_API_TOKEN)"
        );
        let path = folder.path().join("token");
        fs::write(&path, "of-the-token-file\n").unwrap();
        sources.token_file = Some(path);
        assert_eq!(told(&sources), ("https://attune.example/".to_owned(), "of-the-token-file".to_owned()));
        sources.token = Some("of-the-variable".into());
        assert_eq!(told(&sources).1, "of-the-variable");
    }

    #[test]
    fn the_token_stays_off_the_open_network() {
        for (url, insecure_http, lets) in [
            ("http://127.0.0.1:1", false, true),
            ("http://[::1]:1", false, true),
            ("http://localhost:1", false, true),
            ("https://attune.example", false, true),
            ("http://attune.example", false, false),
            ("http://10.0.0.7:8650", false, false),
            ("http://127.0.0.1.attune.example", false, false),
            ("http://attune.example", true, true),
        ] {
            let sources = Sources {
                url: Some(url.to_owned()),
                token: Some("t".into()),
                insecure_http,
                ..Sources::default()
            };
            let found = sources.find();
            assert_eq!(found.is_ok(), lets, "{url}: {found:?}");
            assert!(lets || matches!(found, Err(EndpointError::Insecure(_))));
        }
    }

    #[test]
    fn faults_say_what_is_wrong_and_tell_no_secret() {
        let broken = r#"{"url": "http://127.0.0.1:1", "token": ["secret-token"]}"#;
        let (_folder, sources) = with_file(broken);
        let error = sources.find().unwrap_err().to_string();
        assert!(error.contains("endpoint.json: line 1, column") && !error.contains("secret"), "{error}");
        for (url, expected) in [
            ("ftp://host", "neither http nor https"),
            ("host:80", "neither http nor https"),
            ("not a url", "relative URL without a base"),
            ("http://me:secret@host", "it holds a user name"),
        ] {
            let sources =
                Sources { url: Some(url.to_owned()), token: Some("t".into()), ..Sources::default() };
            let error = sources.find().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        let nowhere = Sources { folder: "/nowhere/at/all".into(), ..Sources::default() };
        assert!(matches!(nowhere.find(), Err(EndpointError::Unknown)));
        let sources = Sources {
            url: Some("https://host".to_owned()),
            token_file: Some("/nowhere/token".into()),
            ..Sources::default()
        };
        let error = sources.find().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use the token file /nowhere/token: No such file or directory (os error 2)"
        );
    }
}
