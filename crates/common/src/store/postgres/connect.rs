//! From a URL to a connection, and from what went wrong to what to do about it. No text here holds a password or a user's name.

use std::{path::Path, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, PgConnection, Row,
    postgres::{PgConnectOptions, PgSslMode},
};
use url::Url;

use crate::{
    config::nearest,
    store::{Client, Result, StoreError},
};

/// Oldest release that has what the statements use, as `server_version_num`.
const OLDEST_VERSION: i32 = 140_000;

/// Longest wait for a connection with everything that belongs to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What every session sets (<https://www.postgresql.org/docs/current/runtime-config-client.html>), unless the URL does.
const SETTINGS: &[(&str, &str)] = &[
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "30s"),
    // the server notices within two minutes that a client is gone, and frees its connection
    ("tcp_keepalives_idle", "60"),
    ("tcp_keepalives_interval", "15"),
    ("tcp_keepalives_count", "4"),
    // statements are short: compiling one takes longer than running it
    ("jit", "off"),
];

/// What a URL may set. sqlx would log others with their values, which may be a misspelt password.
const URL_KEYS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Keys of a URL that name files.
const FILE_KEYS: &[&str] = &["sslcert", "sslkey", "sslrootcert"];

/// Reads a URL.
pub(super) fn options(url: &str, client: &Client) -> Result<PgConnectOptions> {
    let parsed = Url::parse(url).map_err(|error| {
        StoreError::Url(format!(
            "{error}; postgres://user:password@host:5432/database is expected, with characters such as @ : / # of a password \
             percent-encoded"
        ))
    })?;
    for (key, value) in parsed.query_pairs() {
        if !URL_KEYS.contains(&&*key) {
            let hint = match nearest(&key, URL_KEYS.iter().copied()) {
                Some(near) => format!("is '{near}' meant?"),
                None => format!("known are {}", URL_KEYS.join(", ")),
            };
            return Err(StoreError::Url(format!("parameter '{key}' is not known; {hint}")));
        }
        if FILE_KEYS.contains(&&*key) {
            std::fs::File::open(Path::new(&*value))
                .map_err(|error| StoreError::Url(format!("cannot read {key}={value}: {error}")))?;
        }
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| StoreError::Url(configuration(error)))?;
    let checks = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    if !checks && parsed.query_pairs().any(|(key, _)| key == "sslrootcert") {
        return Err(StoreError::Url(
            "sslrootcert names who may sign the server's certificate, but without sslmode=verify-full (or verify-ca) nobody checks \
             that: add it"
                .to_owned(),
        ));
    }
    let set = options.get_options().unwrap_or_default().to_owned();
    let missing = SETTINGS.iter().filter(|(name, _)| !set.contains(name)).copied();
    let options = options.options(missing);
    Ok(match options.get_application_name() {
        Some(_) => options,
        None => options.application_name(client.name),
    })
}

fn configuration(error: sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// The database, without credentials.
pub(super) fn name(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => options.get_host().to_owned(),
    };
    format!("{host}:{}/{}", options.get_port(), options.get_database().unwrap_or_default())
}

/// Makes the first connection. The pool, which makes all others, would try again instead of saying what is wrong.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let failed = |reason| StoreError::Open { database: name(options), reason };
    let connected = async {
        let mut connection = options.connect().await?;
        let version = "SELECT current_setting('server_version_num')::int, current_setting('server_version')";
        let row = sqlx::query(version).fetch_one(&mut connection).await?;
        Ok((connection, row))
    };
    let (connection, row) = tokio::time::timeout(CONNECT_TIMEOUT, connected)
        .await
        .map_err(|_| failed(format!("it does not answer within {CONNECT_TIMEOUT:?}")))?
        .map_err(|error| failed(reason(&error, options)))?;
    let (number, version): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
    if number < OLDEST_VERSION {
        return Err(failed(format!(
            "it is PostgreSQL {version}, and {} or later is needed",
            OLDEST_VERSION / 10_000
        )));
    }
    Ok(connection)
}

/// Why a connection could not be made, and what to do.
fn reason(error: &sqlx::Error, options: &PgConnectOptions) -> String {
    let tls = |error: &dyn std::fmt::Display| {
        let advice = match options.get_ssl_mode() {
            PgSslMode::VerifyCa | PgSslMode::VerifyFull => {
                "sslrootcert must name the authority that signed the server's certificate, and the host in the URL must be one of \
                 the certificate's names"
            }
            _ => "sslmode=disable would go without, on a network that is trusted",
        };
        format!("TLS failed ({error}); {advice}")
    };
    match error {
        sqlx::Error::Tls(error) => tls(error),
        // that is how rustls's own errors arrive
        sqlx::Error::Io(error)
            if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
        {
            tls(error)
        }
        sqlx::Error::Io(error) => {
            format!(
                "it cannot be reached ({error}); check host and port in the URL, and whether the server runs"
            )
        }
        // https://www.postgresql.org/docs/current/errcodes-appendix.html
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("28P01") => "it refuses the user or the password of the URL".to_owned(),
            Some("28000") => {
                "it lets this user not in from here; pg_hba.conf on the server and LOGIN of the role decide"
                    .to_owned()
            }
            Some("3D000") => {
                let database = options.get_database().unwrap_or_default();
                format!("there is no database '{database}'; 'createdb {database}' makes one")
            }
            Some("53300") => {
                "it has no connection left; raise max_connections there, lower database.max_connections \
                              (ATTUNE__DATABASE__MAX_CONNECTIONS) here, or put a pooler between"
                    .to_owned()
            }
            _ => error.message().to_owned(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = Client { name: "attune-test", max_connections: 3 };

    #[test]
    fn a_url_is_a_database_and_its_settings() {
        let read = options("postgres://me:pw@db.example.net:6543/attune?sslmode=require", &CLIENT).unwrap();
        assert_eq!(name(&read), "db.example.net:6543/attune");
        assert_eq!(read.get_application_name(), Some("attune-test"));
        assert!(read.get_options().unwrap().contains("-c statement_timeout=30s"));
        let url = "postgres://me@db/attune?application_name=mine&options=-c%20statement_timeout%3D5s";
        let read = options(url, &CLIENT).unwrap();
        assert_eq!(read.get_application_name(), Some("mine"));
        assert!(!read.get_options().unwrap().contains("30s -c lock"), "{read:?}");
    }

    #[test]
    fn a_wrong_url_is_told_without_what_is_secret_in_it() {
        let told: Vec<String> = [
            "postgres://me:hunter2#x@db/attune",
            "postgres://me:hunter2@db:port/attune",
            "postgres://me@db/attune?pasword=hunter2",
            "postgres://me@db/attune?hunter2=x",
            "postgres://me:hunter2@db/attune?sslmode=full",
            "postgres://me:hunter2@db/attune?sslmode=verify-full&sslrootcert=/nonexistent/ca.pem",
        ]
        .iter()
        .map(|url| options(url, &CLIENT).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        database url: invalid port number; postgres://user:password@host:5432/database is expected, with characters such as @ : / # of a password percent-encoded
        database url: invalid port number; postgres://user:password@host:5432/database is expected, with characters such as @ : / # of a password percent-encoded
        database url: parameter 'pasword' is not known; is 'password' meant?
        database url: parameter 'hunter2' is not known; known are application_name, dbname, host, hostaddr, options, password, port, sslcert, sslkey, sslmode, sslrootcert, statement-cache-capacity, user
        database url: error with configuration: unknown value "full" for `ssl_mode`
        database url: cannot read sslrootcert=/nonexistent/ca.pem: No such file or directory (os error 2)
        "#);
    }
}
