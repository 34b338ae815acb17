//! Storing one artifact, piece by piece.

use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart, path::Path};

use super::{Result, failed};

/// Size of every piece but the last, in bytes. S3 wants at least 5 MiB, and takes 10,000 pieces at most:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
pub const PIECE_BYTES: usize = 8 * 1024 * 1024;

/// An artifact that is being stored. It is there once [`finish`](Self::finish) says so, and not before.
pub struct Upload {
    objects: Arc<dyn ObjectStore>,
    location: Path,
    place: Arc<str>,
    state: State,
}

enum State {
    /// Nothing or one piece has come: what has no second one is stored by a single request.
    Small(Vec<u8>),
    Large(WriteMultipart),
}

impl Upload {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, location: Path, place: Arc<str>) -> Self {
        Self { objects, location, place, state: State::Small(Vec::new()) }
    }

    /// Adds a piece: [`PIECE_BYTES`], or less when it is the last one. Waits while others are still on their way, so
    /// that there are never more than three in memory.
    ///
    /// # Errors
    /// When the store refuses or fails.
    pub async fn write(&mut self, piece: Vec<u8>) -> Result<()> {
        match &mut self.state {
            State::Small(first) if first.is_empty() => {
                *first = piece;
                Ok(())
            }
            State::Small(first) => {
                let first = std::mem::take(first);
                let parts = self.objects.put_multipart(&self.location).await;
                let parts = parts.map_err(|error| failed(&self.place, &error))?;
                let mut parts = WriteMultipart::new_with_chunk_size(parts, PIECE_BYTES);
                parts.put(first.into());
                parts.put(piece.into());
                self.state = State::Large(parts);
                Ok(())
            }
            State::Large(parts) => {
                let room = parts.wait_for_capacity(2).await;
                room.map_err(|error| failed(&self.place, &error))?;
                parts.put(piece.into());
                Ok(())
            }
        }
    }

    /// Ends the artifact, which is whole and there from then on.
    ///
    /// # Errors
    /// When the store refuses or fails; then there is nothing.
    pub async fn finish(self) -> Result<()> {
        let stored = match self.state {
            State::Small(content) => self.objects.put(&self.location, content.into()).await,
            State::Large(parts) => parts.finish().await,
        };
        stored.map(drop).map_err(|error| failed(&self.place, &error))
    }

    /// Gives up, and removes what has been stored of it.
    ///
    /// # Errors
    /// When the store refuses or fails; buckets can have a rule that removes what is left.
    pub async fn abort(self) -> Result<()> {
        match self.state {
            State::Small(_) => Ok(()),
            State::Large(parts) => parts.abort().await.map_err(|error| failed(&self.place, &error)),
        }
    }
}
