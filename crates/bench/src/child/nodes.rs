//! The store's servers that a measurement starts: one, or a cluster's.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::{Process, READY_WITHIN, redis};
use crate::{BenchError, Programs, Store};

/// The masters of a cluster.
const MASTERS: u16 = 3;
/// The slots of a cluster.
const SLOTS: u16 = 16_384;

/// The store's servers; they end when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) processes: Vec<Process>,
    /// Of each, on loopback.
    pub(crate) ports: Vec<u16>,
    /// Where a cluster's nodes keep what they know of each other; taken away after them.
    _folder: Option<TempDir>,
}

impl Nodes {
    /// Starts what this store needs.
    pub(crate) fn start(programs: &Programs, store: &Store) -> Result<Self, BenchError> {
        match store {
            Store::Embedded | Store::Url(_) => Ok(Self::default()),
            Store::Redis => {
                let (process, port) = redis(&programs.redis, &[])?;
                Ok(Self { processes: vec![process], ports: vec![port], _folder: None })
            }
            Store::Cluster => Self::cluster(&programs.redis),
        }
    }

    /// Three masters with a third of the slots each, once each of them says that the cluster is whole.
    fn cluster(program: &Path) -> Result<Self, BenchError> {
        let folder = TempDir::new().map_err(BenchError::reading("a temporary folder"))?;
        let mut nodes = Self::default();
        for number in 0..MASTERS {
            let (file, folder) = (format!("nodes-{number}.conf"), folder.path().display().to_string());
            let words = ["--cluster-enabled", "yes", "--cluster-config-file", &file, "--dir", &folder];
            let (process, port) = redis(program, &words)?;
            nodes.processes.push(process);
            nodes.ports.push(port);
        }
        nodes._folder = Some(folder);
        let share = SLOTS / MASTERS + 1;
        for (place, port) in (0..MASTERS).zip(&nodes.ports) {
            let slots = (place * share)..((place + 1) * share).min(SLOTS);
            let words = ["CLUSTER", "ADDSLOTS"].map(str::to_owned).into_iter();
            ask(*port, &words.chain(slots.map(|slot| slot.to_string())).collect::<Vec<_>>())?;
            let epoch = (place + 1).to_string();
            ask(*port, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch].map(str::to_owned))?;
        }
        if let Some((first, others)) = nodes.ports.split_first() {
            for other in others {
                ask(*first, &["CLUSTER", "MEET", "127.0.0.1", &other.to_string()].map(str::to_owned))?;
            }
        }
        nodes.ports.iter().try_for_each(|port| whole(*port))?;
        Ok(nodes)
    }

    /// Its address; `embedded` where there is no server.
    pub(crate) fn url(&self) -> String {
        let places: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        match places.as_slice() {
            [] => "embedded".to_owned(),
            [one] => format!("redis://{one}"),
            all => format!("redis+cluster://{}", all.join(",")),
        }
    }
}

/// Waits until a node knows all others, and that all slots are served.
fn whole(port: u16) -> Result<(), BenchError> {
    let known = format!("cluster_known_nodes:{MASTERS}");
    let mut said = String::new();
    for _ in 0..READY_WITHIN.as_millis() / 20 {
        said = ask(port, &["CLUSTER", "INFO"].map(str::to_owned))?;
        if said.contains("cluster_state:ok") && said.contains(&known) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(BenchError::start("a cluster", format!("it does not become whole: {said:?}")))
}

/// What the server on `port` answers to a command: a line, or a text.
fn ask(port: u16, words: &[String]) -> Result<String, BenchError> {
    let what = || format!("what the server on port {port} says");
    let wrong = |source| BenchError::Read { what: what(), source };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).map_err(wrong)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(wrong)?;
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    (&stream).write_all(command.as_bytes()).map_err(wrong)?;
    let mut lines = BufReader::new(&stream);
    let mut line = String::new();
    lines.read_line(&mut line).map_err(wrong)?;
    if line.starts_with('-') {
        return Err(BenchError::start("a cluster", line.trim()));
    }
    let Some(length) = line.strip_prefix('$').and_then(|length| length.trim().parse::<u64>().ok()) else {
        return Ok(line);
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(lines, length), &mut text).map_err(wrong)?;
    Ok(text)
}
