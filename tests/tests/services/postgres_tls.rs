//! TLS to PostgreSQL: what is asked for is what happens, or it fails in words.

use attune_tests::{
    dev,
    postgres::{self, PASSWORD, Server, execute},
};
use sqlx::Row;

use crate::{backend, open};

#[tokio::test]
async fn a_server_that_the_authority_vouches_for_is_used_and_no_other() {
    let database = postgres::shared().database().await;
    let url = |mode: &str, authority: std::path::PathBuf| {
        format!("{}?sslmode={mode}&sslrootcert={}", database.url("owner"), authority.display())
    };
    let server = database.server;
    let good = backend(&url("verify-full", server.authority())).await;
    good.store().packs().await.unwrap();
    let encrypted = sqlx::query("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = $1 AND usename = 'owner'")
        .bind(&database.name)
        .fetch_one(&mut database.superuser().await)
        .await
        .unwrap();
    assert_eq!(encrypted.get::<Option<bool>, _>(0), Some(true), "every connection is encrypted");

    let mut told = Vec::new();
    for url in [
        url("verify-full", server.other_authority()),
        url("verify-ca", server.other_authority()),
        url("verify-full", server.authority()).replace("127.0.0.1", "localhost"),
        url("verify-full", "/nonexistent.pem".into()),
        // nobody would look at the authority
        url("require", server.other_authority()),
        url("prefer", server.other_authority()),
        format!("{}?sslrootcert={}", database.url("owner"), server.authority().display()),
    ] {
        let error = open(&url).await.expect_err("it must be refused").to_string();
        assert!(!error.contains(PASSWORD), "{error}");
        told.push(error.replace(&server.address(), "127.0.0.1:PORT").replace(&database.name, "DATABASE"));
    }
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    insta::assert_snapshot!(told.join("\n").replace(&port, "PORT"));
}

#[tokio::test]
async fn a_server_without_tls_is_never_used_in_plain_text_by_who_asked_for_it() {
    let server = Server::start();
    let database = server.database().await;
    let mut superuser = database.superuser().await;
    execute(&mut superuser, "ALTER SYSTEM SET ssl = off").await;
    execute(&mut superuser, "SELECT pg_reload_conf()").await;
    // the server takes it over at its own time
    dev::wait_for("TLS to be off", || server.log().contains(r#"parameter "ssl" changed to "off""#));
    let authority = format!("&sslrootcert={}", server.authority().display());
    for (mode, authority) in [("require", ""), ("verify-ca", &authority), ("verify-full", &authority)] {
        let url = format!("{}?sslmode={mode}{authority}", database.url("owner"));
        let error = open(&url).await.expect_err("it must be refused").to_string();
        assert!(error.contains("server does not support TLS"), "{mode}: {error}");
    }
    // whoever asked for nothing, or for plain text, gets it
    backend(&format!("{}?sslmode=disable", database.url("owner"))).await;
}
