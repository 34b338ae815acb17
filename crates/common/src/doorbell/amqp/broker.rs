//! Where the broker is, how to connect to it, and what its refusals mean.

use std::{
    fmt, io,
    net::Shutdown,
    os::fd::AsFd,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_compat::Compat;
use lapin::{
    Connection, ConnectionProperties, ErrorKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    tcp::{AsyncTcpStream, OwnedTLSConfig},
    uri::{AMQPScheme, AMQPUri},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use tokio::{net::TcpStream, time::timeout};
use url::{Host, Url};

use crate::doorbell::DoorbellError;

/// Longest wait for a connection, and for every answer on it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Seconds between heartbeats (<https://www.rabbitmq.com/docs/heartbeats>); a connection that is cut without a word is
/// noticed after two of them.
const HEARTBEAT: u16 = 10;

const FORM: &str = "amqp://user:password@host:5672/vhost or amqps://… is expected, with characters such as @ : / # of \
                    user, password and vhost percent-encoded";

/// A broker, and who we are there.
pub(super) struct Broker {
    uri: AMQPUri,
    /// PEM.
    authorities: Option<String>,
}

/// Without who we are.
impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broker").field(&self.name()).finish()
    }
}

impl Broker {
    /// Reads a URL and the authorities to trust besides the public ones.
    pub(super) fn new(url: &SecretString, authorities: Option<&Path>) -> Result<Self, DoorbellError> {
        let uri = read(url.expose_secret())
            .map_err(|reason| DoorbellError(format!("message_queue.url: {reason}")))?;
        let authorities = authorities
            .map(|file| {
                let told = |reason: String| {
                    DoorbellError(format!("message_queue.ca_file {}: {reason}", file.display()))
                };
                if uri.scheme == AMQPScheme::AMQP {
                    return Err(told("the URL is amqp://, which is without TLS; use amqps://".to_owned()));
                }
                let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
                let known: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
                match known {
                    Ok(known) if !known.is_empty() => Ok(text),
                    Ok(_) => Err(told("it holds no certificate".to_owned())),
                    Err(error) => Err(told(error.to_string())),
                }
            })
            .transpose()?;
        Ok(Self { uri, authorities })
    }

    /// The broker, without credentials.
    fn name(&self) -> String {
        let AMQPUri { authority, vhost, .. } = &self.uri;
        format!("RabbitMQ at {}:{}, vhost '{vhost}'", authority.host, authority.port)
    }

    /// What went wrong with it.
    pub(super) fn failed(&self, reason: &str) -> DoorbellError {
        DoorbellError(format!("{}: {reason}", self.name()))
    }

    /// Connects under a name that people see at the broker.
    pub(super) async fn connect(&self, name: &'static str) -> Result<Connection, DoorbellError> {
        let slow = |_| self.failed(&format!("it does not answer within {PATIENCE:?}"));
        let socket = timeout(PATIENCE, self.reach()).await.map_err(slow)?.map_err(|error| {
            self.failed(&format!(
                "it cannot be reached ({error}); check host and port of message_queue.url, and whether the broker runs"
            ))
        })?;
        let handle = self.std_handle(&socket)?;
        let stream = timeout(PATIENCE, self.secure(socket)).await.map_err(slow)?.map_err(|error| {
            self.failed(&format!(
                "TLS failed ({error}); message_queue.ca_file (ATTUNE__MESSAGE_QUEUE__CA_FILE) must name the authority that \
                 signed the broker's certificate, and the host in the URL must be one of the certificate's names"
            ))
        })?;
        match timeout(PATIENCE, self.introduce(stream, name)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.failed(&refusal(&error))),
            Err(elapsed) => {
                // lapin's thread for a connection ends with its socket only: every try at a broker that accepts and says
                // nothing would leave one behind; an error means that the socket is shut
                let _ = handle.shutdown(Shutdown::Both);
                Err(slow(elapsed))
            }
        }
    }

    async fn reach(&self) -> io::Result<TcpStream> {
        let authority = &self.uri.authority;
        let socket = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// Another handle of a socket.
    fn std_handle(&self, socket: &TcpStream) -> Result<std::net::TcpStream, DoorbellError> {
        let copy = socket.as_fd().try_clone_to_owned().map_err(|error| self.failed(&error.to_string()))?;
        Ok(copy.into())
    }

    async fn secure(&self, socket: TcpStream) -> io::Result<Stream> {
        let plain = AsyncTcpStream::Plain(Compat::new(socket));
        let tls = OwnedTLSConfig { cert_chain: self.authorities.clone(), identity: None };
        match self.uri.scheme {
            AMQPScheme::AMQP => Ok(plain),
            AMQPScheme::AMQPS => plain.into_tls(&self.uri.authority.host, tls.as_ref()).await,
        }
    }

    /// Says hello and logs in.
    async fn introduce(&self, stream: Stream, name: &'static str) -> lapin::Result<Connection> {
        let once = Mutex::new(Some(stream));
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        Connection::connector(
            self.uri.clone(),
            lapin::runtime::default_runtime()?,
            async move |_, _| {
                let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
                stream.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted).into())
            },
            properties,
        )
        .await
    }
}

