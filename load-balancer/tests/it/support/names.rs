//! A DNS server of the test's own, over UDP and TCP on one port, which answers as the test says: records, none, failures,
//! silence, answers that are cut short.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// How a name of a type is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    /// With these, for so many seconds.
    Records(Vec<RData>, u32),
    /// The same, but over UDP cut short.
    Large(Vec<RData>, u32),
    /// With this code and nothing else: NOERROR is a name without such records.
    Code(ResponseCode),
    /// Not at all.
    Silence,
}

/// What there is, and who asked for what over UDP and TCP.
#[derive(Default)]
struct Zone {
    replies: BTreeMap<(String, RecordType), Reply>,
    asked: BTreeMap<(String, RecordType), [usize; 2]>,
}

/// The server; gone when dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: [JoinHandle<()>; 2],
}

impl NameServer {
    pub(crate) async fn start() -> NameServer {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // Another test may have taken it for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let (address, zone) = (udp.local_addr().unwrap(), Arc::new(Mutex::new(Zone::default())));
        let tasks =
            [tokio::spawn(datagrams(udp, Arc::clone(&zone))), tokio::spawn(streams(tcp, Arc::clone(&zone)))];
        NameServer { address, zone, tasks }
    }

    /// What is answered from now on; whatever was never set does not exist.
    pub(crate) fn set(&self, name: &str, record: RecordType, reply: Reply) {
        self.zone.lock().unwrap().replies.insert((name.to_owned(), record), reply);
    }

    /// IPv4 addresses, with a time to live in seconds.
    pub(crate) fn set_ipv4(&self, name: &str, hosts: &[&str], ttl: u32) {
        self.set(name, RecordType::A, Reply::Records(ipv4(hosts), ttl));
    }

    /// How often a name was asked for, over UDP and over TCP.
    pub(crate) fn asked(&self, name: &str, record: RecordType) -> [usize; 2] {
        self.zone.lock().unwrap().asked.get(&(name.to_owned(), record)).copied().unwrap_or_default()
    }

    /// Waits until it has been asked so often more over UDP.
    pub(crate) async fn until_asked(&self, name: &str, record: RecordType, more: usize) {
        let goal = self.asked(name, record)[0] + more;
        super::within("a question", async {
            while self.asked(name, record)[0] < goal {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) fn ipv4(hosts: &[&str]) -> Vec<RData> {
    hosts.iter().map(|host| RData::A(A(host.parse().unwrap()))).collect()
}

pub(crate) fn ip(host: IpAddr) -> RData {
    match host {
        IpAddr::V4(host) => RData::A(A(host)),
        IpAddr::V6(host) => RData::AAAA(AAAA(host)),
    }
}

/// Priority, weight, port and target.
pub(crate) fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, Name::from_ascii(target).unwrap()))
}

async fn datagrams(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        if let Some(reply) = answer(&buffer[..length], &zone, false) {
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

async fn streams(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(stream_of(stream, Arc::clone(&zone)));
    }
}

/// Messages on a stream have their length in front (RFC 1035, 4.2.2).
async fn stream_of(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; usize::from(length)];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        if let Some(reply) = answer(&question, &zone, true) {
            let _ = stream.write_u16(reply.len() as u16).await;
            let _ = stream.write_all(&reply).await;
        }
    }
}

fn answer(question: &[u8], zone: &Mutex<Zone>, tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let query: Query = question.queries[0].clone();
    let name = query.name().to_ascii().to_lowercase();
    let key = (name.trim_end_matches('.').to_owned(), query.query_type());
    let reply = {
        let mut zone = zone.lock().unwrap();
        zone.asked.entry(key.clone()).or_default()[usize::from(tcp)] += 1;
        zone.replies.get(&key).cloned().unwrap_or(Reply::Code(ResponseCode::NXDomain))
    };
    let mut message = Message::response(question.metadata.id, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.recursion_available = true;
    message.add_query(query.clone());
    let records = |data: Vec<RData>, ttl: u32| {
        let name = query.name().clone();
        data.into_iter().map(move |data| Record::from_rdata(name.clone(), ttl, data)).collect::<Vec<_>>()
    };
    match reply {
        Reply::Silence => return None,
        Reply::Code(code) => message.metadata.response_code = code,
        Reply::Large(data, ttl) if !tcp => {
            message.metadata.truncation = true;
            message.add_answers(records(data, ttl).into_iter().take(1));
        }
        Reply::Records(data, ttl) | Reply::Large(data, ttl) => {
            message.add_answers(records(data, ttl));
        }
    }
    Some(message.to_vec().unwrap())
}
