//! What is wrong with a certificate, in words, and who must do what about it.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error as TlsError, InvalidMessage};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::error::{FileError, FileProblem, REVOKED};

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// To serve.
    Server,
    /// To be an account.
    Client,
}

/// Refuses a certificate of our own that no peer would accept: out of its time, or for another use.
pub(crate) fn check_own(path: &Path, leaf: &CertificateDer<'_>, of: Use) -> Result<(), FileError> {
    let problem = |why: String| FileError::at(path)(FileProblem::Certificate(why));
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|e| FileError::damaged(path, "a certificate", e))?;
    let now = ASN1Time::now().timestamp();
    let validity = certificate.validity();
    let again = match of {
        Use::Server => "`gelu certs renew --server` makes a new one, or ask your authority",
        Use::Client => "ask the authority for a new one",
    };
    if validity.not_after.timestamp() < now {
        return Err(problem(format!("expired on {}; {again}", validity.not_after)));
    }
    if validity.not_before.timestamp() > now {
        let from = validity.not_before;
        return Err(problem(format!("valid only from {from}; check the clock of this machine")));
    }
    let uses = certificate.extended_key_usage().ok().flatten().map(|extension| extension.value);
    let fits = uses.is_none_or(|uses| {
        uses.any || if of == Use::Server { uses.server_auth } else { uses.client_auth }
    });
    if !fits {
        let (this, other) = match of {
            Use::Server => ("a server", "server.pem with server.key"),
            Use::Client => ("a client", "clients/NAME.pem with its key"),
        };
        return Err(problem(format!("not the certificate of {this}; use {other}")));
    }
    if of == Use::Server && is_soon(validity.not_after.timestamp() - now) {
        let (path, on) = (path.display(), validity.not_after);
        tracing::warn!(certificate = %path, expires = %on, "the certificate ends soon");
    }
    Ok(())
}

/// An error of the secure channel as a sentence: what is so, and what to do.
pub(crate) fn explain(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(problem) => of_peer(problem),
        TlsError::NoCertificatesPresented => {
            "the other party shows no certificate; it needs one of its own".into()
        }
        TlsError::AlertReceived(alert) => of_ours(*alert),
        TlsError::NoApplicationProtocol => OTHER_EXCHANGE.into(),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the other party does not speak TLS, so it is no gelu; check the address and the port"
                .into()
        }
        other => format!("{other}; check that both sides are gelu of this version"),
    }
}

const OTHER_EXCHANGE: &str = "both sides speak TLS, but not for the same exchange: `gelu serve` answers queries and trains \
     models, `gelu transfer compute` trains heads under CKKS; check the address and the port";

/// Their certificate, as we judge it.
fn of_peer(problem: &CertificateError) -> String {
    use CertificateError as Problem;
    const THEIRS: &str = "the other party's certificate";
    match problem {
        Problem::ExpiredContext { not_after, .. } => format!(
            "{THEIRS} expired on {}; its owner must get a new one (or the clock here is wrong)",
            date(not_after.as_secs())
        ),
        Problem::Expired => format!("{THEIRS} has expired; its owner must get a new one"),
        Problem::NotValidYetContext { not_before, .. } => format!(
            "{THEIRS} is valid only from {}; check the clocks of both machines",
            date(not_before.as_secs())
        ),
        Problem::NotValidYet => {
            format!("{THEIRS} is not valid yet; check the clocks of both machines")
        }
        Problem::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is not for {:?} but for {}; connect by one of these names, or \
             have its operator make one for yours: `gelu certs init --host NAME`",
            expected.to_str(),
            gelu_core::text::printable(&names(presented))
        ),
        Problem::NotValidForName => {
            "the server's certificate is for another host; connect by the name that it is for"
                .into()
        }
        Problem::InvalidPurpose | Problem::InvalidPurposeContext { .. } => format!(
            "{THEIRS} is for another use; a server shows server.pem, a client clients/NAME.pem"
        ),
        Problem::Revoked => {
            format!("{THEIRS} was revoked by its authority; its owner must get a new one")
        }
        Problem::UnknownRevocationStatus => {
            format!("crl.pem has no list of the authority that signed {THEIRS}; add it")
        }
        Problem::ExpiredRevocationList | Problem::ExpiredRevocationListContext { .. } => {
            "our list of revoked certificates, crl.pem, has ended; ask the authority for a new one"
                .into()
        }
        Problem::UnknownIssuer | Problem::BadSignature => format!(
            "{THEIRS} is not signed by the authority that we trust; both sides need the same ca.pem"
        ),
        other => format!("{THEIRS} cannot be accepted: {other}; its owner must get another one"),
    }
}