type Stream = AsyncTcpStream<Compat<TcpStream>>;

/// Why the broker does not let us in, and what to do.
fn refusal(error: &lapin::Error) -> String {
    let ErrorKind::ProtocolError(refused) = error.kind() else {
        return format!(
            "it cannot be talked to ({}); check scheme and port of message_queue.url",
            told(error)
        );
    };
    match refused.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            "it refuses the user or the password of message_queue.url".to_owned()
        }
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
            "it has no such vhost, or keeps this user out of it; 'rabbitmqctl add_vhost' and 'rabbitmqctl \
             set_permissions' change that"
                .to_owned()
        }
        _ => told(error),
    }
}

/// What the broker or the connection said.
pub(super) fn told(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        _ => error.to_string(),
    }
}

fn read(text: &str) -> Result<AMQPUri, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; {FORM}"))?;
    let host = url.host().filter(|host| *host != Host::Domain("")).ok_or(FORM)?;
    // what follows a password that was not encoded must not be taken for something that may be shown
    let vhost = url.path().strip_prefix('/').unwrap_or_default();
    if !matches!(url.scheme(), "amqp" | "amqps")
        || url.fragment().is_some()
        || vhost.contains(['/', '@', ':'])
    {
        return Err(FORM.to_owned());
    }
    // https://www.rabbitmq.com/docs/uri-query-parameters has more, some of which would weaken TLS
    if url.query_pairs().any(|(name, _)| name != "heartbeat") {
        return Err("a parameter is not known; the only one is heartbeat, in seconds".to_owned());
    }
    let mut uri: AMQPUri = text.parse()?;
    // the parser knows names only
    if let Host::Ipv6(address) = host {
        uri.authority.host = address.to_string();
    }
    if uri.query.heartbeat == Some(0) {
        return Err(
            "without heartbeats a lost connection would not be noticed; use a second or more".to_owned()
        );
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(url: &str) -> Result<Broker, DoorbellError> {
        Broker::new(&url.into(), None)
    }

    #[test]
    fn a_url_is_a_broker_and_a_vhost() {
        let cases = [
            ("amqp://me:pw@mq.example.net", "RabbitMQ at mq.example.net:5672, vhost '/'"),
            ("amqp://me:pw@mq.example.net/%2f", "RabbitMQ at mq.example.net:5672, vhost '/'"),
            ("amqps://me:pw@mq.example.net/fleet", "RabbitMQ at mq.example.net:5671, vhost 'fleet'"),
            ("amqp://me:p%40w@[::1]:5673/a%2Fb?heartbeat=5", "RabbitMQ at ::1:5673, vhost 'a/b'"),
        ];
        for (url, name) in cases {
            let broker = broker(url).unwrap();
            assert_eq!(broker.name(), name);
            assert!(!format!("{broker:?}").contains("me"), "{broker:?}");
        }
        assert_eq!(broker("amqp://mq").unwrap().uri.query.heartbeat, Some(HEARTBEAT));
        let given = broker("amqp://me:p%40w@mq?heartbeat=5").unwrap();
        assert_eq!(given.uri.query.heartbeat, Some(5));
        assert_eq!(given.uri.authority.userinfo.password, "p@w");
    }

    #[test]
    fn a_wrong_url_is_told_without_what_is_secret_in_it() {
        let told: Vec<String> = [
            "amqp://me:hunter2#x@mq/fleet",
            "amqp://me:1/hunter2@mq/fleet",
            "amqp://me:1/hunter2@mq",
            "amqp:///fleet",
            "hunter2",
            "http://me:hunter2@mq/",
            "amqp://me@mq/fleet?hunter2=x",
            "amqps://me:hunter2@mq/fleet?verify=verify_none",
            "amqp://me:hunter2@mq/fleet?heartbeat=0",
            "amqp://me:hunter2@mq/fleet?heartbeat=long",
        ]
        .iter()
        .map(|url| broker(url).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn authorities_that_cannot_be_used_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
        std::fs::write(&empty, "").unwrap();
        let told: Vec<String> = [("amqps://mq", &missing), ("amqps://mq", &empty), ("amqp://mq", &empty)]
            .iter()
            .map(|(url, file)| Broker::new(&(*url).into(), Some(file)).unwrap_err().to_string())
            .map(|text| text.replace(folder.path().to_str().unwrap(), "/etc"))
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
