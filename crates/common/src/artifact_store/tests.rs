use futures_util::TryStreamExt;

use super::*;

fn config(url: &str) -> config::Artifacts {
    let sources =
        config::Sources { file: None, environment: vec![("ATTUNE__ARTIFACTS__URL".into(), url.into())] };
    sources.load().unwrap().artifacts
}

fn in_folder(folder: &std::path::Path) -> ArtifactStore {
    ArtifactStore::open(&config(Url::from_directory_path(folder).unwrap().as_str())).unwrap()
}

async fn put(store: &ArtifactStore, key: ArtifactKey<'_>, content: &[u8]) {
    let mut upload = store.upload(key).unwrap();
    for piece in content.chunks(PIECE_BYTES) {
        upload.write(piece.to_vec()).await.unwrap();
    }
    upload.finish().await.unwrap();
}

async fn get(store: &ArtifactStore, key: ArtifactKey<'_>) -> Result<Vec<u8>> {
    let download = store.download(key).await?;
    let content: Vec<Vec<u8>> = download.content.try_collect().await?;
    let content = content.concat();
    assert_eq!(download.size, content.len() as u64);
    Ok(content)
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(folder).unwrap().display().to_string())
        .collect()
}

#[tokio::test]
async fn what_is_stored_comes_back_whatever_its_name_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(&folder.path().join("made when it is needed"));
    let execution = ExecutionId::new();
    let long = "n".repeat(200);
    let large: Vec<u8> = (0..=2 * PIECE_BYTES).map(|n| (n % 251) as u8).collect();
    let names =
        ["a", "a b/c.txt", "größe/日本.csv", "50%25", "x#1", "x#", "..a", "a\\b", "~", "{}[]^|?*", &long];
    for (number, path) in names.iter().enumerate() {
        let content = if number == 0 { large.clone() } else { vec![number as u8; number - 1] };
        for attempt in [1, 2] {
            let key = ArtifactKey { execution, attempt, path };
            put(&store, key, &content).await;
            assert_eq!(get(&store, key).await.unwrap(), content, "{path}");
        }
    }
    assert_eq!(files(folder.path()).len(), 2 * names.len(), "no two share a file, none is left half");
    for path in names {
        let key = ArtifactKey { execution, attempt: 1, path };
        store.remove(key).await.unwrap();
        store.remove(key).await.unwrap();
        assert!(matches!(get(&store, key).await, Err(ArtifactStoreError::NotFound { .. })), "{path}");
        get(&store, ArtifactKey { attempt: 2, ..key }).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_finished_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let key = ArtifactKey { execution: ExecutionId::new(), attempt: 1, path: "report" };
    for pieces in [1, 2, 3] {
        let mut upload = store.upload(key).unwrap();
        for _ in 0..pieces {
            upload.write(vec![0; PIECE_BYTES]).await.unwrap();
        }
        assert!(matches!(get(&store, key).await, Err(ArtifactStoreError::NotFound { .. })));
        upload.abort().await.unwrap();
        assert_eq!(files(folder.path()), [""; 0], "after {pieces} pieces");
    }
}

#[tokio::test]
async fn a_path_leads_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    for path in ["", "..", "../2/a", "a/../../b", "/etc/passwd", "a//b", "a\nb", "./a"] {
        let key = ArtifactKey { execution: ExecutionId::new(), attempt: 1, path };
        assert!(matches!(store.upload(key), Err(ArtifactStoreError::Path { .. })), "{path:?}");
    }
}

#[test]
fn places_that_are_none_are_told() {
    let told = |url: &str, environment: &[(&str, &str)]| {
        let mut config = config(url);
        for (name, value) in environment {
            match *name {
                "id" => config.s3_access_key_id = Some((*value).to_owned()),
                "authorities" => config.s3_ca_file = Some((*value).into()),
                "endpoint" => config.s3_endpoint = Some((*value).to_owned()),
                _ => config.s3_region = Some((*value).to_owned()),
            }
        }
        ArtifactStore::open(&config).map_or_else(|e| e.to_string(), |store| store.place().to_owned())
    };
    let lines = [
        told("file:///var/lib/attune/artifacts", &[]),
        told("file:///tmp/a%20b", &[]),
        told("s3://bucket/some/prefix", &[("region", "eu-north-1")]),
        told("s3://bucket", &[("endpoint", "http://127.0.0.1:9000")]),
        told("/var/lib/attune", &[]),
        told("file://relative/path", &[]),
        told("gs://bucket", &[]),
        told("s3:///prefix", &[]),
        told("s3://bucket", &[("id", "AKIA")]),
        told("s3://bucket", &[("authorities", "/nonexistent/ca.pem")]),
        told("s3://bucket", &[("authorities", "/dev/null")]),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}
