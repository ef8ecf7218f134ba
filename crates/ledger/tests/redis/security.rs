//! Users, passwords, certificates.

use std::sync::Arc;

use bursar_ledger::{
    RedisConfig, RedisHost, Reply, ScriptHost as _,
    testing::{Certificates, RedisCluster, RedisServer},
};

use super::{connect, count, hasty, unavailable};

#[tokio::test]
async fn a_user_is_let_in_by_the_address_or_by_the_fields() {
    let server = RedisServer::setup().user("bursar", "hunter2").start();
    assert_eq!(count(&connect(server.url()), "k").await, Ok(Reply::Int(1)));
    let plain = format!("redis://127.0.0.1:{}", server.port());
    let config = RedisConfig {
        user: Some("bursar".into()),
        password: Some("hunter2".into()),
        ..RedisConfig::at(plain.replace("redis://", "redis://somebody:else@"))
    };
    let host = RedisHost::connect(config).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(2)));
    assert!(!format!("{host:?}").contains("hunter2"));

    let nobody = RedisHost::connect(hasty(plain)).unwrap();
    let cause = unavailable(count(&nobody, "k").await);
    assert!(cause.contains("NOAUTH") || cause.contains("uthentication"), "{cause}");
}

#[tokio::test]
async fn a_wrong_password_is_said_without_it() {
    let server = RedisServer::setup().user("bursar", "hunter2").start();
    let url = server.url().replace("hunter2", "letmein-77");
    let host = RedisHost::connect(hasty(url)).unwrap();
    for error in [count(&host, "k").await.map(|_| ()), host.ready().await] {
        let text = format!("{error:?}");
        assert!(text.contains("uthentication failed"), "{text}");
        assert!(!text.contains("letmein-77") && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_user_without_the_permission_is_told_so() {
    let server = RedisServer::start();
    server.command(&["ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@read", "+ping", "+client"]);
    let host = RedisHost::connect(hasty(server.url().replace("//", "//reader:pw@"))).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(cause.contains("NOPERM"), "{cause}");
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own_and_a_client_certificate() {
    let certificates = Arc::new(Certificates::new());
    let server = RedisServer::setup().tls(&certificates).user("bursar", "hunter2").start();
    let config = RedisConfig { tls: certificates.client(), ..RedisConfig::at(server.url()) };
    let host = RedisHost::connect(config).unwrap();
    assert_eq!(count(&host, "k").await, Ok(Reply::Int(1)));
    assert_eq!(host.ready().await, Ok(()));
    let mut listening = host.listening();
    listening.wait_for(|heard| *heard).await.unwrap();

    let mut without = hasty(server.url());
    without.tls.ca_file = certificates.client().ca_file;
    let host = RedisHost::connect(without).unwrap();
    let cause = unavailable(count(&host, "k").await);
    assert!(!cause.contains("hunter2"), "{cause}");

    let others = Certificates::new();
    let mut mistrusting = hasty(server.url());
    mistrusting.tls = others.client();
    let cause = unavailable(count(&RedisHost::connect(mistrusting).unwrap(), "k").await);
    assert!(cause.contains("certificate"), "{cause}");

    let cause = unavailable(count(&RedisHost::connect(hasty(server.url())).unwrap(), "k").await);
    assert!(cause.contains("certificate"), "{cause}");
}

#[tokio::test]
async fn a_cluster_with_tls_and_a_user() {
    let certificates = Arc::new(Certificates::new());
    let setup = RedisServer::setup().args("--tls-cluster yes").tls(&certificates).user("bursar", "hunter2");
    let cluster = RedisCluster::start_as(&setup);
    let config = RedisConfig { tls: certificates.client(), ..RedisConfig::at(cluster.url()) };
    let host = RedisHost::connect(config).unwrap();
    for n in 0..20 {
        assert_eq!(count(&host, &format!("{{{n}}}")).await, Ok(Reply::Int(1)));
    }
}
