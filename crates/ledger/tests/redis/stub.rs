//! Two nodes of a cluster that answer as a test wants: a real one cannot be cut off from its cluster alone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// The first has all slots, and says 1 to each script; deposed, it refuses them. Then the second has them, and says 2.
pub(crate) struct Stub {
    ports: [u16; 2],
    deposed: Arc<AtomicBool>,
}

impl Stub {
    /// Starts both, on free ports of 127.0.0.1; they end with the test's runtime.
    pub(crate) async fn start(refusal: &'static str) -> Self {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let ports = [0, 1].map(|at: usize| listeners[at].local_addr().unwrap().port());
        let deposed = Arc::new(AtomicBool::new(false));
        for (is_first, listener) in [true, false].into_iter().zip(listeners) {
            let deposed = Arc::clone(&deposed);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let deposed = Arc::clone(&deposed);
                    tokio::spawn(serve(stream, move |name| {
                        let deposed = deposed.load(Ordering::Relaxed);
                        match name {
                            "CLUSTER" => {
                                let port = ports[usize::from(deposed)];
                                format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
                            }
                            "EVAL" | "EVALSHA" if is_first && deposed => format!("-{refusal}\r\n"),
                            "EVAL" | "EVALSHA" => format!(":{}\r\n", if is_first { 1 } else { 2 }),
                            _ => "+OK\r\n".to_owned(),
                        }
                    }));
                }
            });
        }
        Self { ports, deposed }
    }

    pub(crate) fn url(&self) -> String {
        let [first, second] = self.ports;
        format!("redis+cluster://127.0.0.1:{first},127.0.0.1:{second}")
    }

    /// From now on the second has the slots, and both say so.
    pub(crate) fn depose(&self) {
        self.deposed.store(true, Ordering::Relaxed);
    }
}

/// Answers each command by its name.
async fn serve(stream: TcpStream, answer: impl Fn(&str) -> String) {
    let mut stream = BufReader::new(stream);
    while let Some(words) = number(&mut stream).await {
        let mut name = None;
        for _ in 0..words {
            let Some(length) = number(&mut stream).await else { return };
            let mut word = vec![0; length + 2];
            if stream.read_exact(&mut word).await.is_err() {
                return;
            }
            word.truncate(length);
            name.get_or_insert_with(|| String::from_utf8_lossy(&word).to_uppercase());
        }
        let reply = answer(&name.unwrap_or_default());
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The number of a line such as `*3` or `$5`.
async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}
