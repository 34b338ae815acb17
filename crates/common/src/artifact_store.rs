//! The artifact store: contents of the files that actions leave, in a folder or in an S3 bucket.
//!
//! Which files there are is in the outcome of an execution, and only there: what lies here without being listed there is
//! left over from an attempt that did not finish. An artifact's place is `executions/ID/ATTEMPT/PATH`, so that no attempt
//! ever writes over what another one stored. A file is whole or not there: the folder gets it under another name first,
//! and a bucket shows an upload when it is complete.

mod connector;
mod upload;

use std::{path::PathBuf, sync::Arc, time::Duration};

use connector::Connector;
use futures_util::{Stream, TryStreamExt};
use object_store::{
    ObjectStore, ObjectStoreExt, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
    prefix::PrefixStore,
};
use secrecy::ExposeSecret;
pub use upload::{PIECE_BYTES, Upload};
use url::Url;

use crate::{
    config,
    model::{ExecutionId, artifact},
};

/// How long requests that fail are repeated.
const RETRY_LIMIT: Duration = Duration::from_secs(30);

/// Longest reason that is passed on, in characters: servers answer with whole documents.
const MAX_REASON: usize = 300;

/// What can go wrong with artifacts. The text holds the cause.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactStoreError {
    /// The configuration names no place.
    #[error(
        "configuration key 'artifacts.url': {0}; file:///path/to/folder or s3://bucket/prefix is expected"
    )]
    Url(String),
    /// The configuration of the bucket does not fit together.
    #[error("cannot use the bucket of configuration key 'artifacts.url': {0}")]
    Bucket(String),
    /// No artifact can have such a path.
    #[error("artifact '{path}': {reason}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The store holds no such artifact.
    #[error("{place} has no artifact '{path}'")]
    NotFound {
        /// The store.
        place: Arc<str>,
        /// Path of the artifact.
        path: String,
    },
    /// The store refused or failed.
    #[error("{place}: {reason}")]
    Failed {
        /// The store.
        place: Arc<str>,
        /// Why, in one line.
        reason: String,
    },
}

/// Result of every operation on artifacts.
pub type Result<T, E = ArtifactStoreError> = std::result::Result<T, E>;

/// Names an artifact: what it is called, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactKey<'a> {
    /// The execution.
    pub execution: ExecutionId,
    /// The attempt that left it.
    pub attempt: u32,
    /// Its path below the artifacts folder.
    pub path: &'a str,
}

impl ArtifactKey<'_> {
    fn location(&self) -> Result<Path> {
        let refused = |reason: &dyn std::fmt::Display| ArtifactStoreError::Path {
            path: self.path.to_owned(),
            reason: reason.to_string(),
        };
        artifact::check_path(self.path).map_err(|fault| refused(&fault))?;
        // a number behind '#' is how a folder marks files that are not whole yet
        let path = self.path.replace('%', "%25").replace('#', "%23");
        let location = format!("executions/{}/{}/{path}", self.execution, self.attempt);
        Path::parse(location).map_err(|error| refused(&error))
    }
}

/// The content of an artifact.
pub struct Download<S> {
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, as they come.
    pub content: S,
}

/// Where artifacts are. Clones share it.
#[derive(Clone, Debug)]
pub struct ArtifactStore {
    objects: Arc<dyn ObjectStore>,
    place: Arc<str>,
}

