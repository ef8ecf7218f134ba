//! TLS, and clients that show certificates.

use bursar_server::Tls;
use bursar_wire::v1::permit_service_client::PermitServiceClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::support::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, in PEM.
fn issued(name: &str, by: &Issuer) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

async fn client(
    server: &Running,
    tls: ClientTlsConfig,
) -> Result<PermitServiceClient<Channel>, tonic::transport::Error> {
    let endpoint = Channel::from_shared(format!("https://localhost:{}", server.address.port())).unwrap();
    Ok(PermitServiceClient::new(soon(endpoint.tls_config(tls)?.connect()).await?))
}

fn trusting(authority: &Issuer) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem())).domain_name("localhost")
}

fn tls(authority: &Issuer, client_ca: Option<&Issuer>) -> Tls {
    let (certificate, key) = issued("localhost", authority);
    Tls { certificate: certificate.into(), key: key.into(), client_ca: client_ca.map(|ca| ca.pem().into()) }
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_gets_its_permit() {
    let ca = authority();
    let server = start_with(8, |options| options.tls = Some(tls(&ca, None))).await;
    let mut permits = client(&server, trusting(&ca)).await.unwrap();
    permit(soon(permits.acquire(acquire())).await.unwrap().into_inner());
    assert!(client(&server, trusting(&authority())).await.is_err(), "another authority is not trusted");
    let plain = Channel::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    assert!(soon(PermitServiceClient::new(plain).acquire(acquire())).await.is_err(), "no plain text");
}

#[tokio::test]
async fn with_a_client_authority_a_certificate_must_be_shown() {
    let (ca, clients) = (authority(), authority());
    let server = start_with(8, |options| options.tls = Some(tls(&ca, Some(&clients)))).await;
    let showing = |by: &Issuer| {
        let (certificate, key) = issued("worker", by);
        trusting(&ca).identity(Identity::from_pem(certificate, key))
    };
    let mut permits = client(&server, showing(&clients)).await.unwrap();
    permit(soon(permits.acquire(acquire())).await.unwrap().into_inner());
    for wrong in [trusting(&ca), showing(&ca)] {
        // With TLS 1.3 the server's refusal may show with the first call alone.
        if let Ok(mut permits) = client(&server, wrong).await {
            assert!(soon(permits.acquire(acquire())).await.is_err());
        }
    }
    assert_eq!(server.ledger.state().granted, 1);
}
