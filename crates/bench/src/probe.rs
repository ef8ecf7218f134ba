//! What servers say of themselves, and what the system says of their processes.

use std::{fs, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::BenchError;

/// Ticks a second that /proc counts processor time in; the kernel tells everybody 100.
const TICKS: u64 = 100;

/// How long a server has to show its metrics.
const WITHIN: Duration = Duration::from_secs(5);

/// What servers have counted so far, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Permits granted.
    pub(crate) granted: u64,
    /// Runs of scripts.
    pub(crate) scripts: u64,
    /// Commands to the store.
    pub(crate) round_trips: u64,
}

impl Counted {
    /// What was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            granted: self.granted.saturating_sub(before.granted),
            scripts: self.scripts.saturating_sub(before.scripts),
            round_trips: self.round_trips.saturating_sub(before.round_trips),
        }
    }
}

/// Reads the metrics of all these admin addresses, `host:port`.
pub(crate) async fn counted(admins: &[String]) -> Result<Counted, BenchError> {
    let mut all = Counted::default();
    for admin in admins {
        let text = tokio::time::timeout(WITHIN, page(admin))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(BenchError::reading(format!("the metrics of {admin}")))?;
        all.granted += sum(&text, "bursar_permits_granted_total");
        all.scripts += sum(&text, "bursar_store_script_calls_total");
        all.round_trips += sum(&text, "bursar_store_round_trips_total");
    }
    Ok(all)
}

async fn page(admin: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Adds up a counter over all its labels.
fn sum(text: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let rest = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest,
        };
        rest.strip_prefix(' ')?.split(' ').next()?.parse::<u64>().ok()
    };
    text.lines().filter_map(value).sum()
}

/// Processor time that a process has used; `None` where the system does not say.
pub(crate) fn cpu(process: u32) -> Option<Duration> {
    ticks(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
        .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS))
}

/// Its own time and the system's for it: the 14th and the 15th field; the second is a name that may have anything in it.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Bytes of a process that are in memory; `None` where the system does not say.
pub(crate) fn resident(process: u32) -> Option<u64> {
    kilobytes(&fs::read_to_string(format!("/proc/{process}/status")).ok()?).map(|kb| kb * 1024)
}

fn kilobytes(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_their_labels() {
        let text =
            "# HELP a_total x\na_total{b=\"c\",d=\"e}\"} 3\na_total{b=\"f\"} 4\na_total_more 9\nb_total 5\n";
        assert_eq!((sum(text, "a_total"), sum(text, "b_total"), sum(text, "c_total")), (7, 5, 0));
    }

    #[test]
    fn the_systems_files_are_read() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("nothing"), None);
        assert_eq!(kilobytes("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234));
    }
}
