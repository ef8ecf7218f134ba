//! A server that speaks as much of Redis' protocol as the client needs, over the embedded engine.

use std::{cell::RefCell, collections::HashMap, io, rc::Rc};

use bursar_ledger::{HostError, Reply, Script, ScriptCall, Vm};
use bursar_quota::Clock as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};
use turmoil::net::{TcpListener, TcpStream};

use super::network::SimClock;

/// What all connections share.
struct Store {
    vm: Vm,
    scripts: HashMap<String, Script>,
    /// Connections that have subscribed.
    listeners: Vec<UnboundedSender<Vec<u8>>>,
}

/// Runs for ever.
pub(crate) async fn run() -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", 6379)).await?;
    let store = Store { vm: Vm::new()?, scripts: HashMap::new(), listeners: Vec::new() };
    let store = Rc::new(RefCell::new(store));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(serve(stream, Rc::clone(&store)));
    }
}

/// One connection, until either side has enough of it.
async fn serve(stream: TcpStream, store: Rc<RefCell<Store>>) -> io::Result<()> {
    let (mut read, mut write) = stream.into_split();
    let (out, mut outgoing) = unbounded_channel::<Vec<u8>>();
    tokio::task::spawn_local(async move {
        while let Some(bytes) = outgoing.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut input = Vec::new();
    loop {
        while let Some((words, len)) = command(&input) {
            input.drain(..len);
            let answer = store.borrow_mut().answer(&words, &out);
            // A peer that is gone shows at the next read.
            let _ = out.send(answer);
        }
        if read.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// The command at the start of `input`, and how long it is; `None`: it is not all there.
fn command(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = header(input, 0, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, start) = header(input, at, b'$')?;
        words.push(input.get(start..start + len)?.to_vec());
        at = start + len + 2;
    }
    (input.len() >= at).then_some((words, at))
}

/// The number behind `mark` on the line at `at`, and where the next one begins.
fn header(input: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let line = input.get(at..)?;
    let end = line.windows(2).position(|two| two == b"\r\n")?;
    assert_eq!(line[0], mark, "a command that is no array of strings");
    let number = std::str::from_utf8(&line[1..end]).unwrap().parse().unwrap();
    Some((number, at + end + 2))
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat()
}

fn encoded(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Nil => b"$-1\r\n".to_vec(),
        Reply::Int(number) => format!(":{number}\r\n").into_bytes(),
        Reply::Bulk(bytes) => bulk(bytes),
        Reply::Status(text) => format!("+{text}\r\n").into_bytes(),
        Reply::Array(items) => array(&items.iter().map(encoded).collect::<Vec<_>>()),
    }
}

impl Store {
    fn answer(&mut self, words: &[Vec<u8>], out: &UnboundedSender<Vec<u8>>) -> Vec<u8> {
        let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
        match name.as_str() {
            "EVALSHA" => {
                let sha1 = String::from_utf8_lossy(&words[1]).into_owned();
                match self.scripts.get(&sha1).cloned() {
                    Some(script) => self.run(&script, &words[2..]),
                    None => b"-NOSCRIPT No matching script.\r\n".to_vec(),
                }
            }
            "EVAL" => {
                let script = Script::from_source("store", String::from_utf8(words[1].clone()).unwrap());
                self.scripts.insert(script.sha1.clone(), script.clone());
                self.run(&script, &words[2..])
            }
            // On a connection with a subscription it is answered so.
            "PING" if words.len() > 1 || self.listeners.iter().any(|it| it.same_channel(out)) => {
                array(&[bulk(b"pong"), bulk(words.get(1).map(Vec::as_slice).unwrap_or_default())])
            }
            "PING" => b"+PONG\r\n".to_vec(),
            "SUBSCRIBE" => {
                self.listeners.push(out.clone());
                array(&[bulk(b"subscribe"), bulk(&words[1]), b":1\r\n".to_vec()])
            }
            "CLIENT" | "SELECT" | "SET" => b"+OK\r\n".to_vec(),
            "PUBLISH" => b":0\r\n".to_vec(),
            other => format!("-ERR unknown command '{other}'\r\n").into_bytes(),
        }
    }

    fn run(&mut self, script: &Script, words: &[Vec<u8>]) -> Vec<u8> {
        let count: usize = std::str::from_utf8(&words[0]).unwrap().parse().unwrap();
        let (keys, args) = words[1..].split_at(count);
        let call = ScriptCall { keys: keys.to_vec(), args: args.to_vec() };
        let result = self.vm.run(script, &call, SimClock.unix());
        for (channel, payload) in self.vm.take_published() {
            let message = array(&[bulk(b"message"), bulk(&channel), bulk(&payload)]);
            self.listeners.retain(|listener| listener.send(message.clone()).is_ok());
        }
        match result {
            Ok(reply) => encoded(&reply),
            Err(HostError::Script { code, message }) => format!("-{code} {message}\r\n").into_bytes(),
            Err(HostError::Unavailable { cause, .. }) => format!("-OOM {cause}\r\n").into_bytes(),
        }
    }
}