/// Ours, as they judge it; they say no more than a word.
fn of_ours(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            "the other party finds our certificate expired or not valid yet; get a new one, or \
             check the clocks of both machines"
                .into()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the other party does not know the authority that signed our certificate; both sides \
             need the same ca.pem"
                .into()
        }
        AlertDescription::UnsupportedCertificate => {
            "the other party says that our certificate is for another use; a server shows \
             server.pem, a client clients/NAME.pem"
                .into()
        }
        AlertDescription::CertificateRevoked => REVOKED.into(),
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            format!("the other party does not accept our certificate ({alert:?}); its log says why")
        }
        AlertDescription::CertificateRequired => {
            "the other party asks for a certificate of ours; name one".into()
        }
        AlertDescription::NoApplicationProtocol => OTHER_EXCHANGE.into(),
        other => format!(
            "the other party broke off ({other:?}); check that both sides are gelu of this version"
        ),
    }
}

/// A moment in seconds since 1970.
pub(crate) fn date(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    let time = seconds.and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    time.map_or_else(|| "an unknown day".into(), |time| time.to_string())
}

/// The names in a certificate as the library quotes them: `DnsName("localhost")`.
fn names(presented: &[String]) -> String {
    let plain = |name: &String| match name.split_once("(\"") {
        Some((_, name)) => name.trim_end_matches("\")").to_owned(),
        None => name.clone(),
    };
    presented.iter().map(plain).collect::<Vec<_>>().join(", ")
}

/// Whether so many seconds are less than [`SOON`].
pub(crate) fn is_soon(seconds: i64) -> bool {
    seconds < SOON.as_secs().cast_signed()
}