impl ArtifactStore {
    /// The store that the configuration names. Nothing is read or written yet: a folder is made when the first artifact
    /// comes, and actions that leave none need no store at all.
    ///
    /// # Errors
    /// [`ArtifactStoreError::Url`] and [`ArtifactStoreError::Bucket`].
    pub fn open(config: &config::Artifacts) -> Result<Self> {
        let url = Url::parse(&config.url)
            .map_err(|error| ArtifactStoreError::Url(format!("'{}' is no URL: {error}", config.url)))?;
        let objects: Arc<dyn ObjectStore> = match url.scheme() {
            "file" => Arc::new(folder(&url)?),
            "s3" => Arc::new(bucket(&url, config)?),
            scheme => return Err(ArtifactStoreError::Url(format!("scheme '{scheme}' is not known"))),
        };
        Ok(Self { objects, place: url.as_str().into() })
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Begins to store an artifact.
    ///
    /// # Errors
    /// When there can be no artifact with this path.
    pub fn upload(&self, key: ArtifactKey<'_>) -> Result<Upload> {
        Ok(Upload::new(self.objects.clone(), key.location()?, self.place.clone()))
    }

    /// Opens an artifact.
    ///
    /// # Errors
    /// [`ArtifactStoreError::NotFound`], or [`ArtifactStoreError::Failed`].
    pub async fn download(
        &self,
        key: ArtifactKey<'_>,
    ) -> Result<Download<impl Stream<Item = Result<Vec<u8>>> + Send + 'static>> {
        let found = self.objects.get(&key.location()?).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => {
                ArtifactStoreError::NotFound { place: self.place.clone(), path: key.path.to_owned() }
            }
            error => failed(&self.place, &error),
        })?;
        let (size, place) = (found.meta.size, self.place.clone());
        let content = found.into_stream().map_ok(Vec::from).map_err(move |error| failed(&place, &error));
        Ok(Download { size, content })
    }

    /// Removes an artifact.
    ///
    /// # Errors
    /// [`ArtifactStoreError::Failed`]; that there is none is not one.
    pub async fn remove(&self, key: ArtifactKey<'_>) -> Result<()> {
        match self.objects.delete(&key.location()?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(&self.place, &error)),
        }
    }
}

fn folder(url: &Url) -> Result<PrefixStore<LocalFileSystem>> {
    let path: PathBuf = url
        .to_file_path()
        .map_err(|()| ArtifactStoreError::Url(format!("'{url}' is no absolute path on this machine")))?;
    let prefix =
        Path::from_absolute_path(&path).map_err(|error| ArtifactStoreError::Url(error.to_string()))?;
    // outcomes are on the disk when they are recorded, and so must be what they list
    Ok(PrefixStore::new(LocalFileSystem::new().with_fsync(true), prefix))
}

fn bucket(url: &Url, config: &config::Artifacts) -> Result<PrefixStore<object_store::aws::AmazonS3>> {
    let name = url
        .host_str()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ArtifactStoreError::Url(format!("'{url}' names no bucket")))?;
    let prefix =
        Path::from_url_path(url.path()).map_err(|error| ArtifactStoreError::Url(error.to_string()))?;
    // AWS_… variables, as of a service account in Kubernetes, and then what is configured for Attune
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(name)
        .with_retry(RetryConfig { retry_timeout: RETRY_LIMIT, ..RetryConfig::default() });
    let connector = Connector::new(config.s3_ca_file.as_deref()).map_err(ArtifactStoreError::Bucket)?;
    builder = builder.with_http_connector(connector);
    if let Some(endpoint) = &config.s3_endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &config.s3_region {
        builder = builder.with_region(region);
    }
    match (&config.s3_access_key_id, &config.s3_secret_access_key) {
        (Some(id), Some(secret)) => {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
        }
        (None, None) => {}
        _ => {
            return Err(ArtifactStoreError::Bucket(
                "artifacts.s3_access_key_id and artifacts.s3_secret_access_key are set together or not at all"
                    .to_owned(),
            ));
        }
    }
    let store = builder.build().map_err(|error| ArtifactStoreError::Bucket(reason(&error)))?;
    Ok(PrefixStore::new(store, prefix))
}

fn failed(place: &Arc<str>, error: &object_store::Error) -> ArtifactStoreError {
    ArtifactStoreError::Failed { place: place.clone(), reason: reason(error) }
}

/// What is wrong in the end, in one line: the errors around it repeat places and counts of retries.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests;
