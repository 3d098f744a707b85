//! A store in Redis: one server, a master that sentinels name, or a cluster.
//!
//! One connection, made when it is needed and thrown away at the first fault: what a broken one would still answer belongs
//! to another round. Pauses between tries are the caller's, so is all time but the clock that Redis itself keeps.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, Script, TlsMode, Value,
};

use super::keys::{Keys, ROUND};
use super::{Lost, MESSAGE_MOST, Offer, Said, StateStore, TTL, Taken};
use crate::config::{Kind, Place, Store};

/// A balancer's way to a Redis.
pub struct Redis {
    place: Place,
    timeout: Duration,
    own: String,
    keys: Keys,
    script: Script,
    connection: Option<Connection>,
}

enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What the script answers: now, the first block, who was heard when, and what was said.
type Answer = (u64, u64, Vec<(String, f64)>, Vec<(String, Vec<u8>)>);

impl Redis {
    /// For the balancer called `own` of the pool named `pool`. Nothing is connected yet.
    #[must_use]
    pub fn new(place: &Place, settings: &Store, pool: &str, own: &str) -> Self {
        Redis {
            place: place.clone(),
            timeout: settings.timeout,
            own: own.to_owned(),
            keys: Keys::new(&settings.prefix, pool),
            script: Script::new(ROUND),
            connection: None,
        }
    }

    /// Runs the script, over a new connection where there is none.
    async fn run(&mut self, message: &[u8], blocks: u64) -> Result<Answer, Lost> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.place, self.timeout).await.map_err(|error| self.lost(&error))?,
        };
        let mut call = self.script.key(&self.keys.live);
        call.key(&self.keys.said).key(&self.keys.turns);
        call.arg(&self.own).arg(message).arg(TTL.as_millis() as u64).arg(blocks);
        let answer: Result<Value, RedisError> = match &mut connection {
            Connection::Single(connection) => call.invoke_async(connection).await,
            Connection::Cluster(connection) => call.invoke_async(connection).await,
        };
        let answer = answer.map_err(|error| self.lost(&error))?;
        let answer = redis::from_redis_value(answer).map_err(|error| Lost::Unreadable(error.to_string()))?;
        self.connection = Some(connection);
        Ok(answer)
    }

    async fn within(&mut self, message: &[u8], blocks: u64) -> Result<Answer, Lost> {
        let timeout = self.timeout;
        // Dropped halfway, the connection it had taken is dropped with it.
        tokio::time::timeout(timeout, self.run(message, blocks)).await.unwrap_or(Err(Lost::Timeout(timeout)))
    }

    fn lost(&self, error: &RedisError) -> Lost {
        let text = match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            _ => error.to_string(),
        };
        match error.kind() {
            _ if error.is_timeout() => Lost::Timeout(self.timeout),
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Lost::Unreadable(text),
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => {
                Lost::Refused(text)
            }
            _ => Lost::Unreachable(text),
        }
    }
}

impl StateStore for Redis {
    fn round<'a>(&'a mut self, offer: &'a Offer) -> LocalBoxFuture<'a, Result<Taken, Lost>> {
        Box::pin(async move {
            let (now, first, heard, said) = self.within(&offer.message, offer.blocks).await?;
            let (own, others): (Vec<_>, Vec<_>) = said
                .into_iter()
                .filter(|(_, message)| message.len() <= MESSAGE_MOST)
                .partition(|(by, _)| *by == self.own);
            let others = others.into_iter().filter_map(|(by, message)| {
                let at = heard.iter().find(|(name, _)| *name == by)?.1;
                // Redis has set both: a clock of its that was turned back makes an age of nothing.
                let ago = Duration::from_millis(now.saturating_sub(at as u64));
                Some(Said { by, ago, message })
            });
            let before = own.into_iter().next().map(|(_, message)| message);
            Ok(Taken { first, others: others.collect(), before })
        })
    }

    fn leave(&mut self) -> LocalBoxFuture<'_, Result<(), Lost>> {
        Box::pin(async move { self.within(b"", 0).await.map(|_| ()) })
    }
}

async fn connect(place: &Place, timeout: Duration) -> Result<Connection, RedisError> {
    if place.tls {
        // Somebody else may have chosen already: what is in force then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    match &place.kind {
        Kind::Single { db } => {
            let mut login = RedisConnectionInfo::default().set_db(*db);
            if let Some(user) = &place.user {
                login = login.set_username(user);
            }
            if let Some(password) = &place.password {
                login = login.set_password(password.reveal());
            }
            let address = addresses(place).next().ok_or_else(nowhere)?;
            let info = address.into_connection_info()?.set_redis_settings(login);
            let client = Client::open(info)?;
            Ok(Connection::Single(client.get_multiplexed_async_connection_with_config(&settings).await?))
        }
        Kind::Sentinel { service, db } => {
            let mut builder =
                SentinelClientBuilder::new(addresses(place), service, SentinelServerType::Master)?
                    .set_client_to_redis_db(*db);
            if let Some(user) = &place.user {
                builder = builder.set_client_to_redis_username(user);
            }
            if let Some(password) = &place.password {
                builder = builder.set_client_to_redis_password(password.reveal());
            }
            if place.tls {
                builder = builder
                    .set_client_to_redis_tls_mode(TlsMode::Secure)
                    .set_client_to_sentinel_tls_mode(TlsMode::Secure);
            }
            let mut client = builder.build()?;
            Ok(Connection::Single(client.get_async_connection_with_config(&settings).await?))
        }
        Kind::Cluster => {
            let mut builder = ClusterClientBuilder::new(addresses(place))
                .connection_timeout(timeout)
                .response_timeout(timeout)
                .retries(1)
                .max_connection_attempts(NonZeroUsize::MIN);
            if let Some(user) = &place.user {
                builder = builder.username(user);
            }
            if let Some(password) = &place.password {
                builder = builder.password(password.reveal());
            }
            if place.tls {
                builder = builder.tls(TlsMode::Secure);
            }
            Ok(Connection::Cluster(builder.build()?.get_async_connection().await?))
        }
    }
}

fn addresses(place: &Place) -> impl Iterator<Item = ConnectionAddr> + '_ {
    place.hosts.iter().map(|(host, port)| match place.tls {
        true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    })
}

fn nowhere() -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, "no host"))
}