/// What ends within this time is said to end soon: it should be renewed.
pub const SOON: Duration = Duration::from_hours(30 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        KeyUsagePurpose,
    };
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use std::sync::Arc;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

    struct Authority(CertificateDer<'static>, Issuer<'static, KeyPair>);

    fn authority() -> Authority {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority(certificate, Issuer::new(params, key))
    }

    const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;
    const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;

    type Leaf = (CertificateDer<'static>, PrivateKeyDer<'static>);

    /// A certificate for localhost, valid from the first year's beginning to the second's.
    fn leaf(by: &Authority, of: ExtendedKeyUsagePurpose, [from, to]: [i32; 2]) -> Leaf {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![of];
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &by.1).unwrap().der().clone();
        (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    const GOOD: [i32; 2] = [2020, 4000];

    async fn end(channel: std::io::Result<impl AsyncRead + AsyncWrite + Unpin>) -> String {
        let read = match channel {
            Ok(mut channel) => channel.read(&mut [0]).await.map(drop),
            Err(error) => Err(error),
        };
        read.map_or_else(|e| frame::broken(e, 0, "a test").to_string(), |()| String::new())
    }

    /// What the server and the client of a channel say.
    async fn meet(trusted: &Authority, server: Leaf, client: Leaf, name: &str) -> [String; 2] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(trusted.0.clone()).unwrap();
        let roots = Arc::new(roots);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let serving = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.0], server.1)
            .unwrap();
        let asking = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![client.0], client.1)
            .unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let accepting = async {
            let channel = tokio_rustls::TlsAcceptor::from(Arc::new(serving)).accept(near).await;
            end(channel).await
        };
        let connecting = async {
            let connector = tokio_rustls::TlsConnector::from(Arc::new(asking));
            end(connector.connect(name, far).await).await
        };
        let both = async { tokio::join!(accepting, connecting) };
        // Two who trust each other have nothing to say, and wait.
        match tokio::time::timeout(std::time::Duration::from_millis(300), both).await {
            Ok((server, client)) => [server, client],
            Err(_) => [String::new(), String::new()],
        }
    }

    #[tokio::test]
    async fn who_finds_a_fault_names_it_and_the_other_side_hears_what_to_do() {
        let (trusted, foreign) = (authority(), authority());
        let server = |times| leaf(&trusted, SERVER, times);
        let client = |times| leaf(&trusted, CLIENT, times);
        let said = meet(&trusted, server(GOOD), client(GOOD), "localhost").await;
        assert_eq!(said, ["", ""], "two good certificates");

        let past = [2001, 2002];
        let future = [3000, 4000];
        for (case, server, client, name, [at_server, at_client]) in [
            (
                "an expired server",
                server(past),
                client(GOOD),
                "localhost",
                ["expired or not", "Jan  1 00:00:00 2002"],
            ),
            (
                "an expired client",
                server(GOOD),
                client(past),
                "localhost",
                ["Jan  1 00:00:00 2002", "expired or not"],
            ),
            (
                "a server of tomorrow",
                server(future),
                client(GOOD),
                "localhost",
                ["clocks", "only from Jan  1 00:00:00 3000"],
            ),
            (
                "a client of tomorrow",
                server(GOOD),
                client(future),
                "localhost",
                ["only from Jan  1 00:00:00 3000", "clocks"],
            ),
            (
                "another host",
                server(GOOD),
                client(GOOD),
                "elsewhere.example",
                ["does not accept", "not for \"elsewhere.example\" but for localhost"],
            ),
            (
                "a client that serves",
                leaf(&trusted, CLIENT, GOOD),
                client(GOOD),
                "localhost",
                ["another use", "another use"],
            ),
            (
                "a server that asks",
                server(GOOD),
                leaf(&trusted, SERVER, GOOD),
                "localhost",
                ["another use", "another use"],
            ),
            (
                "a foreign server",
                leaf(&foreign, SERVER, GOOD),
                client(GOOD),
                "localhost",
                ["same ca.pem", "same ca.pem"],
            ),
            (
                "a foreign client",
                server(GOOD),
                leaf(&foreign, CLIENT, GOOD),
                "localhost",
                ["same ca.pem", "same ca.pem"],
            ),
        ] {
            let said = meet(&trusted, server, client, name).await;
            assert!(said[0].contains(at_server), "{case}, the server: {}", said[0]);
            assert!(said[1].contains(at_client), "{case}, the client: {}", said[1]);
        }
    }

    #[test]
    fn certificates_of_our_own_are_judged_before_anybody_connects() {
        let by = authority();
        let path = Path::new("some.pem");
        let judge = |of, times, needed| {
            let judged = check_own(path, &leaf(&by, of, times).0, needed);
            judged.map_or_else(|e| e.to_string(), |()| String::new())
        };
        assert_eq!(judge(SERVER, GOOD, Use::Server), "");
        assert_eq!(judge(CLIENT, GOOD, Use::Client), "");
        for (of, needed) in [(SERVER, Use::Server), (CLIENT, Use::Client)] {
            let expired = judge(of.clone(), [2001, 2002], needed);
            assert!(expired.starts_with("some.pem: expired on Jan  1"), "{expired}");
            let early = judge(of, [3000, 4000], needed);
            assert!(early.contains("valid only from Jan  1") && early.contains("clock"), "{early}");
        }
        assert!(judge(CLIENT, GOOD, Use::Server).contains("not the certificate of a server"));
        assert!(judge(SERVER, GOOD, Use::Client).contains("not the certificate of a client"));
    }
}
