//! Certificates that are wrong: the cause says how, nobody besieges the server, and a right one is taken without a restart.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bursar_ledger::{
    RedisConfig, RedisHost, Reply,
    testing::{Certificates, Flaw, RedisCluster, RedisSentinel, RedisServer},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use super::{count, eventually, hasty, unavailable};

/// How each flaw is told.
const TOLD: [(Flaw, &str); 3] = [
    (Flaw::Expired, "the store's certificate has expired"),
    (Flaw::NotYet, "the store's certificate is not valid yet"),
    (Flaw::OtherName, "the store's certificate is for another name"),
];
const UNTRUSTED: &str = "the store's certificate is of no authority that is trusted here";

fn trusting(url: String, certificates: &Certificates) -> RedisConfig {
    RedisConfig { tls: certificates.client(), ..hasty(url) }
}

fn host(url: String, certificates: &Certificates) -> RedisHost {
    RedisHost::connect(trusting(url, certificates)).unwrap()
}

#[tokio::test]
async fn what_is_wrong_with_a_servers_certificate_is_said() {
    let (certificates, others) = (Arc::new(Certificates::new()), Certificates::new());
    let server = RedisServer::setup().tls(&certificates).start();
    let cause = unavailable(count(&host(server.url(), &others), "k").await);
    assert!(cause.starts_with(UNTRUSTED), "{cause}");
    for (flaw, told) in TOLD {
        server.show_certificate(&certificates.flawed(flaw));
        let host = host(server.url(), &certificates);
        let cause = unavailable(count(&host, "k").await);
        assert!(cause.starts_with(told), "{flaw:?}: {cause}");
        server.show_certificate(&certificates.path("server.pem"));
        eventually("a right certificate to be taken", || async { count(&host, "k").await.is_ok() }).await;
    }
}

#[tokio::test]
async fn and_of_a_clusters_and_of_sentinels() {
    let (certificates, others) = (Arc::new(Certificates::new()), Certificates::new());
    let setup = RedisServer::setup().tls(&certificates);
    let (cluster, sentinel) = (RedisCluster::start_as(&setup), RedisSentinel::start_as(&setup, 1));
    for url in [cluster.url(), sentinel.url()] {
        assert_eq!(count(&host(url.clone(), &certificates), "k").await, Ok(Reply::Int(1)));
        let cause = unavailable(count(&host(url, &others), "k").await);
        assert!(cause.starts_with(UNTRUSTED), "{cause}");
    }
    let (flaw, told) = TOLD[0];
    for server in cluster.nodes().iter().chain(sentinel.servers()) {
        server.show_certificate(&certificates.flawed(flaw));
    }
    for url in [cluster.url(), sentinel.url()] {
        let cause = unavailable(count(&host(url, &certificates), "k").await);
        assert!(cause.starts_with(told), "{cause}");
    }
}

#[tokio::test]
async fn what_the_server_does_not_like_of_ours_is_said() {
    let (certificates, others) = (Arc::new(Certificates::new()), Certificates::new());
    let server = RedisServer::setup().tls(&certificates).start();
    let mut config = trusting(server.url(), &certificates);
    (config.tls.cert_file, config.tls.key_file) = (None, None);
    let mut stranger = trusting(server.url(), &certificates);
    (stranger.tls.cert_file, stranger.tls.key_file) = (others.client().cert_file, others.client().key_file);
    for config in [config, stranger] {
        let cause = unavailable(count(&RedisHost::connect(config).unwrap(), "k").await);
        assert!(cause.starts_with("the store does not take our certificate"), "{cause}");
    }
}

/// Counts the connections to a server.
async fn counted(server: &RedisServer) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, opened) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (to, count) = (server.port(), Arc::clone(&opened));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
                copy_bidirectional(&mut client, &mut server).await.map(drop)?;
                io::Result::Ok(())
            });
        }
    });
    (address, opened)
}

#[tokio::test]
async fn a_server_with_a_wrong_certificate_is_not_besieged() {
    let certificates = Arc::new(Certificates::new());
    let server = RedisServer::setup().tls(&certificates).start();
    let (address, opened) = counted(&server).await;
    let config = trusting(format!("rediss://{address}"), &certificates);
    let (least, most) = (Duration::from_millis(100), Duration::from_millis(400));
    let host = RedisHost::connect(RedisConfig { retry_base: least, retry_max: most, ..config }).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    let mut listening = host.listening();
    listening.wait_for(|heard| *heard).await.unwrap();
    // It expires while it is in use: connections go on until they end.
    server.show_certificate(&certificates.flawed(Flaw::Expired));
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(2)));
    server.hang_up();
    let before = opened.load(Ordering::SeqCst);
    let mut asked = 0;
    let asking = async {
        loop {
            // All the time, as callers do whom a refusal does not impress.
            let _ = count(&host, "k").await;
            asked += 1;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), asking).await;
    let tries = opened.load(Ordering::SeqCst) - before;
    // Two drivers, of which one is asked, and the listener to announcements; a rest is half of its bound or more.
    assert!(tries > 2 && tries <= 40, "{tries} connections in 3 s for {asked} calls");
    server.show_certificate(&certificates.path("server.pem"));
    eventually("a renewed certificate to be taken", || async { count(&host, "k").await.is_ok() }).await;
}
